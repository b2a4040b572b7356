//! A constant's text to a value of a type: partition bounds and defaults.

use tarn_catalog::Value;
use tarn_proto::DataType;
use tarn_proto::time::{DAY_MICROS, TimeUnit, civil_from_days, days_from_civil};

/// The value that `text` stands for in a key type, or what is wanted instead.
pub fn value(text: &str, t: &DataType) -> Result<Value, String> {
    let wanted = || format!("`{text}` is no {t}");
    Ok(match t {
        DataType::Boolean => Value::Boolean(boolean(text).ok_or_else(wanted)?),
        DataType::TinyInt => Value::Int(integer(text, i8::MIN.into(), i8::MAX.into()).ok_or_else(wanted)?),
        DataType::SmallInt => Value::Int(integer(text, i16::MIN.into(), i16::MAX.into()).ok_or_else(wanted)?),
        DataType::Int => Value::Int(integer(text, i32::MIN.into(), i32::MAX.into()).ok_or_else(wanted)?),
        DataType::BigInt => Value::Int(integer(text, i64::MIN.into(), i64::MAX.into()).ok_or_else(wanted)?),
        DataType::LargeInt => Value::Int(decimal(text, 38, 0).ok_or_else(wanted)?),
        DataType::Decimal(p, s) => Value::Int(decimal(text, *p, *s).ok_or_else(wanted)?),
        DataType::Char(_) | DataType::Varchar(_) | DataType::String => match t.max_bytes() {
            Some(max) if text.len() > max as usize => return Err(format!("`{text}` is longer than {max} bytes")),
            _ => Value::Text(text.to_owned()),
        },
        DataType::Date => {
            let micros = datetime(text).filter(|m| m.rem_euclid(DAY_MICROS) == 0).ok_or_else(wanted)?;
            Value::Date(i32::try_from(micros.div_euclid(DAY_MICROS)).map_err(|_| wanted())?)
        }
        DataType::DateTime => Value::DateTime(datetime(text).ok_or_else(wanted)?),
        DataType::Float
        | DataType::Double
        | DataType::Varbinary
        | DataType::Json
        | DataType::Array(_)
        | DataType::Map(..)
        | DataType::Struct(_) => return Err(format!("values of type {t} cannot be compared")),
    })
}

/// The text that a default of type `t` is kept as, or what is wrong with it.
pub fn default(text: &str, t: &DataType) -> Result<String, String> {
    match t {
        DataType::Float | DataType::Double => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text.trim().to_owned()),
            _ => Err(format!("`{text}` is no {t}")),
        },
        DataType::Json => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("`{text}` is no JSON: {error}")),
        },
        DataType::Varbinary | DataType::Array(_) | DataType::Map(..) | DataType::Struct(_) => {
            Err(format!("a column of type {t} can have no default but NULL"))
        }
        DataType::Decimal(..) => value(text, t).map(|_| text.trim().to_owned()),
        _ => value(text, t).map(|value| self::text(&value)),
    }
}

/// A value's text as a literal holds it, without quotes. Decimals would need their scale: they bound no partition that
/// is declared, and defaults keep their own text.
pub fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Date(_) | Value::DateTime(_) => value.to_string().trim_matches('"').to_owned(),
        Value::Null | Value::Boolean(_) | Value::Int(_) => value.to_string(),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn integer(text: &str, min: i128, max: i128) -> Option<i128> {
    text.trim().parse().ok().filter(|n| (min..=max).contains(n))
}

/// The unscaled value, if `text` has no more digits than fit.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 && !digits.contains('0') || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let padding = usize::from(scale).checked_sub(fraction.len())?;
    let unscaled = format!("0{whole}{fraction}{}", "0".repeat(padding)).parse::<i128>().ok()?;
    let fits = unscaled < 10_i128.pow(precision.into());
    fits.then_some(if negative { -unscaled } else { unscaled })
}

/// `2024-02-29`, `20240229`, `2024-02-29 12:30:00.5`, `2024-02-29T12:30:00`: microseconds since 1970.
pub fn datetime(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time.trim())),
        None => (text, None),
    };
    let days = day(date)?;
    let micros = time.map_or(Some(0), time_of_day)?;
    days.checked_mul(DAY_MICROS)?.checked_add(micros)
}

