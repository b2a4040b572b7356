//! `START .. END .. EVERY`: the steps from start to end, and the names of their partitions. Pure.

use tarn_proto::time::{DAY_MICROS, TimeUnit, civil_from_days, date_trunc, days_from_civil};
use tarn_sql::IntervalUnit;

/// Most partitions that one statement makes (StarRocks' `max_partitions_in_one_batch`).
pub const MAX_PARTITIONS: usize = 4096;

/// A partition: its name, lower bound and upper bound.
pub type Step<T> = (String, T, T);

/// The calendar's unit of an interval's.
pub const fn time_unit(unit: IntervalUnit) -> TimeUnit {
    match unit {
        IntervalUnit::Second => TimeUnit::Second,
        IntervalUnit::Minute => TimeUnit::Minute,
        IntervalUnit::Hour => TimeUnit::Hour,
        IntervalUnit::Day => TimeUnit::Day,
        IntervalUnit::Week => TimeUnit::Week,
        IntervalUnit::Month => TimeUnit::Month,
        IntervalUnit::Quarter => TimeUnit::Quarter,
        IntervalUnit::Year => TimeUnit::Year,
    }
}

/// Steps of `n` units of time from `start` to `end`, in microseconds. As in StarRocks, steps of weeks, months, quarters and
/// years begin with their unit, so that the first is shorter when `start` does not; the last ends with `end`. `None` when
/// there are too many.
pub fn times(start: i64, end: i64, n: u32, unit: TimeUnit) -> Option<Vec<Step<i64>>> {
    let aligned = matches!(unit, TimeUnit::Week | TimeUnit::Month | TimeUnit::Quarter | TimeUnit::Year);
    steps(
        start,
        end,
        |lower| unit.add(if aligned { date_trunc(unit, lower) } else { lower }, i64::from(n)),
        |lower| name(lower, unit),
    )
}

/// Steps of `n` from `start` to `end`. `None` when there are too many.
pub fn integers(start: i128, end: i128, n: u32) -> Option<Vec<Step<i128>>> {
    steps(start, end, |lower| lower.saturating_add(n.into()), |lower| format!("p{lower}"))
}

fn steps<T: Copy + Ord>(start: T, end: T, next: impl Fn(T) -> T, name: impl Fn(T) -> String) -> Option<Vec<Step<T>>> {
    let mut steps = Vec::new();
    let mut lower = start;
    while lower < end {
        if steps.len() == MAX_PARTITIONS {
            return None;
        }
        let upper = next(lower).min(end);
        steps.push((name(lower), lower, upper));
        lower = upper;
    }
    Some(steps)
}

