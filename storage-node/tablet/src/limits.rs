//! Values that the segment format cannot hold.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::max;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;

/// The format keeps statistics of timestamps, and no timestamp in them may be after this (9999-12-30 22:00:00).
const LAST_DATETIME_MICROS: i64 = 253_402_207_200_000_000;

/// Refuses rows with such values, naming the column.
pub(crate) fn check_values(rows: &RecordBatch) -> Result<(), ArrowError> {
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if !fits(column) {
            return Err(ArrowError::InvalidArgumentError(format!(
                "column {} holds a DATETIME after 9999-12-30 22:00:00, which cannot be stored",
                field.name()
            )));
        }
    }
    Ok(())
}

fn fits(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Timestamp(..) => {
            max(array.as_primitive::<TimestampMicrosecondType>()).is_none_or(|last| last <= LAST_DATETIME_MICROS)
        }
        DataType::List(_) => fits(array.as_list::<i32>().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().all(fits),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{StructArray, TimestampMicrosecondArray};
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_datetime_that_the_format_cannot_hold_is_refused_wherever_it_is() {
        for (micros, allowed) in [(LAST_DATETIME_MICROS, true), (LAST_DATETIME_MICROS + 1, false)] {
            let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, Some(micros), Some(0)]));
            let field = Arc::new(Field::new("inner", times.data_type().clone(), true));
            let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, times.clone())]));
            for column in [times, nested] {
                let rows = RecordBatch::try_from_iter([("c7", column)]).unwrap();
                let checked = check_values(&rows);
                assert_eq!(checked.is_ok(), allowed);
                assert!(checked.is_ok() || checked.unwrap_err().to_string().contains("c7"));
            }
        }
    }
}
