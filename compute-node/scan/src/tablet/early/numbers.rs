//! Numbers of a chunk of a segment, as narrow as they are stored, and what is computed of them. Pure.

use vortex::buffer::Buffer;

/// Accumulators that take turns, so that one row does not wait for the sum of the row before it.
const LANES: usize = 4;

/// With more groups than this, neighbouring rows are rarely of one group.
const GROUPS_OF_LANES: usize = 1024;

/// Numbers of one column of a chunk.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    I8(Buffer<i8>),
    I16(Buffer<i16>),
    I32(Buffer<i32>),
    I64(Buffer<i64>),
    I128(Buffer<i128>),
}

/// Runs an expression with `$values` as the slice of numbers.
macro_rules! with_numbers {
    ($numbers:expr, $values:ident => $body:expr) => {
        match $numbers {
            Numbers::I8($values) => $body,
            Numbers::I16($values) => $body,
            Numbers::I32($values) => $body,
            Numbers::I64($values) => $body,
            Numbers::I128($values) => $body,
        }
    };
}

/// The groups of a chunk's rows.
pub(super) struct Groups {
    /// Each row's group; `None` if all rows are of one.
    pub codes: Option<Vec<u16>>,
    /// How many there may be.
    pub count: usize,
}

impl Numbers {
    /// Those at the rows `kept`, ascending.
    pub fn at(&self, kept: &[usize]) -> Self {
        fn of<T: Copy>(values: &Buffer<T>, kept: &[usize]) -> Buffer<T> {
            kept.iter().map(|row| values.as_slice()[*row]).collect()
        }
        match self {
            Self::I8(values) => Self::I8(of(values, kept)),
            Self::I16(values) => Self::I16(of(values, kept)),
            Self::I32(values) => Self::I32(of(values, kept)),
            Self::I64(values) => Self::I64(of(values, kept)),
            Self::I128(values) => Self::I128(of(values, kept)),
        }
    }

    /// The sum of each group. `wrapping`: modulo 2^64 is enough.
    pub fn sums(&self, groups: &Groups, wrapping: bool) -> Vec<i128> {
        match (self, &groups.codes) {
            (Self::I8(values), None) => vec![narrow_sum(values)],
            (Self::I16(values), None) => vec![narrow_sum(values)],
            (Self::I32(values), None) => vec![narrow_sum(values)],
            (Self::I64(values), None) if wrapping => {
                vec![values.iter().fold(0, |sum: i64, v| sum.wrapping_add(*v)).into()]
            }
            (Self::I64(values), None) => vec![wide_sum(values)],
            (Self::I128(values), None) => vec![values.iter().fold(0, |sum: i128, v| sum.wrapping_add(*v))],
            // As many as a chunk has of 32 bits do not overflow 64.
            (Self::I8(values), Some(codes)) => {
                grouped(values, codes, groups.count, |sum: &mut i64, v| *sum += i64::from(v))
            }
            (Self::I16(values), Some(codes)) => {
                grouped(values, codes, groups.count, |sum: &mut i64, v| *sum += i64::from(v))
            }
            (Self::I32(values), Some(codes)) => {
                grouped(values, codes, groups.count, |sum: &mut i64, v| *sum += i64::from(v))
            }
            (Self::I64(values), Some(codes)) if wrapping => {
                grouped(values, codes, groups.count, |sum: &mut i64, v| *sum = sum.wrapping_add(v))
            }
            (Self::I64(values), Some(codes)) => {
                grouped(values, codes, groups.count, |sum: &mut i128, v| *sum += i128::from(v))
            }
            (Self::I128(values), Some(codes)) => {
                grouped(values, codes, groups.count, |sum: &mut i128, v| *sum = sum.wrapping_add(v))
            }
        }
    }

    /// The least, or the greatest, of each group. Of no meaning for groups without rows.
    pub fn extremes(&self, groups: &Groups, greatest: bool) -> Vec<i128> {
        with_numbers!(self, values => extremes(values, groups, greatest))
    }
}

fn narrow_sum<T: Copy + Into<i64>>(values: &[T]) -> i128 {
    i128::from(values.iter().map(|v| (*v).into()).sum::<i64>())
}

/// The halves are summed apart, which no sum of a chunk overflows and processors do several at a time.
fn wide_sum(values: &[i64]) -> i128 {
    let (mut low, mut high) = (0u64, 0i64);
    for value in values {
        low += *value as u64 & 0xffff_ffff;
        high += *value >> 32;
    }
    (i128::from(high) << 32) + i128::from(low)
}

