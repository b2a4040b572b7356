use std::sync::Arc;

use arrow::array::{
    BooleanArray, Decimal128Array, Int32Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use proptest::prelude::*;

use super::*;
use crate::{Column, SchemaVersion, TableModel};

fn schema(types: &[DataType]) -> TableSchema {
    let columns: Vec<Column> = types
        .iter()
        .enumerate()
        .map(|(i, t)| Column {
            id: ColumnId(i as u32 + 1),
            name: format!("k{i}"),
            data_type: t.clone(),
            nullable: true,
            aggregation: None,
            initial: None,
        })
        .collect();
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        sort_key: columns.iter().map(|c| c.id).collect(),
        columns,
        indexes: Vec::new(),
    }
}

fn indexed(types: &[DataType]) -> Vec<u32> {
    ShortKey::of(&schema(types)).columns().map(ColumnId::get).collect()
}

#[test]
fn text_comes_last_and_floats_never() {
    use DataType::{BigInt, Boolean, Date, Double, Int, LargeInt, String};
    assert_eq!(indexed(&[Int, Date, BigInt, Int]), [1, 2, 3]);
    assert_eq!(indexed(&[Int, String, BigInt]), [1, 2]);
    assert_eq!(indexed(&[Int, Double, BigInt]), [1]);
    assert_eq!(indexed(&[Double]), [0u32; 0]);
    assert_eq!(indexed(&[LargeInt, LargeInt, Boolean]), [1, 2, 3]);
    assert_eq!(indexed(&[LargeInt, LargeInt, Int]), [1, 2]);
}

#[test]
fn frozen_bytes() {
    let key = ShortKey::of(&schema(&[DataType::Int, DataType::Boolean, DataType::Varchar(10)]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![-1])),
        Arc::new(BooleanArray::from(vec![None])),
        Arc::new(StringViewArray::from(vec!["ab"])),
    ];
    let expected = [
        &[1, 3][..],
        &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
        &[0, 4, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0],
        &[13, 1, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, b'a', b'b'],
    ]
    .concat();
    assert_eq!(encode_index(&key, &columns, 1, |row| row), expected);

    let key = ShortKey::of(&schema(&[DataType::Decimal(10, 2)]));
    let value: ArrayRef = Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(10, 2).unwrap());
    assert_eq!(key.encode_row(&[value], 0), [1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn times_are_ordered_by_their_microseconds() {
    let key = ShortKey::of(&schema(&[DataType::DateTime]));
    let micros = [crate::time::FIRST_MICROS, -1, 0, 1, crate::time::LAST_MICROS];
    let stored: ArrayRef = Arc::new(Int64Array::from(micros.to_vec()));
    let rows: Vec<Vec<u8>> = (0..micros.len()).map(|row| key.encode_row(std::slice::from_ref(&stored), row)).collect();
    assert!(rows.is_sorted_by(|a, b| a < b));
    for (row, micros) in micros.into_iter().enumerate() {
        let bound: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
        assert_eq!(key.encode_bound(&[bound]).unwrap(), rows[row]);
    }
}

#[test]
fn a_bound_that_does_not_fit_its_column_is_an_error() {
    let key = ShortKey::of(&schema(&[DataType::Int]));
    let too_big: ArrayRef = Arc::new(Int64Array::from(vec![3_000_000_000]));
    assert!(key.encode_bound(std::slice::from_ref(&too_big)).is_err());
    assert!(key.encode_bound(&[too_big.clone(), too_big]).is_err());
}

#[test]
fn damaged_bytes_are_an_error() {
    let key = ShortKey::of(&schema(&[DataType::Int]));
    let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..5000));
    let bytes = encode_index(&key, &[values], 5000, |row| row);
    assert_eq!(ShortKeyIndex::decode(&bytes).unwrap().rows(), 5000);
    for length in 0..bytes.len() {
        assert!(ShortKeyIndex::decode(&bytes[..length]).is_err());
    }
    let mut newer = bytes;
    newer[0] = 9;
    assert_eq!(ShortKeyIndex::decode(&newer), Err(Error::Version(9)));
}