fn day(text: &str) -> Option<i64> {
    let parts: Vec<&str> = match text.len() {
        8 if text.bytes().all(|b| b.is_ascii_digit()) => vec![&text[..4], &text[4..6], &text[6..]],
        _ => text.split('-').collect(),
    };
    let [year, month, day] = parts[..] else { return None };
    let (year, month, day) = (number(year, 4..=4)?, number(month, 1..=2)?, number(day, 1..=2)?);
    let days = days_from_civil(year.into(), month, day);
    // A date that does not exist comes back as another one.
    (1..=12).contains(&month).then(|| civil_from_days(days)).filter(|c| *c == (year.into(), month, day)).map(|_| days)
}

fn time_of_day(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 1..=2).filter(|h| *h < 24)?;
    let minutes = number(parts.next()?, 1..=2).filter(|m| *m < 60)?;
    let seconds = match parts.next() {
        Some(seconds) => number(seconds, 1..=2).filter(|s| *s < 60)?,
        None => 0,
    };
    if parts.next().is_some() || fraction.len() > 6 || (text.contains('.') && fraction.is_empty()) {
        return None;
    }
    let micros = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<6}"), 6..=6)? };
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
    Some(TimeUnit::Second.add(i64::from(micros), seconds))
}

/// Digits alone, as many as allowed.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let valid = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate, NaiveDateTime};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_in_their_columns_type() {
        let read = |text, t| value(text, &t).ok();
        assert_eq!(read("127", DataType::TinyInt), Some(Value::Int(127)));
        assert_eq!(read("128", DataType::TinyInt), None);
        assert_eq!(read("1.50", DataType::Decimal(4, 2)), Some(Value::Int(150)));
        assert_eq!(read("-.5", DataType::Decimal(4, 2)), Some(Value::Int(-50)));
        assert_eq!(read("1.505", DataType::Decimal(4, 2)), None);
        assert_eq!(read("100", DataType::Decimal(4, 2)), None);
        assert_eq!(read(".", DataType::Decimal(4, 2)), None);
        assert_eq!(read("", DataType::Decimal(4, 2)), None);
        assert_eq!(read("x", DataType::LargeInt), None);
        assert_eq!(read("2024-02-29", DataType::Date), Some(Value::Date(19_782)));
        assert_eq!(read("20240229", DataType::Date), Some(Value::Date(19_782)));
        assert_eq!(read("2024-2-29 00:00:00", DataType::Date), Some(Value::Date(19_782)));
        assert_eq!(read("2024-02-29 00:00:01", DataType::Date), None);
        assert_eq!(read("2023-02-29", DataType::Date), None);
        assert_eq!(read("2024-13-01", DataType::Date), None);
        assert_eq!(read("2024-02-29 24:00:00", DataType::DateTime), None);
        assert_eq!(read("abc", DataType::Varchar(3)), Some(Value::Text("abc".into())));
        assert_eq!(read("abcd", DataType::Varchar(3)), None);
        assert_eq!(read("1", DataType::Double), None);
    }

    #[test]
    fn defaults_are_checked_and_dates_kept_in_one_form() {
        assert_eq!(default("20240229", &DataType::Date).as_deref(), Ok("2024-02-29"));
        assert_eq!(default("1.5", &DataType::Double).as_deref(), Ok("1.5"));
        assert!(default("nan", &DataType::Double).is_err());
        assert!(default("{", &DataType::Json).is_err());
        assert!(default("[1]", &DataType::Array(Box::new(DataType::Int))).is_err());
        assert_eq!(default(" 7 ", &DataType::Int).as_deref(), Ok("7"));
    }

    proptest! {
        #[test]
        fn times_are_read_as_chrono_reads_them(days in -700_000i64..2_900_000, micros in 0..DAY_MICROS) {
            let time = chrono::DateTime::from_timestamp_micros(days * DAY_MICROS + micros).unwrap().naive_utc();
            prop_assume!((0..=9999).contains(&time.year()));
            let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            prop_assert_eq!(datetime(&text), Some(days * DAY_MICROS + micros));
            let written = Value::DateTime(days * DAY_MICROS + micros);
            prop_assert_eq!(datetime(&super::text(&written)), Some(days * DAY_MICROS + micros));
        }

        #[test]
        fn only_dates_that_exist_are_read(year in 1i32..9999, month in 0u32..15, day in 0u32..40) {
            let text = format!("{year:04}-{month:02}-{day:02}");
            let expected = NaiveDate::from_ymd_opt(year, month, day)
                .map(|d| NaiveDateTime::from(d).and_utc().timestamp_micros());
            prop_assert_eq!(datetime(&text), expected);
        }
    }
}
