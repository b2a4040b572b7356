//! Rows of one schema as rows of another, where they cannot be read as they are: a column has got a type that is not just a
//! wider one, takes no NULL any more, or rows have other keys or another order.
//!
//! Values become what SQL's `CAST` makes of them; one that it makes NULL, or that is longer than the new type allows, is a
//! [`Misfit`].

mod cast;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

use super::{convert, field_name, initial, storage_field, storage_schema, widens};
use crate::schema::OP;
use crate::{Column, DataType, TableSchema};

/// Characters of a value that an error shows.
const SHOWN: usize = 200;

/// Whether a column's values may become ones of another type: StarRocks' table, integers of any width, and text of any
/// length. Those that do not fit are misfits.
pub fn converts(from: &DataType, to: &DataType) -> bool {
    use DataType::{BigInt, Date, DateTime, Decimal, Double, Float, Int, Json, LargeInt, SmallInt, TinyInt};
    let is_integer = |t: &DataType| matches!(t, TinyInt | SmallInt | Int | BigInt | LargeInt);
    let is_number = |t: &DataType| is_integer(t) || matches!(t, Float | Double | Decimal(..));
    let is_plain_text = |t: &DataType| t.is_text() && *t != Json;
    match (from, to) {
        _ if widens(from, to) => true,
        (Decimal(p, s), Decimal(precision, scale)) => s <= scale && p - s <= precision - scale,
        (from, to) if is_integer(from) && is_integer(to) => true,
        (from, Double | Decimal(..)) if is_integer(from) => true,
        (from, to) if is_number(from) && is_plain_text(to) => true,
        (from, to) if is_plain_text(from) && (is_number(to) || matches!(to, Date | DateTime)) => true,
        (from, to) if from.is_text() && to.is_text() => true,
        (Int | BigInt, Date) | (Date, DateTime) | (DateTime, Date) => true,
        _ => false,
    }
}

/// Whether a conversion keeps the order of values, so that the least or greatest of them is so afterwards.
pub fn keeps_order(from: &DataType, to: &DataType) -> bool {
    let is_plain_text = |t: &DataType| t.is_text() && *t != DataType::Json;
    match (is_plain_text(from), is_plain_text(to)) {
        (true, true) => true,
        (false, false) => converts(from, to) && !matches!((from, to), (_, DataType::Json)) && from != &DataType::Json,
        _ => false,
    }
}

/// Whether a conversion keeps values apart: those that differ do so afterwards.
pub fn keeps_apart(from: &DataType, to: &DataType) -> bool {
    use DataType::{BigInt, Date, DateTime, Decimal, Int, LargeInt, SmallInt, TinyInt};
    let is_exact = |t: &DataType| matches!(t, TinyInt | SmallInt | Int | BigInt | LargeInt | Decimal(..));
    match (from, to) {
        (from, to) if is_exact(from) && is_exact(to) => true,
        (from, to) if from.is_text() => to.is_text(),
        (from, to) if to.is_text() => is_exact(from) || matches!(from, Date | DateTime),
        (Date, DateTime) => true,
        _ => from == to,
    }
}

/// Whether rows that were written under an older schema of a table may stand beside those of a newer one, in the same tablet:
/// they are sorted and keyed alike, and each value is one of the newer type. All changes that are made at once keep to it.
pub fn same_form(older: &TableSchema, newer: &TableSchema) -> bool {
    if (older.model, &older.keys, &older.sort_key) != (newer.model, &newer.keys, &newer.sort_key) {
        return false;
    }
    newer.columns.iter().all(|column| {
        let Some(before) = older.index_of(column.id).map(|index| &older.columns[index]) else { return true };
        let arranges = newer.keys.contains(&column.id) || newer.sort_key.contains(&column.id);
        let (from, to) = (&before.data_type, &column.data_type);
        let readable = widens(from, to) && (!arranges || from == to || from.is_text());
        readable && before.aggregation == column.aggregation && (column.nullable || !before.nullable)
    })
}

/// A value that its column's new type does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}`: value {value} {problem}")]
pub struct Misfit {
    /// The column.
    pub column: String,
    /// The value as text, in back quotes, or NULL.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Why rows cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// A value does not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// Arrow kernels failed, or the rows are not those of the schema.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// How rows of one schema become rows of another. Both are rows as segments hold them.
#[derive(Debug)]
pub struct Conversion {
    columns: Vec<Target>,
    /// Fields of the result.
    stored: SchemaRef,
}

#[derive(Debug)]
struct Target {
    column: Column,
    /// What the column was; `None` if it is new.
    before: Option<DataType>,
}

impl Conversion {
    /// From rows of `from` to rows of `to`: ids bind their columns. What is new has what its column begins with.
    pub fn new(from: &TableSchema, to: &TableSchema) -> Self {
        let columns = to.columns.iter().map(|column| {
            let before = from.index_of(column.id).map(|index| from.columns[index].data_type.clone());
            Target { column: column.clone(), before }
        });
        Self { columns: columns.collect(), stored: storage_schema(&to.columns) }
    }

    /// Converts rows; a column [`OP`] that stands behind the others stays there. Fails at the first misfit of a column.
    pub fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch, ConversionError> {
        let mut arrays = Vec::with_capacity(self.columns.len() + 1);
        for target in &self.columns {
            arrays.push(target.apply(rows)?);
        }
        let mut stored = self.stored.clone();
        if let Some((position, field)) = rows.schema_ref().column_with_name(OP) {
            let fields = stored.fields().iter().cloned().chain([Arc::new(field.clone())]);
            stored = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            arrays.push(rows.column(position).clone());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(stored, arrays, &options)?)
    }
}

impl Target {
    fn apply(&self, rows: &RecordBatch) -> Result<ArrayRef, ConversionError> {
        let Column { id, data_type, .. } = &self.column;
        let stored = storage_field(&self.column);
        let Some(before) = &self.before else {
            let begun = initial(&self.column, rows.num_rows())?;
            self.check_nulls(&begun)?;
            return Ok(convert(&begun, stored.data_type())?);
        };
        let name = field_name(*id);
        let array = rows
            .column_by_name(&name)
            .ok_or_else(|| ArrowError::SchemaError(format!("the rows lack {name}, column `{}`", self.column.name)))?;
        let array = if before == data_type {
            array.clone()
        } else {
            let declared = convert(array, &before.to_arrow())?;
            let converted = cast::convert(&declared, before, data_type)?;
            if let Some((row, problem)) = cast::misfit(&declared, &converted, data_type) {
                return Err(self.misfit(&declared, row, problem).into());
            }
            convert(&converted, stored.data_type())?
        };
        self.check_nulls(&array)?;
        Ok(array)
    }

    fn check_nulls(&self, array: &ArrayRef) -> Result<(), Misfit> {
        if self.column.nullable || array.null_count() == 0 {
            return Ok(());
        }
        let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or_default();
        Err(self.misfit(array, row, "is not allowed: the column is to be NOT NULL".to_owned()))
    }

    fn misfit(&self, array: &ArrayRef, row: usize, problem: String) -> Misfit {
        let value = if array.is_null(row) {
            "NULL".to_owned()
        } else {
            let value = array_value_to_string(array, row).unwrap_or_default();
            match value.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("`{}..`", &value[..end]),
                None => format!("`{value}`"),
            }
        };
        Misfit { column: self.column.name.clone(), value, problem }
    }
}
