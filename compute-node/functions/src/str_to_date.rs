//! `str_to_date(text, format)`: parses a DATETIME by a MySQL format; NULL if the text does not fit it.

use arrow::array::{AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use tarn_proto::time::text::{fraction_of, full_year, micros_of};
use tarn_proto::time::{DAY_MICROS, days_from_civil};

use crate::arguments::{DATETIME, result};
use crate::date_format::{MONTHS, WEEKDAYS};

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
        let times: PrimitiveArray<TimestampMicrosecondType> = texts
            .as_string_view()
            .iter()
            .zip(formats.as_string_view())
            .map(|(text, format)| parse_text(text?, format?))
            .collect();
        result(times, &args.args)
    }
}

/// What a text says by a format, in microseconds since 1970-01-01.
fn parse_text(text: &str, format: &str) -> Option<i64> {
    let mut found = Found::default();
    let rest = found.read(text.trim(), format)?;
    if rest.trim().is_empty() { found.micros() } else { None }
}

/// The parts of a time that were read.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    /// The hour counts to twelve.
    twelve: bool,
    afternoon: bool,
    minute: i64,
    second: i64,
    fraction: i64,
}

impl Found {
    /// Reads a text by a format and returns what is left of it.
    fn read<'a>(&mut self, mut text: &'a str, format: &str) -> Option<&'a str> {
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter.is_whitespace() {
                text = text.trim_start();
                continue;
            }
            if letter != '%' {
                text = text.strip_prefix(letter)?;
                continue;
            }
            let letter = letters.next().unwrap_or('%');
            if letter != '%' {
                text = text.trim_start();
            }
            text = self.part(text, letter)?;
        }
        Some(text)
    }

    /// Reads one part.
    fn part<'a>(&mut self, text: &'a str, letter: char) -> Option<&'a str> {
        let rest = match letter {
            'Y' => number(text, 4, &mut self.year)?,
            'y' => {
                let mut year = None;
                let rest = number(text, 2, &mut year)?;
                self.year = year.map(full_year);
                rest
            }
            'm' | 'c' => number(text, 2, &mut self.month)?,
            'M' => name(text, &MONTHS, 0, &mut self.month)?,
            'b' => name(text, &MONTHS, 3, &mut self.month)?,
            'd' | 'e' => number(text, 2, &mut self.day)?,
            'D' => {
                let rest = number(text, 2, &mut self.day)?;
                let suffix =
                    rest.get(..2).filter(|s| ["st", "nd", "rd", "th"].iter().any(|k| k.eq_ignore_ascii_case(s)));
                &rest[suffix?.len()..]
            }
            'j' => number(text, 3, &mut self.day_of_year)?,
            'H' | 'k' => {
                self.twelve = false;
                required(text, 2, &mut self.hour)?
            }
            'h' | 'I' | 'l' => {
                self.twelve = true;
                required(text, 2, &mut self.hour)?
            }
            'i' => required(text, 2, &mut self.minute)?,
            's' | 'S' => required(text, 2, &mut self.second)?,
            'f' => {
                let (digits, rest) = digits(text, 6)?;
                self.fraction = fraction_of(digits);
                rest
            }
            'p' => {
                let half = text.get(..2)?;
                self.afternoon = half.eq_ignore_ascii_case("pm");
                if !self.afternoon && !half.eq_ignore_ascii_case("am") {
                    return None;
                }
                &text[2..]
            }
            'r' => self.read(text, "%h:%i:%s %p")?,
            'T' => self.read(text, "%H:%i:%s")?,
            // The day's name follows from its date.
            'W' => name(text, &WEEKDAYS, 0, &mut None)?,
            'a' => name(text, &WEEKDAYS, 3, &mut None)?,
            '%' => text.strip_prefix('%')?,
            _ => return None,
        };
        Some(rest)
    }

    fn micros(&self) -> Option<i64> {
        let hour = match (self.twelve, self.hour) {
            (false, hour) => hour,
            (true, 1..=12) => self.hour % 12 + if self.afternoon { 12 } else { 0 },
            (true, _) => return None,
        };
        let year = self.year?;
        let (date, days) = match (self.month, self.day, self.day_of_year) {
            (Some(month), Some(day), _) => ([year, month, day], 0),
            (_, _, Some(day)) => {
                let length = days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1);
                if !(1..=length).contains(&day) {
                    return None;
                }
                ([year, 1, 1], day - 1)
            }
            _ => return None,
        };
        Some(micros_of(date, [hour, self.minute, self.second], self.fraction)? + days * DAY_MICROS)
    }
}