fn grouped<T: Copy, S: Copy + Default + Into<i128>>(
    values: &[T],
    codes: &[u16],
    groups: usize,
    add: impl Fn(&mut S, T),
) -> Vec<i128> {
    let lanes = if groups <= GROUPS_OF_LANES { LANES } else { 1 };
    let mut sums = vec![S::default(); groups * lanes];
    if lanes == LANES {
        let (first, rest) = sums.split_at_mut(groups);
        let (second, rest) = rest.split_at_mut(groups);
        let (third, fourth) = rest.split_at_mut(groups);
        let (rows, tail) = values.as_chunks::<LANES>();
        let (of_rows, of_tail) = codes.as_chunks::<LANES>();
        for (value, code) in rows.iter().zip(of_rows) {
            add(&mut first[usize::from(code[0])], value[0]);
            add(&mut second[usize::from(code[1])], value[1]);
            add(&mut third[usize::from(code[2])], value[2]);
            add(&mut fourth[usize::from(code[3])], value[3]);
        }
        for (value, code) in tail.iter().zip(of_tail) {
            add(&mut first[usize::from(*code)], *value);
        }
    } else {
        for (value, code) in values.iter().zip(codes) {
            add(&mut sums[usize::from(*code)], *value);
        }
    }
    let sum_of = |group| sums[group..].iter().step_by(groups).fold(0i128, |sum, lane| sum.wrapping_add((*lane).into()));
    (0..groups).map(sum_of).collect()
}

fn extremes<T: Copy + Ord + Into<i128>>(values: &[T], groups: &Groups, greatest: bool) -> Vec<i128> {
    let Some(first) = values.first().copied() else { return vec![0; groups.count] };
    match &groups.codes {
        None if greatest => vec![values.iter().copied().fold(first, T::max).into()],
        None => vec![values.iter().copied().fold(first, T::min).into()],
        Some(codes) => {
            let mut found: Vec<Option<T>> = vec![None; groups.count];
            for (value, code) in values.iter().zip(codes) {
                let extreme = &mut found[usize::from(*code)];
                *extreme = Some(match *extreme {
                    None => *value,
                    Some(before) if greatest => before.max(*value),
                    Some(before) => before.min(*value),
                });
            }
            found.into_iter().map(|extreme| extreme.map_or(0, Into::into)).collect()
        }
    }
}

impl Groups {
    /// How many rows each group has, of so many.
    pub fn rows(&self, rows: usize) -> Vec<u64> {
        match &self.codes {
            None => vec![rows as u64],
            Some(codes) => {
                let ones = vec![1i8; codes.len()];
                let counts = grouped(&ones, codes, self.count, |sum: &mut i32, v| *sum += i32::from(v));
                counts.into_iter().map(|count| count as u64).collect()
            }
        }
    }

    /// The groups of the rows `kept`.
    pub fn at(&self, kept: &[usize]) -> Self {
        let codes = self.codes.as_ref().map(|codes| kept.iter().map(|row| codes[*row]).collect());
        Self { codes, count: self.count }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = (Numbers, Vec<i128>)> {
        fn of<T: Copy + Into<i128>>(values: Vec<T>, wrap: impl Fn(Buffer<T>) -> Numbers) -> (Numbers, Vec<i128>) {
            let wide = values.iter().map(|v| (*v).into()).collect();
            (wrap(values.into_iter().collect()), wide)
        }
        prop_oneof![
            prop::collection::vec(any::<i8>(), 1..200).prop_map(|v| of(v, Numbers::I8)),
            prop::collection::vec(any::<i16>(), 1..200).prop_map(|v| of(v, Numbers::I16)),
            prop::collection::vec(any::<i32>(), 1..200).prop_map(|v| of(v, Numbers::I32)),
            prop::collection::vec(any::<i64>(), 1..200).prop_map(|v| of(v, Numbers::I64)),
            prop::collection::vec(-(1i128 << 100)..1i128 << 100, 1..200).prop_map(|v| of(v, Numbers::I128)),
        ]
    }

    proptest! {
        #[test]
        fn groups_have_the_sums_and_extremes_of_their_rows(
            (numbers, wide) in numbers(),
            count in prop_oneof![Just(1usize), 2usize..9, 1020usize..1100],
            seed in prop::collection::vec(any::<u16>(), 200),
            grouped in any::<bool>(),
        ) {
            let codes: Vec<u16> = wide.iter().zip(&seed).map(|(_, code)| code % count as u16).collect();
            let groups = match grouped {
                true => Groups { codes: Some(codes.clone()), count },
                false => Groups { codes: None, count: 1 },
            };
            let of = |group: usize| -> Vec<i128> {
                let mine = |code: u16| !grouped || usize::from(code) == group;
                wide.iter().zip(&codes).filter(|(_, code)| mine(**code)).map(|(v, _)| *v).collect()
            };
            let (exact, wrapped) = (numbers.sums(&groups, false), numbers.sums(&groups, true));
            let (least, greatest) = (numbers.extremes(&groups, false), numbers.extremes(&groups, true));
            let rows = groups.rows(wide.len());
            for group in 0..groups.count {
                let values = of(group);
                prop_assert_eq!(rows[group], values.len() as u64);
                prop_assert_eq!(exact[group], values.iter().sum::<i128>());
                prop_assert_eq!(wrapped[group] as i64, values.iter().sum::<i128>() as i64);
                if let Some(expected) = values.iter().min() {
                    prop_assert_eq!(least[group], *expected);
                    prop_assert_eq!(greatest[group], *values.iter().max().unwrap());
                }
            }
            let kept: Vec<usize> = (0..wide.len()).filter(|row| seed[*row] % 3 == 0).collect();
            let total: i128 = kept.iter().map(|row| wide[*row]).sum();
            prop_assert_eq!(numbers.at(&kept).sums(&groups.at(&kept), false).iter().sum::<i128>(), total);
        }
    }
}
