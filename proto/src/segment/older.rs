//! Rows of segments that were written under another schema than the present one.
//!
//! A segment holds the columns that its load was planned with, in the types that they had then. Ids bind them: a column
//! that was renamed or moved is found all the same, one that was dropped is not asked for, and one that the segment lacks
//! was added later and reads its [`Column::initial`]. A column's type only ever [`widens`], so that a stored value is cast
//! without loss.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType as ArrowType, SchemaRef};
use arrow::error::ArrowError;

use super::{convert, field_name, rebuilt};
use crate::{Column, DataType};

/// Fails where a value does not fit, instead of making it NULL.
pub(super) const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// Whether segments that hold values of `from` can be read as ones of `to`: every value is one of `to`, too, and stays in
/// its order.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{BigInt, Char, Decimal, Double, Float, Int, LargeInt, SmallInt, String, TinyInt, Varchar};
    let width = |t: &DataType| [TinyInt, SmallInt, Int, BigInt, LargeInt].iter().position(|other| other == t);
    match (from, to) {
        _ if from == to => true,
        (Float, Double) => true,
        (Decimal(p, s), Decimal(wider, same)) => s == same && p <= wider,
        (Char(_), Char(_)) | (Char(_) | Varchar(_) | String, Varchar(_) | String) => from.max_bytes() <= to.max_bytes(),
        _ => matches!((width(from), width(to)), (Some(from), Some(to)) if from <= to),
    }
}

/// The text of an initial value of `from` in a column that is of `to` from now on, for types that [`widens`] joins.
pub fn widened_initial(text: &str, from: &DataType, to: &DataType) -> String {
    match (from, to, text.trim().parse::<f32>()) {
        // Rows that were cast from the narrower type have its value, which `0.1` is not.
        (DataType::Float, DataType::Double, Ok(value)) => f64::from(value).to_string(),
        _ => text.to_owned(),
    }
}

/// What rows that are older than the column read, `rows` times, in the declared arrow type.
///
/// Fails if [`Column::initial`] is no value of the column's type.
pub fn initial(column: &Column, rows: usize) -> Result<ArrayRef, ArrowError> {
    let declared = column.data_type.to_arrow();
    let Some(text) = &column.initial else { return Ok(new_null_array(&declared, rows)) };
    let text: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    let value = cast_with_options(&text, &declared, &STRICT)?;
    take(&value, &UInt32Array::from(vec![0; rows]), None)
}

/// The rows of a segment of any age as a segment of today holds them: `stored` is the
/// [`storage_schema`](super::storage_schema) of `columns`, and `batch` has the segment's fields under their names and in
/// their own types. Fields that are no column any more are left out.
///
/// Fails if a value does not fit its column's present type, which a type that only widened rules out.
pub fn upgrade(columns: &[Column], stored: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut arrays = Vec::with_capacity(columns.len());
    for (column, field) in columns.iter().zip(stored.fields()) {
        arrays.push(present(column, field.data_type(), batch)?);
    }
    rebuilt(stored.clone(), arrays, batch.num_rows())
}

/// A column of a segment's batch as `wanted`, its declared or its stored type.
pub(super) fn present(column: &Column, wanted: &ArrowType, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    match batch.column_by_name(&field_name(column.id)) {
        Some(array) => convert(array, wanted),
        None => convert(&initial(column, batch.num_rows())?, wanted),
    }
}

#[cfg(test)]
mod tests;
