//! `time_slice(dt, INTERVAL n unit [, 'floor' | 'ceil'])`: the start (or the end) of the slice that holds a time. Slices
//! are counted from 0001-01-01 00:00:00.

use arrow::array::PrimitiveArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::arguments::{DATETIME, INTERVAL, Interval, datetime_type, intervals, micros, result, within_years};
use crate::time::{TimeUnit, time_slice_micros, unit_end};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeSlice {
    signature: Signature,
}

impl Default for TimeSlice {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeSlice {
    fn name(&self) -> &str {
        "time_slice"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let time = match arguments {
            [time, DataType::Interval(_), ..] if arguments.len() <= 3 => datetime_type(self.name(), time)?,
            _ => return plan_err!("`time_slice` takes a date or time, an interval, and 'floor' or 'ceil'"),
        };
        let mut types = vec![time, INTERVAL];
        types.extend(arguments.get(2).map(|_| DataType::Utf8));
        Ok(types)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DATETIME)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = micros(&args.args[0], args.number_rows)?;
        let ceil = match args.args.get(2) {
            None => false,
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) if text.eq_ignore_ascii_case("floor") => false,
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) if text.eq_ignore_ascii_case("ceil") => true,
            Some(other) => return exec_err!("`time_slice` rounds by 'floor' or 'ceil', not {other}"),
        };
        let ColumnarValue::Scalar(_) = &args.args[1] else {
            return exec_err!("the interval of `time_slice` must be constant");
        };
        let Some(interval) = intervals(&args.args[1], 1)?[0] else {
            return Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(None, None)));
        };
        let (n, unit) = slice(interval)?;
        let slices: PrimitiveArray<TimestampMicrosecondType> = times
            .iter()
            .map(|time| {
                let time = time?;
                let start = time_slice_micros(n, unit, time);
                within_years(if ceil { unit_end(n, unit, start) } else { start })
            })
            .collect();
        result(slices, &args.args)
    }
}

/// Days of more than ten thousand years: more of them make the same slice.
const MAX_DAYS: i64 = 10_000_000;

/// The interval as a number of units.
fn slice(interval: Interval) -> Result<(u32, TimeUnit)> {
    let (n, unit) = match interval {
        Interval { months, days: 0, micros: 0 } => (months, TimeUnit::Month),
        Interval { months: 0, days, micros: 0 } => (days.min(MAX_DAYS), TimeUnit::Day),
        Interval { months: 0, days: 0, micros } if micros % 1_000_000 == 0 => (micros / 1_000_000, TimeUnit::Second),
        _ => return exec_err!("`time_slice` needs an interval of one unit, a second or longer"),
    };
    match u32::try_from(n) {
        Ok(n) if n > 0 => Ok((n, unit)),
        _ => exec_err!("`time_slice` needs an interval greater than zero"),
    }
}
