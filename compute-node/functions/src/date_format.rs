//! `date_format(dt, format)`: a time by MySQL's letters.

use std::fmt::{self, Write};

use arrow::array::{AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use tarn_proto::time::{DAY_MICROS, civil_from_days, days_from_civil};

use crate::arguments::{datetime_type, micros, result};

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Monday first.
pub(crate) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DateFormat {
    signature: Signature,
}

impl Default for DateFormat {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DateFormat {
    fn name(&self) -> &str {
        "date_format"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [time, _] => Ok(vec![datetime_type(self.name(), time)?, DataType::Utf8View]),
            _ => plan_err!("`date_format` takes a date or time and a format"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = micros(&args.args[0], args.number_rows)?;
        let formats = cast(&args.args[1].to_array(args.number_rows)?, &DataType::Utf8View)?;
        let mut builder = StringViewBuilder::with_capacity(times.len());
        let mut text = String::new();
        for (time, format) in times.iter().zip(formats.as_string_view()) {
            text.clear();
            let value = match (time, format) {
                (Some(time), Some(format)) => {
                    write(&mut text, time, format)
                        .map_err(|error| DataFusionError::Execution(format!("cannot write a time: {error}")))?;
                    Some(text.as_str())
                }
                _ => None,
            };
            builder.append_option(value);
        }
        result(builder.finish(), &args.args)
    }
}

fn write(out: &mut String, micros: i64, format: &str) -> fmt::Result {
    let days = micros.div_euclid(DAY_MICROS);
    let (year, month, day) = civil_from_days(days);
    let rest = micros.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let twelve = (hour + 11) % 12 + 1;
    let half = if hour < 12 { "AM" } else { "PM" };
    let month_name = MONTHS[month as usize - 1];
    // 1970-01-01 was a Thursday.
    let monday_first = (days + 3).rem_euclid(7);
    let weekday = WEEKDAYS[monday_first as usize];
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('Y') => write!(out, "{year:04}")?,
            Some('y') => write!(out, "{:02}", year.rem_euclid(100))?,
            Some('m') => write!(out, "{month:02}")?,
            Some('c') => write!(out, "{month}")?,
            Some('M') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('d') => write!(out, "{day:02}")?,
            Some('e') => write!(out, "{day}")?,
            Some('D') => write!(out, "{day}{}", suffix(day))?,
            Some('j') => write!(out, "{:03}", days - days_from_civil(year, 1, 1) + 1)?,
            Some('H') => write!(out, "{hour:02}")?,
            Some('k') => write!(out, "{hour}")?,
            Some('h' | 'I') => write!(out, "{twelve:02}")?,
            Some('l') => write!(out, "{twelve}")?,
            Some('i') => write!(out, "{minute:02}")?,
            Some('s' | 'S') => write!(out, "{second:02}")?,
            Some('f') => write!(out, "{fraction:06}")?,
            Some('p') => out.push_str(half),
            Some('r') => write!(out, "{twelve:02}:{minute:02}:{second:02} {half}")?,
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}")?,
            Some('W') => out.push_str(weekday),
            Some('a') => out.push_str(&weekday[..3]),
            Some('w') => write!(out, "{}", (monday_first + 1) % 7)?,
            Some('u') => write!(out, "{:02}", week(days, First::Monday))?,
            Some('U') => write!(out, "{:02}", week(days, First::Sunday))?,
            Some('v') => write!(out, "{:02}", week_of_year(days, First::Monday).1)?,
            Some('V') => write!(out, "{:02}", week_of_year(days, First::Sunday).1)?,
            Some('x') => write!(out, "{:04}", week_of_year(days, First::Monday).0)?,
            Some('X') => write!(out, "{:04}", week_of_year(days, First::Sunday).0)?,
            Some(other) => out.push(other),
            None => out.push('%'),
        }
    }
    Ok(())
}

const fn suffix(day: u32) -> &'static str {
    match day {
        11..=13 => "th",
        _ if day % 10 == 1 => "st",
        _ if day % 10 == 2 => "nd",
        _ if day % 10 == 3 => "rd",
        _ => "th",
    }
}

/// How weeks are counted.
#[derive(Clone, Copy)]
enum First {
    /// Weeks begin on Mondays; the first has four days of its year at least.
    Monday,
    /// Weeks begin on Sundays; the first begins with its year's first Sunday.
    Sunday,
}

/// The day on which a year's week 1 begins.
fn first_week(year: i64, first: First) -> i64 {
    let start = days_from_civil(year, 1, 1);
    match first {
        // The week of January 4th.
        First::Monday => start + 3 - (start + 3 + 3).rem_euclid(7),
        First::Sunday => start + (-(start + 4)).rem_euclid(7),
    }
}

/// The week of a day's own year; 0 before its first.
fn week(days: i64, first: First) -> i64 {
    (days - first_week(civil_from_days(days).0, first)).div_euclid(7) + 1
}

/// The year that a day's week belongs to, and its number in it, from 1.
fn week_of_year(days: i64, first: First) -> (i64, i64) {
    let year = civil_from_days(days).0;
    let year = [year + 1, year].into_iter().find(|year| days >= first_week(*year, first)).unwrap_or(year - 1);
    (year, (days - first_week(year, first)).div_euclid(7) + 1)
}

#[cfg(test)]
mod tests {
    use tarn_proto::time::text::parse_datetime;

    use super::*;

    fn formatted(time: &str, format: &str) -> String {
        let mut out = String::new();
        write(&mut out, parse_datetime(time).unwrap(), format).unwrap();
        out
    }

    #[test]
    fn letters_are_those_of_mysql() {
        let time = "2024-03-02 15:04:05.000678";
        assert_eq!(formatted(time, "%Y-%m-%d %H:%i:%s"), "2024-03-02 15:04:05");
        assert_eq!(formatted(time, "%y %c %e %k %h %I %l %S %f"), "24 3 2 15 03 03 3 05 000678");
        assert_eq!(formatted(time, "%p|%r|%T"), "PM|03:04:05 PM|15:04:05");
        assert_eq!(formatted(time, "%W %a %w %M %b %j %D"), "Saturday Sat 6 March Mar 062 2nd");
        assert_eq!(formatted(time, "100%% %q %"), "100% q %");
        assert_eq!(formatted("2024-01-01", "%r %l %k"), "12:00:00 AM 12 0");
        let days = ["01", "11", "12", "13", "21", "22", "23", "30"].map(|d| formatted(&format!("2024-01-{d}"), "%D"));
        assert_eq!(days, ["1st", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th"]);
    }

    #[test]
    fn weeks_are_those_of_mysql() {
        // The examples of MySQL's manual, and the ends of years.
        assert_eq!(formatted("1999-01-01", "%X %V"), "1998 52");
        assert_eq!(formatted("2008-02-20", "%U %u %V %v"), "07 08 07 08");
        assert_eq!(formatted("2008-12-31", "%u %v %x"), "53 01 2009");
        assert_eq!(formatted("2000-01-01", "%U %u %X%V %x%v"), "00 00 199952 199952");
        assert_eq!(formatted("2021-01-03", "%U %u %X%V %x%v"), "01 00 202101 202053");
        assert_eq!(formatted("2024-12-29", "%U %u %X%V %x%v"), "52 52 202452 202452");
    }
}
