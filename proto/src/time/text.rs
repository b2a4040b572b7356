//! Dates and times as text: read in all of MySQL's spellings, written in one.

use std::fmt::{self, Write};

use arrow::temporal_conversions::SECONDS_IN_DAY;
use chrono::{NaiveDate, Utc};

use super::{DAY_MICROS, FIRST_MICROS, LAST_MICROS, civil_from_days, days_from_civil};

/// The time that a text says, in microseconds since 1970-01-01, or `None` if it says none. Parts may have one digit,
/// those of the time of day may be left out from the right, and the whole may be digits alone.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let text = text.trim();
    let parsed = if text.bytes().take_while(u8::is_ascii_digit).count() >= 6 { compact(text) } else { parted(text) };
    parsed.or_else(|| zoned(text)).filter(|micros| (FIRST_MICROS..=LAST_MICROS).contains(micros))
}

/// The time that a number's digits say: `20240131`, `20240131103000`.
pub fn datetime_of_digits(number: i64) -> Option<i64> {
    let text = number.to_string();
    if matches!(text.len(), 6 | 8 | 12 | 14) { compact(&text) } else { None }
}

/// Writes `2024-01-01 10:00:00`, and six digits of a second's fraction if there is one.
pub fn write_datetime(out: &mut impl Write, micros: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY_MICROS));
    let rest = micros.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
    if fraction != 0 {
        write!(out, ".{fraction:06}")?;
    }
    Ok(())
}

/// Microseconds of a date and a time of day, unless one of them does not exist.
pub fn micros_of(date: [i64; 3], time: [i64; 3], fraction: i64) -> Option<i64> {
    let [year, month, day] = date;
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let [hour, minute, second] = time;
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * SECONDS_IN_DAY + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + fraction)
}

/// A year of two digits.
pub const fn full_year(year: i64) -> i64 {
    if year < 70 { 2000 + year } else { 1900 + year }
}

/// The fraction of a second that digits after a point say, in microseconds. Digits after the sixth do not count.
pub fn fraction_of(digits: &str) -> i64 {
    digits.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

/// `20240131`, `20240131103000`, `20240131103000.5`, and the same with a year of two digits.
fn compact(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (text.len() > whole.len() && whole.len() < 12) {
        return None;
    }
    let years = match whole.len() {
        6 | 12 => 2,
        8 | 14 => 4,
        _ => return None,
    };
    let (year, rest) = whole.split_at(years);
    let year: i64 = year.parse().ok()?;
    let year = if years == 2 { full_year(year) } else { year };
    let part = |index: usize| rest.get(2 * index..2 * index + 2).map_or(Some(0), |digits| digits.parse().ok());
    micros_of([year, part(0)?, part(1)?], [part(2)?, part(3)?, part(4)?], fraction_of(fraction))
}

/// `2024-1-31`, `2024-01-31 10`, `2024-01-31T10:30:00.25`, ..
fn parted(text: &str) -> Option<i64> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim_start())),
        None => (text, None),
    };
    let mut parts = date.split(['-', '/']);
    let mut next = |digits: usize| number(parts.next()?, digits);
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() {
        return None;
    }
    let short = date.find(['-', '/']).is_some_and(|digits| digits <= 2);
    let date = [if short { full_year(year) } else { year }, month, day];
    let Some(time) = time else { return micros_of(date, [0; 3], 0) };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut of_day = [0; 3];
    for (index, part) in time.split(':').enumerate() {
        *of_day.get_mut(index)? = number(part, 2)?;
    }
    micros_of(date, of_day, fraction_of(fraction))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = !text.is_empty() && text.len() <= digits && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// A time with an offset from UTC, in UTC.
fn zoned(text: &str) -> Option<i64> {
    let time = arrow::compute::kernels::cast_utils::string_to_datetime(&Utc, text).ok()?;
    Some(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let mut out = String::new();
        write_datetime(&mut out, parse_datetime(text)?).unwrap();
        Some(out)
    }

    #[test]
    fn every_spelling_of_a_time_is_read() {
        for (text, expected) in [
            ("2024-1-1", "2024-01-01 00:00:00"),
            ("2024/1/31", "2024-01-31 00:00:00"),
            ("24-01-01", "2024-01-01 00:00:00"),
            ("71-01-01", "1971-01-01 00:00:00"),
            (" 2024-01-01 ", "2024-01-01 00:00:00"),
            ("2024-01-01 10", "2024-01-01 10:00:00"),
            ("2024-01-01 00:00", "2024-01-01 00:00:00"),
            ("2024-01-01 1:2:3", "2024-01-01 01:02:03"),
            ("2024-01-01T10:30", "2024-01-01 10:30:00"),
            ("2024-01-01 10:30:00.25", "2024-01-01 10:30:00.250000"),
            ("2024-01-01 10:30:00.123456789", "2024-01-01 10:30:00.123456"),
            ("2024-01-01T10:30:00Z", "2024-01-01 10:30:00"),
            ("2024-01-01T10:30:00+02:00", "2024-01-01 08:30:00"),
            ("20240101", "2024-01-01 00:00:00"),
            ("20240101103000", "2024-01-01 10:30:00"),
            ("20240101103000.5", "2024-01-01 10:30:00.500000"),
            ("240101", "2024-01-01 00:00:00"),
            ("0000-01-01", "0000-01-01 00:00:00"),
            ("0099-12-31", "0099-12-31 00:00:00"),
            ("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "soon",
            "2024",
            "2024-01",
            "2024-13-01",
            "2024-02-30",
            "2024-01-01 24:00:00",
            "2024-01-01 10:60",
            "2024-01-01 1:2:3:4",
            "2024-01-01x",
            "2024-01-01-01",
            "20240230",
            "2024010110",
            "20240101.5",
            "10000-01-01",
            "-1-01-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(datetime_of_digits(20_240_101), parse_datetime("2024-01-01"));
        assert_eq!(datetime_of_digits(20_240_101_103_000), parse_datetime("2024-01-01 10:30:00"));
        assert_eq!(datetime_of_digits(0), None);
        assert_eq!(datetime_of_digits(-240_101), None);
    }
}
