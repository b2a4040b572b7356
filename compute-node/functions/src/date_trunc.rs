//! `date_trunc(unit, dt)`: the start of the unit that holds a time. DataFusion's own counts nanoseconds on the way, which
//! end in the year 2262.

use arrow::array::PrimitiveArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::arguments::{DATETIME, datetime_type, micros, result, within_years};
use crate::time::{TimeUnit, date_trunc_micros};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DateTrunc {
    signature: Signature,
}

impl Default for DateTrunc {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [_, time] => Ok(vec![DataType::Utf8, datetime_type(self.name(), time)?]),
            _ => plan_err!("`date_trunc` takes a unit and a date or time"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DATETIME)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(unit))) = &args.args[0] else {
            return exec_err!("the unit of `date_trunc` must be constant text");
        };
        let truncate: Box<dyn Fn(i64) -> i64> = match (TimeUnit::parse(unit), unit.to_ascii_lowercase().as_str()) {
            (Some(unit), _) => Box::new(move |time| date_trunc_micros(unit, time)),
            (None, "millisecond") => Box::new(|time| time - time.rem_euclid(1000)),
            (None, "microsecond") => Box::new(|time| time),
            (None, _) => {
                return exec_err!(
                    "`date_trunc` knows no unit `{unit}`: they are microsecond, millisecond, second, minute, hour, day, \
                     week, month, quarter and year"
                );
            }
        };
        // The first week begins before the year 0.
        let times: PrimitiveArray<TimestampMicrosecondType> =
            micros(&args.args[1], args.number_rows)?.unary_opt(|time| within_years(truncate(time)));
        result(times, &args.args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // Of two times, the later one's unit does not start before the other's.
        match inputs {
            [unit, time] if unit.sort_properties == SortProperties::Singleton => Ok(time.sort_properties),
            _ => Ok(SortProperties::Unordered),
        }
    }
}
