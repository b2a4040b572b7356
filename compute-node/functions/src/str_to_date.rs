//! `str_to_date(text, format)`: parses a DATETIME by a MySQL format; NULL if the text does not fit it.

use arrow::array::{AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::format::{Parsed, StrftimeItems, parse};
use chrono::{NaiveDateTime, NaiveTime};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::arguments::{DATETIME, result};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct StrToDate {
    signature: Signature,
}

impl Default for StrToDate {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for StrToDate {
    fn name(&self) -> &str {
        "str_to_date"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [_, _] => Ok(vec![DataType::Utf8View; 2]),
            _ => plan_err!("`str_to_date` takes a text and a format"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DATETIME)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Utf8View)?;
        let formats = cast(&args.args[1].to_array(args.number_rows)?, &DataType::Utf8View)?;
        let mut known = ("", String::new());
        let times: PrimitiveArray<TimestampMicrosecondType> = texts
            .as_string_view()
            .iter()
            .zip(formats.as_string_view())
            .map(|(text, format)| {
                let (text, format) = (text?, format?);
                if known.0 != format {
                    known = (format, strftime(format));
                }
                parse_text(text, &known.1).map(|time| time.and_utc().timestamp_micros())
            })
            .collect();
        result(times, &args.args)
    }
}

/// The format in chrono's letters, where they differ from MySQL's.
fn strftime(mysql: &str) -> String {
    let mut out = String::with_capacity(mysql.len());
    let mut letters = mysql.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('i') => out.push_str("%M"),
            Some('s') => out.push_str("%S"),
            Some('M') => out.push_str("%B"),
            Some('W') => out.push_str("%A"),
            Some('h') => out.push_str("%I"),
            Some('k') => out.push_str("%H"),
            Some('c') => out.push_str("%m"),
            Some('r') => out.push_str("%I:%M:%S %p"),
            Some('T') => out.push_str("%H:%M:%S"),
            Some('%') | None => out.push_str("%%"),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
        }
    }
    out
}

fn parse_text(text: &str, format: &str) -> Option<NaiveDateTime> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text.trim(), StrftimeItems::new(format)).ok()?;
    let date = parsed.to_naive_date().ok()?;
    let time = match (parsed.hour_div_12(), parsed.hour_mod_12(), parsed.minute()) {
        (None, None, None) => NaiveTime::MIN,
        (Some(half), Some(hour), None) => NaiveTime::from_hms_opt(half * 12 + hour, 0, 0)?,
        _ => parsed.to_naive_time().ok()?,
    };
    Some(date.and_time(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_formats_are_understood() {
        let parsed = |text, format| parse_text(text, &strftime(format)).map(|t| t.to_string());
        assert_eq!(parsed("2014-12-21 12:34:56", "%Y-%m-%d %H:%i:%s").as_deref(), Some("2014-12-21 12:34:56"));
        assert_eq!(parsed("21/12/2014", "%d/%m/%Y").as_deref(), Some("2014-12-21 00:00:00"));
        assert_eq!(parsed("20141221", "%Y%m%d").as_deref(), Some("2014-12-21 00:00:00"));
        assert_eq!(parsed("2014-12-21 07", "%Y-%m-%d %H").as_deref(), Some("2014-12-21 07:00:00"));
        assert_eq!(parsed("2014-02-30", "%Y-%m-%d"), None);
        assert_eq!(parsed("soon", "%Y-%m-%d"), None);
    }
}