/// StarRocks' name for the partition that begins at `lower`.
fn name(lower: i64, unit: TimeUnit) -> String {
    let (days, rest) = (lower.div_euclid(DAY_MICROS), lower.rem_euclid(DAY_MICROS) / 1_000_000);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    match unit {
        TimeUnit::Year => format!("p{year:04}"),
        TimeUnit::Quarter | TimeUnit::Month => format!("p{year:04}{month:02}"),
        TimeUnit::Week => {
            // Weeks from Monday; the first is the one with January 1st in it. 1970-01-01 was a Thursday.
            let first = days_from_civil(year, 1, 1);
            let week = (days - first + (first + 3).rem_euclid(7)) / 7 + 1;
            format!("p{year:04}_{week:02}")
        }
        TimeUnit::Day => format!("p{year:04}{month:02}{day:02}"),
        TimeUnit::Hour => format!("p{year:04}{month:02}{day:02}{hour:02}"),
        TimeUnit::Minute => format!("p{year:04}{month:02}{day:02}{hour:02}{minute:02}"),
        TimeUnit::Second => format!("p{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike};
    use proptest::prelude::*;

    use super::*;

    fn micros(text: &str) -> i64 {
        super::super::literal::datetime(text).unwrap()
    }

    fn names(start: &str, end: &str, n: u32, unit: TimeUnit) -> Vec<String> {
        times(micros(start), micros(end), n, unit).unwrap().into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn names_are_those_of_starrocks() {
        assert_eq!(names("2022-10-11", "2022-10-13", 1, TimeUnit::Day), ["p20221011", "p20221012"]);
        assert_eq!(names("2024-01-01", "2024-01-01 02:00:00", 1, TimeUnit::Hour), ["p2024010100", "p2024010101"]);
        assert_eq!(names("2021-11-15", "2022-02-01", 1, TimeUnit::Month), ["p202111", "p202112", "p202201"]);
        assert_eq!(names("2020-01-01", "2024-01-01", 2, TimeUnit::Year), ["p2020", "p2022"]);
        assert_eq!(names("2020-12-28", "2021-01-12", 1, TimeUnit::Week), ["p2020_53", "p2021_02", "p2021_03"]);
        assert_eq!(integers(-1, 5, 4).unwrap(), [("p-1".to_owned(), -1, 3), ("p3".to_owned(), 3, 5)]);
    }

    #[test]
    fn too_many_steps_and_no_step_are_told_apart() {
        assert_eq!(integers(0, 4096, 1).map(|s| s.len()), Some(4096));
        assert_eq!(integers(0, 4097, 1), None);
        assert_eq!(integers(4, 4, 1), Some(Vec::new()));
        assert_eq!(times(i64::MIN, i64::MAX, 1, TimeUnit::Second), None);
    }

    /// Walks the calendar second by second (or hour by hour for the longer units) and asks where a step begins.
    fn brute_force(
        start: NaiveDateTime,
        end: NaiveDateTime,
        n: u32,
        unit: TimeUnit,
    ) -> Vec<(NaiveDateTime, NaiveDateTime)> {
        // Units since the unit that `start` lies in (or since `start`, for days and hours), by the calendar's fields.
        let number = |t: NaiveDateTime| -> i64 {
            match unit {
                TimeUnit::Year => i64::from(t.year()),
                TimeUnit::Quarter => i64::from(t.year()) * 4 + i64::from(t.month0() / 3),
                TimeUnit::Month => i64::from(t.year()) * 12 + i64::from(t.month0()),
                TimeUnit::Week => (i64::from(t.num_days_from_ce()) - 1).div_euclid(7),
                TimeUnit::Day => (t - start).num_days(),
                TimeUnit::Hour | TimeUnit::Minute | TimeUnit::Second => (t - start).num_hours(),
            }
        };
        let first = number(start);
        let mut starts = vec![start];
        let mut t = start;
        // Steps begin at `start` or at whole hours after it, as `start` is on the hour.
        while t < end {
            let step = (number(t) - first) / i64::from(n);
            let last = (number(*starts.last().unwrap()) - first) / i64::from(n);
            if step != last {
                starts.push(t);
            }
            t += TimeDelta::hours(1);
        }
        let ends = starts.iter().skip(1).copied().chain([end]).collect::<Vec<_>>();
        starts.into_iter().zip(ends).collect()
    }

    proptest! {
        #[test]
        fn steps_are_those_of_a_walk_through_the_calendar(
            start in -20_000i64..40_000,
            hour in 0u32..24,
            length in 1i64..900,
            n in 1u32..8,
            unit in prop::sample::select(vec![
                TimeUnit::Hour, TimeUnit::Day, TimeUnit::Week, TimeUnit::Month, TimeUnit::Quarter, TimeUnit::Year,
            ]),
        ) {
            let length = if unit == TimeUnit::Hour { length } else { length * 24 };
            let start = DateTime::from_timestamp_micros(start * DAY_MICROS).unwrap().naive_utc().with_hour(hour).unwrap();
            let end = start + TimeDelta::hours(length);
            let micros = |t: NaiveDateTime| t.and_utc().timestamp_micros();
            let steps = times(micros(start), micros(end), n, unit).unwrap();
            let expected: Vec<(i64, i64)> =
                brute_force(start, end, n, unit).into_iter().map(|(a, b)| (micros(a), micros(b))).collect();
            let found: Vec<(i64, i64)> = steps.iter().map(|(_, a, b)| (*a, *b)).collect();
            prop_assert_eq!(found, expected);
            let names: BTreeSet<&str> = steps.iter().map(|(name, ..)| name.as_str()).collect();
            prop_assert_eq!(names.len(), steps.len(), "names are unique");
        }
    }
}