proptest! {
    #[test]
    fn an_index_is_the_same_whatever_the_pieces(pieces in prop::collection::vec(0usize..3000, 0..8)) {
        for types in [&[DataType::Int][..], &[DataType::Json]] {
            let key = ShortKey::of(&schema(types));
            let rows = pieces.iter().sum();
            let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows as i32));
            let mut builder = IndexBuilder::new(&key);
            let mut first = 0;
            for piece in &pieces {
                builder.push(&[values.slice(first, *piece)], *piece);
                first += piece;
            }
            prop_assert_eq!(builder.rows(), rows as u64);
            prop_assert_eq!(builder.finish(), encode_index(&key, &[values], rows, |row| row));
        }
    }
}

type Row = (Option<i32>, Option<String>);

fn arrays(rows: &[Row]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|r| r.1.as_deref()))),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,3}", "[ab]{24,40}", ".{0,3}"]
}

fn any_row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.9, -3i32..6), prop::option::weighted(0.9, any_text()))
}

/// A bound on the first column or on both.
fn bound(key: &ShortKey, number: Option<i32>, text: Option<&String>) -> Option<Vec<u8>> {
    let mut values: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![i64::from(number?)]))];
    values.extend(text.map(|t| Arc::new(StringArray::from(vec![t.as_str()])) as ArrayRef));
    Some(key.encode_bound(&values).unwrap())
}

fn matches(row: &Row, number: Option<i32>, text: Option<&String>, keep: impl Fn(std::cmp::Ordering) -> bool) -> bool {
    let Some(number) = number else { return true };
    let Some(value) = row.0 else { return false };
    match (value.cmp(&number), text) {
        (std::cmp::Ordering::Equal, Some(text)) => {
            row.1.as_ref().is_some_and(|t| keep(t.as_bytes().cmp(text.as_bytes())))
        }
        (order, _) => keep(order),
    }
}

proptest! {
    #[test]
    fn no_matching_row_is_left_out(
        unsorted in prop::collection::vec(any_row(), 1..80),
        rows_per_entry in 1u32..9,
        lower in prop::option::of((-4i32..7, prop::option::of(any_text()))),
        upper in prop::option::of((-4i32..7, prop::option::of(any_text()))),
    ) {
        let mut order: Vec<usize> = (0..unsorted.len()).collect();
        order.sort_by(|a, b| unsorted[*a].cmp(&unsorted[*b]));
        let rows: Vec<Row> = order.iter().map(|i| unsorted[*i].clone()).collect();
        let key = ShortKey::of(&schema(&[DataType::Int, DataType::String]));
        let bytes = encode_index_every(rows_per_entry, &key, &arrays(&unsorted), rows.len(), |row| order[row]);
        let index = ShortKeyIndex::decode(&bytes).unwrap();
        prop_assert!(index.matches(&key));

        let (low, low_text) = lower.as_ref().map_or((None, None), |(n, t)| (Some(*n), t.as_ref()));
        let (high, high_text) = upper.as_ref().map_or((None, None), |(n, t)| (Some(*n), t.as_ref()));
        let range = index.row_range(
            bound(&key, low, low_text).as_deref(),
            bound(&key, high, high_text).as_deref(),
        );
        prop_assert!(range.start <= range.end && range.end <= rows.len() as u64);
        for (i, row) in rows.iter().enumerate() {
            if matches(row, low, low_text, std::cmp::Ordering::is_ge)
                && matches(row, high, high_text, std::cmp::Ordering::is_le)
            {
                prop_assert!(range.contains(&(i as u64)), "row {} {:?} is not in {:?}", i, row, range);
            }
        }
        // And the range is no wider than one entry on each side.
        let step = u64::from(rows_per_entry);
        if let (Some(_), false) = (low, range.is_empty()) {
            let second = (range.start + step) as usize;
            if second < rows.len() && second < range.end as usize {
                prop_assert!(rows[second].0 >= low);
            }
        }
    }
}
