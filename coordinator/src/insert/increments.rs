//! Values for AUTO_INCREMENT columns that a load leaves out, or gives as NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use tarn_catalog::{Operation, Response};
use tarn_gateway::engine::Result;
use tarn_proto::TableId;

use crate::session::{Error, SessionContext};

/// Gives each row that has no value in `column` one that no other row of the table was given.
pub(super) async fn fill(
    context: &SessionContext,
    table: TableId,
    batch: RecordBatch,
    column: usize,
) -> Result<RecordBatch> {
    let missing = batch.column(column).logical_null_count() as u64;
    if missing == 0 {
        return Ok(batch);
    }
    match context.propose(Operation::TakeIncrements { table, count: missing }).await? {
        Response::Increments { first } => {
            Ok(filled(&batch, column, first).map_err(|e| Error::Internal(e.to_string()))?)
        }
        other => Err(Error::Internal(format!("unexpected answer to TakeIncrements: {other:?}")).into()),
    }
}

/// Puts `first` and the numbers behind it in the places of NULL. Values that are no numbers are left to whoever coerces
/// the batch, with all others. Pure.
pub(super) fn filled(batch: &RecordBatch, column: usize, first: i64) -> std::result::Result<RecordBatch, ArrowError> {
    let given = batch.column(column);
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let numbers = match cast_with_options(given, &DataType::Int64, &options) {
        Ok(numbers) if numbers.null_count() == given.logical_null_count() => numbers,
        _ => return Ok(batch.clone()),
    };
    let mut next = first..;
    let values = numbers.as_primitive::<Int64Type>().iter().map(|value| value.or_else(|| next.next()));
    let values: ArrayRef = Arc::new(values.collect::<Int64Array>());
    let schema = batch.schema();
    let fields = schema.fields().iter().enumerate().map(|(i, field)| match i == column {
        true => Arc::new(Field::new(field.name(), DataType::Int64, true)),
        false => field.clone(),
    });
    let fields = Schema::new(fields.collect::<Vec<_>>());
    let mut columns = batch.columns().to_vec();
    columns[column] = values;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(fields), columns, &options)
}

#[cfg(test)]
mod tests {
    use arrow::array::{NullArray, StringArray};

    use super::*;

    fn numbered(column: ArrayRef, first: i64) -> Vec<String> {
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..column.len() as i64));
        let batch = RecordBatch::try_from_iter_with_nullable([("a", rows, true), ("n", column, true)]).unwrap();
        let filled = filled(&batch, 1, first).unwrap();
        assert_eq!(filled.column(0), batch.column(0));
        let texts = cast_with_options(filled.column(1), &DataType::Utf8, &CastOptions::default()).unwrap();
        texts.as_string::<i32>().iter().map(|t| t.unwrap_or("NULL").to_owned()).collect()
    }

    #[test]
    fn rows_without_a_value_are_numbered_and_the_others_stay() {
        assert_eq!(numbered(Arc::new(NullArray::new(3)), 7), ["7", "8", "9"]);
        assert_eq!(numbered(Arc::new(Int64Array::from(vec![None, Some(100), None])), 1), ["1", "100", "2"]);
        assert_eq!(numbered(Arc::new(StringArray::from(vec![Some("5"), None])), 9), ["5", "9"]);
    }

    #[test]
    fn a_column_with_what_is_no_number_is_left_as_it_is() {
        assert_eq!(numbered(Arc::new(StringArray::from(vec![Some("x"), None])), 9), ["x", "NULL"]);
    }
}
