//! What the values of a group of rows become, by aggregation.
//!
//! All of these give the same whether a group is combined at once or in parts, so that compaction changes no answer.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, UInt32Array, make_comparator,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::error::ArrowError;

use crate::Aggregation;

/// A column's values, one for each group.
pub(super) type Fold = fn(&ArrayRef, &Groups) -> Result<ArrayRef, ArrowError>;

/// The table of aggregations.
pub(super) fn fold_of(aggregation: Aggregation) -> Fold {
    match aggregation {
        Aggregation::Sum => sum,
        Aggregation::Min => |values, groups| extreme(values, groups, Ordering::Less),
        Aggregation::Max => |values, groups| extreme(values, groups, Ordering::Greater),
        Aggregation::Replace => |values, groups| take(values, groups.last(), None),
        Aggregation::ReplaceIfNotNull => last_of_some,
    }
}

/// Rows of equal keys that follow each other. Most groups are one row, and no fold looks at those one by one.
pub(super) struct Groups {
    first: UInt32Array,
    last: UInt32Array,
    /// The groups of several rows: their numbers and their rows.
    several: Vec<(usize, Range<usize>)>,
}

impl Groups {
    pub fn new(ranges: Vec<Range<usize>>) -> Self {
        Self {
            first: ranges.iter().map(|rows| rows.start as u32).collect::<Vec<_>>().into(),
            last: ranges.iter().map(|rows| rows.end as u32 - 1).collect::<Vec<_>>().into(),
            several: ranges.into_iter().enumerate().filter(|(_, rows)| rows.len() > 1).collect(),
        }
    }

    /// The last row of each.
    pub const fn last(&self) -> &UInt32Array {
        &self.last
    }
}

/// The least or the greatest that is not NULL.
fn extreme(values: &ArrayRef, groups: &Groups, wanted: Ordering) -> Result<ArrayRef, ArrowError> {
    let compare = make_comparator(values, values, SortOptions::default())?;
    let mut rows = groups.first.values().to_vec();
    for (group, range) in &groups.several {
        let some = range.clone().filter(|row| values.is_valid(*row));
        let best = some.reduce(|best, row| if compare(row, best) == wanted { row } else { best });
        rows[*group] = best.unwrap_or(range.start) as u32;
    }
    take(values, &UInt32Array::from(rows), None)
}

/// The last that is not NULL.
fn last_of_some(values: &ArrayRef, groups: &Groups) -> Result<ArrayRef, ArrowError> {
    if values.null_count() == 0 {
        return take(values, groups.last(), None);
    }
    let mut rows = groups.last.values().to_vec();
    for (group, range) in &groups.several {
        if let Some(row) = range.clone().rev().find(|row| values.is_valid(*row)) {
            rows[*group] = row as u32;
        }
    }
    take(values, &UInt32Array::from(rows), None)
}

/// The sum of what is not NULL, in the column's own type: integers wrap around, and decimals do at their precision.
fn sum(values: &ArrayRef, groups: &Groups) -> Result<ArrayRef, ArrowError> {
    match values.data_type() {
        DataType::Int8 => sum_with::<Int8Type>(values, groups, ArrowNativeTypeOp::add_wrapping),
        DataType::Int16 => sum_with::<Int16Type>(values, groups, ArrowNativeTypeOp::add_wrapping),
        DataType::Int32 => sum_with::<Int32Type>(values, groups, ArrowNativeTypeOp::add_wrapping),
        DataType::Int64 => sum_with::<Int64Type>(values, groups, ArrowNativeTypeOp::add_wrapping),
        DataType::Float32 => sum_with::<Float32Type>(values, groups, ArrowNativeTypeOp::add_wrapping),
        DataType::Float64 => sum_with::<Float64Type>(values, groups, ArrowNativeTypeOp::add_wrapping),
        DataType::Decimal128(precision, _) => {
            let greatest = 10i128.pow(u32::from(*precision)) - 1;
            sum_with::<Decimal128Type>(values, groups, |a, b| add_decimals(a, b, greatest))
        }
        other => Err(ArrowError::InvalidArgumentError(format!("there is no sum of {other}"))),
    }
}

/// The sum modulo the count of numbers from `-greatest` to `greatest`, as one of them. Both are.
const fn add_decimals(a: i128, b: i128, greatest: i128) -> i128 {
    match (a.checked_add(b), a > 0) {
        (Some(sum), _) if sum >= -greatest && sum <= greatest => sum,
        (_, true) => (a - greatest) + (b - greatest) - 1,
        (_, false) => (a + greatest) + (b + greatest) + 1,
    }
}

fn sum_with<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    groups: &Groups,
    add: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef, ArrowError> {
    let firsts = take(values, &groups.first, None)?;
    let mut sums = firsts.as_primitive::<T>().values().to_vec();
    let mut valid: Option<Vec<bool>> = firsts.nulls().map(|nulls| nulls.iter().collect());
    let values = values.as_primitive::<T>();
    for (group, range) in &groups.several {
        let some = range.clone().filter(|row| values.is_valid(*row)).map(|row| values.value(row));
        match (some.reduce(&add), &mut valid) {
            (Some(sum), valid) => {
                sums[*group] = sum;
                if let Some(valid) = valid {
                    valid[*group] = true;
                }
            }
            (None, Some(valid)) => valid[*group] = false,
            // There is a NULL, but none among the first rows of the groups: a group's first row is one of it.
            (None, None) => {}
        }
    }
    let sums = PrimitiveArray::<T>::new(sums.into(), valid.map(NullBuffer::from));
    Ok(Arc::new(sums.with_data_type(values.data_type().clone())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decimal_sums_wrap_at_their_precision(a in any::<i128>(), b in any::<i128>(), precision in 1u32..=38) {
            let greatest = 10i128.pow(precision) - 1;
            let (a, b) = (a % (greatest + 1), b % (greatest + 1));
            let sum = add_decimals(a, b, greatest);
            prop_assert!((-greatest..=greatest).contains(&sum));
            // Modulo the count of numbers, which does not fit for 38 digits.
            if precision < 38 {
                prop_assert_eq!((a + b - sum) % (2 * greatest + 1), 0);
            }
            prop_assert_eq!(add_decimals(b, a, greatest), sum);
            prop_assert_eq!(add_decimals(add_decimals(a, b, greatest), -b, greatest), a);
        }
    }
}
