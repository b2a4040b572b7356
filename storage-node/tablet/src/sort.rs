//! The order of a segment's rows.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// Bytes of an encoded key that are compared as one number.
const PREFIX_BYTES: usize = 16;

/// The rows of `keys` (columns, most significant first) in ascending order, NULL first, equal rows in order of arrival.
/// `None` if they are in order already.
///
/// Keys are encoded into rows that compare bytewise; their first 16 bytes, which decide nearly all comparisons, are
/// sorted next to the row's number. The stable sort finds runs, so batches that were sorted by themselves merge cheaply.
pub(crate) fn sort_order(keys: &[ArrayRef]) -> Result<Option<Vec<u32>>, ArrowError> {
    let Some(first) = keys.first() else { return Ok(None) };
    let converter = RowConverter::new(keys.iter().map(|k| SortField::new(k.data_type().clone())).collect())?;
    let rows = converter.convert_columns(keys)?;
    if (1..first.len()).all(|i| rows.row(i - 1) <= rows.row(i)) {
        return Ok(None);
    }
    let mut keyed: Vec<(u128, u32)> = rows
        .iter()
        .zip(0..)
        .map(|(row, number)| {
            let data = row.data();
            let mut prefix = [0; PREFIX_BYTES];
            let length = data.len().min(PREFIX_BYTES);
            prefix[..length].copy_from_slice(&data[..length]);
            (u128::from_be_bytes(prefix), number)
        })
        .collect();
    keyed.sort_by(|(a, i), (b, j)| a.cmp(b).then_with(|| rows.row(*i as usize).cmp(&rows.row(*j as usize))));
    Ok(Some(keyed.into_iter().map(|(_, number)| number).collect()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_values_and_stable(
            rows in prop::collection::vec(
                (prop::option::of(-2i64..3), prop::option::of("[ab]{0,20}"), prop::option::of(0i32..3)),
                1..60,
            ),
        ) {
            let keys: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.0))),
                Arc::new(StringViewArray::from_iter(rows.iter().map(|r| r.1.as_deref()))),
                Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.2))),
            ];
            let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
            expected.sort_by_key(|i| &rows[*i as usize]);
            let sorted = expected.iter().copied().eq(0..rows.len() as u32);
            let order = sort_order(&keys).unwrap();
            prop_assert_eq!(order.is_none(), sorted);
            prop_assert_eq!(order.unwrap_or_else(|| expected.clone()), expected);
        }
    }
}
