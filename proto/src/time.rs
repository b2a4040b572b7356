//! Calendar arithmetic that partitions and functions share: truncating a time to a unit or to a slice of units.
//!
//! Times are microseconds since 1970-01-01 00:00:00 without a time zone, in the proleptic Gregorian calendar.

pub mod text;

use serde::{Deserialize, Serialize};

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// 0000-01-01, the first DATE, in days since 1970-01-01.
pub const FIRST_DAY: i32 = -719_528;
/// 9999-12-31, the last DATE.
pub const LAST_DAY: i32 = 2_932_896;
/// 0000-01-01 00:00:00, the first DATETIME.
pub const FIRST_MICROS: i64 = FIRST_DAY as i64 * DAY_MICROS;
/// 9999-12-31 23:59:59.999999, the last DATETIME.
pub const LAST_MICROS: i64 = (LAST_DAY as i64 + 1) * DAY_MICROS - 1;

/// Unit of `date_trunc` and `time_slice`. Weeks start on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum TimeUnit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl TimeUnit {
    /// The unit of this name, singular or plural, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().trim_end_matches('s') {
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// The singular name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// The unit's length, either in microseconds or in months.
    const fn length(self) -> Length {
        match self {
            Self::Second => Length::Micros(1_000_000),
            Self::Minute => Length::Micros(60_000_000),
            Self::Hour => Length::Micros(3_600_000_000),
            Self::Day => Length::Micros(DAY_MICROS),
            Self::Week => Length::Micros(7 * DAY_MICROS),
            Self::Month => Length::Months(1),
            Self::Quarter => Length::Months(3),
            Self::Year => Length::Months(12),
        }
    }

    /// `micros` and `n` units later. Adding months keeps the day where the month has it, else takes the month's last.
    pub fn add(self, micros: i64, n: i64) -> i64 {
        match self.length() {
            Length::Micros(unit) => micros.saturating_add(unit.saturating_mul(n)),
            Length::Months(unit) => {
                let (days, rest) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
                let (year, month, day) = civil_from_days(days);
                let months = year * 12 + i64::from(month) - 1 + unit * n;
                let (year, month) = (months.div_euclid(12), months.rem_euclid(12) as u32 + 1);
                let day = day.min(days_in_month(year, month));
                days_from_civil(year, month, day).saturating_mul(DAY_MICROS).saturating_add(rest)
            }
        }
    }
}

enum Length {
    Micros(i64),
    Months(i64),
}

/// The start of the unit that `micros` lies in.
pub fn date_trunc(unit: TimeUnit, micros: i64) -> i64 {
    match unit.length() {
        // 1970-01-05 was a Monday.
        Length::Micros(length) if unit == TimeUnit::Week => floor_from(4 * DAY_MICROS, length, micros),
        Length::Micros(length) => floor_from(0, length, micros),
        Length::Months(length) => month_floor(1970 * 12, length, micros),
    }
}

/// The start of the slice of `n` units that `micros` lies in. Slices are counted from 0001-01-01 00:00:00, which was a
/// Monday, as StarRocks' `time_slice` does.
pub fn time_slice(n: u32, unit: TimeUnit, micros: i64) -> i64 {
    let n = i64::from(n.max(1));
    match unit.length() {
        Length::Micros(length) => floor_from(days_from_civil(1, 1, 1) * DAY_MICROS, length * n, micros),
        Length::Months(length) => month_floor(12, length * n, micros),
    }
}

fn floor_from(origin: i64, length: i64, micros: i64) -> i64 {
    micros - (micros - origin).rem_euclid(length)
}

/// Floors to a multiple of `length` months counted from month `origin` (months since year 0).
fn month_floor(origin: i64, length: i64, micros: i64) -> i64 {
    let (year, month, _) = civil_from_days(micros.div_euclid(DAY_MICROS));
    let months = year * 12 + i64::from(month) - 1;
    let start = months - (months - origin).rem_euclid(length);
    days_from_civil(start.div_euclid(12), start.rem_euclid(12) as u32 + 1, 1) * DAY_MICROS
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let next = if month == 12 { days_from_civil(year + 1, 1, 1) } else { days_from_civil(year, month + 1, 1) };
    (next - days_from_civil(year, month, 1)) as u32
}

/// Year, month and day of a day count since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's
/// `civil_from_days`).
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = i64::from((month + 9) % 12);
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_and_the_last_day() {
        assert_eq!((days_from_civil(0, 1, 1), days_from_civil(9999, 12, 31)), (FIRST_DAY.into(), LAST_DAY.into()));
    }

    proptest! {
        #[test]
        fn civil_dates_are_chronos(days in -700_000i64..700_000) {
            let date = DateTime::UNIX_EPOCH.date_naive() + TimeDelta::days(days);
            prop_assert_eq!(civil_from_days(days), (i64::from(date.year()), date.month(), date.day()));
            prop_assert_eq!(days_from_civil(i64::from(date.year()), date.month(), date.day()), days);
        }

        #[test]
        fn a_slice_holds_its_time(n in 1u32..50, unit in 0usize..8, micros in -60_000_000_000_000_000i64..200_000_000_000_000_000) {
            use TimeUnit::*;
            let unit = [Second, Minute, Hour, Day, Week, Month, Quarter, Year][unit];
            for start in [date_trunc(unit, micros), time_slice(1, unit, micros)] {
                prop_assert!(start <= micros && micros < unit.add(start, 1));
                prop_assert_eq!(date_trunc(unit, start), start);
            }
            let start = time_slice(n, unit, micros);
            prop_assert!(start <= micros && micros < unit.add(start, i64::from(n)));
            prop_assert_eq!(time_slice(n, unit, unit.add(start, i64::from(n))), unit.add(start, i64::from(n)));
        }
    }

    #[test]
    fn weeks_start_on_monday() {
        let thursday = days_from_civil(2024, 2, 29) * DAY_MICROS + 5;
        assert_eq!(date_trunc(TimeUnit::Week, thursday), days_from_civil(2024, 2, 26) * DAY_MICROS);
    }
}
