//! Calendar arithmetic on microseconds since 1970-01-01 00:00:00, as `date_trunc`, `time_slice` and partitions by
//! expression use it. Weeks start on Monday; slices are counted from 0001-01-01.

pub use tarn_proto::time::{TimeUnit, date_trunc, time_slice};

/// The start of the unit that `micros` lies in.
pub fn date_trunc_micros(unit: TimeUnit, micros: i64) -> i64 {
    date_trunc(unit, micros)
}

/// The start of the slice of `n` units that `micros` lies in.
pub fn time_slice_micros(n: u32, unit: TimeUnit, micros: i64) -> i64 {
    time_slice(n, unit, micros)
}

/// The end (exclusive) of the slice of `n` units that starts at `start`: the start of the next one.
pub fn unit_end(n: u32, unit: TimeUnit, start: i64) -> i64 {
    unit.add(start, i64::from(n.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit() -> impl Strategy<Value = TimeUnit> {
        use TimeUnit::*;
        prop::sample::select(vec![Second, Minute, Hour, Day, Week, Month, Quarter, Year])
    }

    proptest! {
        #[test]
        fn slices_follow_each_other_without_a_gap(n in 1u32..40, unit in unit(), micros in -50_000_000_000_000_000i64..200_000_000_000_000_000) {
            let start = time_slice_micros(n, unit, micros);
            let end = unit_end(n, unit, start);
            prop_assert!(start <= micros && micros < end);
            prop_assert_eq!(time_slice_micros(n, unit, end), end);
            prop_assert_eq!(time_slice_micros(n, unit, end - 1), start);
        }

        #[test]
        fn a_slice_of_one_unit_is_the_unit(unit in unit(), micros in -50_000_000_000_000_000i64..200_000_000_000_000_000) {
            prop_assert_eq!(time_slice_micros(1, unit, micros), date_trunc_micros(unit, micros));
        }
    }
}
