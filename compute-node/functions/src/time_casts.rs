//! Casts between text and times, which the planner puts where a query casts: DataFusion's own write `T` between date and
//! time, and read fewer spellings.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, PrimitiveArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use tarn_proto::time::DAY_MICROS;
use tarn_proto::time::text::{parse_datetime, write_datetime};

use crate::arguments::{DATETIME, datetime_type, micros, result};

/// A text as a DATETIME, NULL if it is none.
pub fn text_to_datetime() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Cast::new(Kind::TextToDatetime)))
}

/// A text as a DATE, NULL if it is none. A time of day is left out.
pub fn text_to_date() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Cast::new(Kind::TextToDate)))
}

/// A DATETIME as text: `2024-01-01 10:00:00`.
pub fn datetime_to_text() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Cast::new(Kind::DatetimeToText)))
}

pub(crate) fn functions() -> Vec<ScalarUDF> {
    [Kind::TextToDatetime, Kind::TextToDate, Kind::DatetimeToText].map(|kind| ScalarUDF::from(Cast::new(kind))).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    TextToDatetime,
    TextToDate,
    DatetimeToText,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast {
    kind: Kind,
    signature: Signature,
}

impl Cast {
    fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        match self.kind {
            Kind::TextToDatetime => "text_to_datetime",
            Kind::TextToDate => "text_to_date",
            Kind::DatetimeToText => "datetime_to_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [argument] = arguments else { return plan_err!("`{}` takes one argument", self.name()) };
        Ok(vec![match self.kind {
            Kind::TextToDatetime | Kind::TextToDate => DataType::Utf8View,
            Kind::DatetimeToText => datetime_type(self.name(), argument)?,
        }])
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::TextToDatetime => DATETIME,
            Kind::TextToDate => DataType::Date32,
            Kind::DatetimeToText => DataType::Utf8View,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        match self.kind {
            Kind::TextToDatetime => {
                let texts = texts(&args.args[0], rows)?;
                let times: PrimitiveArray<TimestampMicrosecondType> =
                    texts.as_string_view().iter().map(|text| parse_datetime(text?)).collect();
                result(times, &args.args)
            }
            Kind::TextToDate => {
                let texts = texts(&args.args[0], rows)?;
                let dates: Date32Array = texts
                    .as_string_view()
                    .iter()
                    .map(|text| Some(parse_datetime(text?)?.div_euclid(DAY_MICROS) as i32))
                    .collect();
                result(dates, &args.args)
            }
            Kind::DatetimeToText => {
                let times = micros(&args.args[0], rows)?;
                let mut builder = StringViewBuilder::with_capacity(times.len());
                let mut text = String::new();
                for time in &times {
                    text.clear();
                    if let Some(time) = time {
                        write_datetime(&mut text, time).map_err(|error| {
                            datafusion::error::DataFusionError::Execution(format!("cannot write a time: {error}"))
                        })?;
                    }
                    builder.append_option(time.map(|_| text.as_str()));
                }
                result(builder.finish(), &args.args)
            }
        }
    }
}

fn texts(argument: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    Ok(cast(&argument.to_array(rows)?, &DataType::Utf8View)?)
}
