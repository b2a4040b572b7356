//! Arguments of functions, brought to the few types the functions work on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use tarn_proto::time::{FIRST_MICROS, LAST_MICROS};

/// The type of `DATETIME`.
pub(crate) const DATETIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The type of an interval.
pub(crate) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The type that a date or time argument is coerced to. Text is parsed.
pub(crate) fn datetime_type(function: &str, argument: &DataType) -> Result<DataType> {
    match argument {
        DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..)
        | DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => Ok(DATETIME),
        other => plan_err!("`{function}` needs a date or time, not {other}"),
    }
}

/// An argument as a column of `rows` microseconds.
pub(crate) fn micros(argument: &ColumnarValue, rows: usize) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let array = cast(&argument.to_array(rows)?, &DATETIME)?;
    Ok(array.as_primitive::<TimestampMicrosecondType>().clone())
}

/// A time, or `None` if it lies outside the years that a DATETIME has.
pub(crate) fn within_years(micros: i64) -> Option<i64> {
    (FIRST_MICROS..=LAST_MICROS).contains(&micros).then_some(micros)
}

/// Months, days and microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub months: i64,
    pub days: i64,
    pub micros: i64,
}

/// An argument as a column of `rows` intervals. A bare number counts days, as StarRocks has it.
pub(crate) fn intervals(argument: &ColumnarValue, rows: usize) -> Result<Vec<Option<Interval>>> {
    let array = argument.to_array(rows)?;
    if array.data_type().is_integer() {
        let days: ArrayRef = cast(&array, &DataType::Int64)?;
        let days: &Int64Array = days.as_primitive();
        return Ok(days.iter().map(|days| days.map(|days| Interval { months: 0, days, micros: 0 })).collect());
    }
    if array.data_type() != &INTERVAL {
        return exec_err!("expected an interval, got {}", array.data_type());
    }
    let values = array.as_primitive::<IntervalMonthDayNanoType>();
    Ok(values
        .iter()
        .map(|value| {
            value.map(|v| Interval {
                months: i64::from(v.months),
                days: i64::from(v.days),
                micros: v.nanoseconds.div_euclid(1000),
            })
        })
        .collect())
}

/// The result of a function: a scalar if all arguments are.
pub(crate) fn result(array: impl Array + 'static, arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    if arguments.iter().all(|a| matches!(a, ColumnarValue::Scalar(_))) && array.len() == 1 {
        return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(Arc::new(array)))
}