/// The digits that a text begins with, `most` at most, and what follows.
fn digits(text: &str, most: usize) -> Option<(&str, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count == 0 { None } else { Some(text.split_at(count)) }
}

fn number<'a>(text: &'a str, most: usize, value: &mut Option<i64>) -> Option<&'a str> {
    let (digits, rest) = digits(text, most)?;
    *value = Some(digits.parse().ok()?);
    Some(rest)
}

fn required<'a>(text: &'a str, most: usize, value: &mut i64) -> Option<&'a str> {
    let (digits, rest) = digits(text, most)?;
    *value = digits.parse().ok()?;
    Some(rest)
}

/// Reads one of `names`, or its first `letters` if they are not 0, as its number from 1.
fn name<'a>(text: &'a str, names: &[&str], letters: usize, value: &mut Option<i64>) -> Option<&'a str> {
    for (name, number) in names.iter().zip(1..) {
        let name = if letters == 0 { name } else { &name[..letters] };
        if let Some(start) = text.get(..name.len())
            && start.eq_ignore_ascii_case(name)
        {
            *value = Some(number);
            return Some(&text[name.len()..]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarn_proto::time::text::write_datetime;

    #[test]
    fn mysql_formats_are_understood() {
        for (text, format, expected) in [
            ("2014-12-21 12:34:56", "%Y-%m-%d %H:%i:%s", Some("2014-12-21 12:34:56")),
            ("2014-12-21 12:34 PM", "%Y-%m-%d %h:%i %p", Some("2014-12-21 12:34:00")),
            ("2014-12-21 12:34:56 am", "%Y-%m-%d %r", Some("2014-12-21 00:34:56")),
            ("21/12/2014", "%d/%m/%Y", Some("2014-12-21 00:00:00")),
            ("20141221", "%Y%m%d", Some("2014-12-21 00:00:00")),
            ("2014-12-21 07", "%Y-%m-%d %H", Some("2014-12-21 07:00:00")),
            ("2014-12-21 07:08:09.5", "%Y-%m-%d %T.%f", Some("2014-12-21 07:08:09.500000")),
            ("2014-12-21 07:08:09.000012", "%Y-%m-%d %H:%i:%S.%f", Some("2014-12-21 07:08:09.000012")),
            ("Sunday, December 21st 14", "%W, %M %D %y", Some("2014-12-21 00:00:00")),
            ("Sun 3rd dec 70", "%a %D %b %y", Some("1970-12-03 00:00:00")),
            ("2024 366", "%Y %j", Some("2024-12-31 00:00:00")),
            ("2014-02-30", "%Y-%m-%d", None),
            ("2023 366", "%Y %j", None),
            ("2014-12-21 13:00 PM", "%Y-%m-%d %h:%i %p", None),
            ("2014-12-21 x", "%Y-%m-%d", None),
            ("2014-12", "%Y-%m", None),
            ("soon", "%Y-%m-%d", None),
        ] {
            let parsed = parse_text(text, format).map(|micros| {
                let mut out = String::new();
                write_datetime(&mut out, micros).unwrap();
                out
            });
            assert_eq!(parsed.as_deref(), expected, "{text} by {format}");
        }
    }
}
