//! Source columns to declared columns, strictly: a value that does not fit fails the load and is named.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options, take};
use arrow::datatypes::{DataType as ArrowType, Int8Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tarn_proto::schema::{OP, OP_DELETE, OP_UPSERT};
use tarn_proto::{Column, ColumnId, DataType, TableSchema};

use misfit::{Misfit, misfit, shortened};

mod misfit;

/// A row that a table cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}row {row}, column `{column}`: value {value} {problem}", place(.file))]
pub struct RowError {
    /// The file it comes from, where one is known.
    pub file: Option<String>,
    /// The row in the file, or in the load, from 1.
    pub row: u64,
    /// The target column.
    pub column: String,
    /// The value as text.
    pub value: String,
    /// What is wrong, and what would fit.
    pub problem: String,
}

fn place(file: &Option<String>) -> String {
    file.as_ref().map(|f| format!("file {f}, ")).unwrap_or_default()
}

/// Why a batch cannot be coerced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One row's value.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The types never fit.
    #[error("column `{column}`: a value of type {from} cannot be stored as {to}")]
    Type {
        /// The target column.
        column: String,
        /// The source's arrow type.
        from: ArrowType,
        /// The declared type.
        to: DataType,
    },
    /// Arrow kernels failed.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Coerces `batch`, whose columns are `schema`'s in order, to the declared types. Behind them [`OP`] may stand, which is
/// coerced too.
///
/// `first_row` is the number of the batch's first row in its source, from 1, for errors. Fails at the first row that has
/// NULL in a NOT NULL column, text longer than declared or that is not the JSON it should be, or a value out of the
/// type's range; inside lists, maps and structs, too. JSON is kept as it was written.
pub fn coerce(batch: &RecordBatch, schema: &TableSchema, first_row: u64) -> Result<RecordBatch, Error> {
    let mut columns = schema
        .columns
        .iter()
        .zip(batch.columns())
        .map(|(column, array)| coerce_column(array, column, first_row))
        .collect::<Result<Vec<_>, _>>()?;
    let arrow = match batch.columns().get(schema.columns.len()) {
        None => schema.to_arrow(),
        Some(op) => {
            columns.push(coerce_op(op, first_row)?);
            schema.to_arrow_with_op()
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(arrow, columns, &options)?)
}

/// Coerces what becomes of each row's key.
fn coerce_op(array: &ArrayRef, first_row: u64) -> Result<ArrayRef, Error> {
    let name = OP.to_owned();
    let op = Column {
        id: ColumnId(0),
        name: name.clone(),
        data_type: DataType::TinyInt,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    let coerced = coerce_column(array, &op, first_row)?;
    let ops = coerced.as_primitive::<Int8Type>().values();
    match ops.iter().position(|op| ![OP_UPSERT, OP_DELETE].contains(op)) {
        None => Ok(coerced),
        Some(row) => Err(Error::Row(RowError {
            file: None,
            row: first_row + row as u64,
            column: name,
            value: format!("`{}`", ops[row]),
            problem: format!("is no operation: {OP_UPSERT} upserts the row, {OP_DELETE} deletes it"),
        })),
    }
}

fn coerce_column(array: &ArrayRef, column: &Column, first_row: u64) -> Result<ArrayRef, Error> {
    let wanted = column.data_type.to_arrow();
    let fail = |row: usize, problem: String| -> Error {
        let options = FormatOptions::default().with_null("NULL");
        let value = ArrayFormatter::try_new(array, &options).map(|f| f.value(row).to_string()).unwrap_or_default();
        let value = shortened(value);
        let quoted = if value == "NULL" { value } else { format!("`{value}`") };
        Error::Row(RowError {
            file: None,
            row: first_row + row as u64,
            column: column.name.clone(),
            value: quoted,
            problem,
        })
    };
    let fitted = match array.data_type() {
        t if *t == wanted => array.clone(),
        ArrowType::Null => new_null_array(&wanted, array.len()),
        from => {
            let never =
                || Error::Type { column: column.name.clone(), from: from.clone(), to: column.data_type.clone() };
            // Numbers are dates by their digits, `20240229`, not by the days that arrow counts.
            let digits = (from.is_integer() && wanted.is_temporal()).then(|| cast(array, &ArrowType::Utf8));
            let digits = digits.transpose()?;
            let source = digits.as_ref().unwrap_or(array);
            let unfit = |row| fail(row, format!("is not a value of {}", column.data_type));
            if wanted.is_nested() {
                // What does not fit is deep inside: only the cast that fails tells of it.
                cast_strictly(source, &wanted, never, unfit)?
            } else {
                // `safe` turns what does not fit into NULL, so that the row can be found and named.
                let options = CastOptions { safe: true, ..CastOptions::default() };
                let fitted = cast_with_options(source, &wanted, &options).map_err(|_| never())?;
                if fitted.null_count() != array.logical_null_count()
                    && let Some(row) = (0..array.len()).find(|&row| fitted.is_null(row) && !is_null(array, row))
                {
                    return Err(unfit(row));
                }
                fitted
            }
        }
    };
    if !column.nullable
        && let Some(row) = (0..fitted.len()).find(|&row| fitted.is_null(row))
    {
        return Err(fail(row, "is not allowed: the column is NOT NULL".to_owned()));
    }
    if let Some(misfit) = misfit(&fitted, &column.data_type, &|_| true) {
        let Misfit { index, value, problem } = misfit;
        let nested = fitted.data_type().is_nested();
        return Err(fail(index, if nested { format!("holds `{value}`, which {problem}") } else { problem }));
    }
    Ok(fitted)
}

/// Casts where every row fits; otherwise the error is of the first row that does not.
fn cast_strictly(
    array: &ArrayRef,
    wanted: &ArrowType,
    never: impl Fn() -> Error,
    row_error: impl Fn(usize) -> Error,
) -> Result<ArrayRef, Error> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    if !can_cast_types(array.data_type(), wanted) {
        return Err(never());
    }
    cast_with_options(array, wanted, &options).map_err(|_| {
        // Taken, not sliced: a slice of a list still holds the values of all lists, and all are cast.
        let fits = |row: usize| {
            let one = take(array, &UInt64Array::from(vec![row as u64]), None);
            one.and_then(|one| cast_with_options(&one, wanted, &options)).is_ok()
        };
        let first = (0..array.len()).find(|&row| !fits(row));
        first.map_or_else(never, row_error)
    })
}

fn is_null(array: &ArrayRef, row: usize) -> bool {
    array.logical_nulls().is_some_and(|n| n.is_null(row))
}

#[cfg(test)]
mod tests;
