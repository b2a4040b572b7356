use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Int16Array, Int64Array, StringViewArray};
use proptest::prelude::*;

use super::*;
use crate::IndexKind;

/// A directory, the rows of each value, and those without one.
type Read = (bitmap::Directory, BTreeMap<Vec<u8>, Vec<u32>>, Vec<u32>);

/// What a bitmap index says of every value, read in its parts.
fn read_bitmap(file: &[u8]) -> Result<Read, Error> {
    let bytes = file.len() as u64;
    let mut tail = FIRST_READ_BYTES.min(bytes);
    let directory = loop {
        match bitmap::Directory::decode(&file[(bytes - tail) as usize..], bytes)? {
            Tail::Complete(directory) => break directory,
            Tail::Longer(needed) => tail = needed,
        }
    };
    let part = |place: &Place| &file[place.range().start as usize..place.range().end as usize];
    let mut values = BTreeMap::new();
    for number in 0..directory.blocks.len() {
        for entry in directory.decode_block(number, part(&directory.blocks[number].place))? {
            let rows = directory.decode_rows(&entry.place, entry.rows, part(&entry.place))?;
            assert_eq!(directory.block_of(&entry.value), Some(number));
            values.insert(entry.value, rows.iter().collect());
        }
    }
    let nulls = directory.decode_rows(&directory.nulls, directory.null_rows, part(&directory.nulls))?;
    Ok((directory, values, nulls.iter().collect()))
}

fn bitmap_of(class: Class, column: &ArrayRef, piece: usize) -> Result<Vec<u8>, bitmap::Unhelpful> {
    let mut builder = bitmap::Builder::new(class);
    for start in (0..column.len()).step_by(piece.max(1)) {
        builder.push(&column.slice(start, piece.min(column.len() - start))).unwrap();
    }
    builder.finish()
}

fn bloom_of(class: Class, column: &ArrayRef, piece: usize) -> Vec<u8> {
    let mut builder = bloom::Builder::new(class);
    for start in (0..column.len()).step_by(piece.max(1)) {
        builder.push(&column.slice(start, piece.min(column.len() - start))).unwrap();
    }
    builder.finish()
}

fn bloom_directory(file: &[u8]) -> Result<bloom::Directory, Error> {
    match bloom::Directory::decode(file, file.len() as u64)? {
        Tail::Complete(directory) => Ok(directory),
        Tail::Longer(_) => panic!("all of the file is there"),
    }
}

fn may_hold(file: &[u8], directory: &bloom::Directory, filter: bloom::Filter, value: &[u8]) -> Result<bool, Error> {
    let Some(probe) = directory.probe(filter, value::hash(value)) else { return Ok(false) };
    let page = directory.page(probe.page);
    let page = file.get(page.start as usize..page.end as usize).ok_or(Error::Damaged("a page is missing"))?;
    probe.may_hold(bloom::check_page(page)?)
}

#[test]
fn values_have_their_order_and_keep_their_bytes_when_a_column_is_widened() {
    let of = |class, array: ArrayRef| value::of_one(class, &array).unwrap();
    let narrow = of(Class::Integer, Arc::new(Int16Array::from(vec![-3])));
    let wide = of(Class::Integer, Arc::new(Int64Array::from(vec![-3])));
    assert_eq!(narrow, wide);
    assert_eq!(narrow, [0x7f, 255, 255, 255, 255, 255, 255, 253], "frozen");
    assert!(wide < of(Class::Integer, Arc::new(Int64Array::from(vec![2]))));
    let decimal =
        |v: i128| Arc::new(Decimal128Array::from(vec![v]).with_precision_and_scale(10, 2).unwrap()) as ArrayRef;
    assert!(of(Class::Wide(2), decimal(-1)) < of(Class::Wide(2), decimal(0)));
    assert_eq!(value::of_one(Class::Wide(3), &decimal(1)), None, "another scale is another class");
    assert_eq!(of(Class::Boolean, Arc::new(BooleanArray::from(vec![true]))), [1]);
    assert_eq!(value::hash(b"tarn"), xxhash_rust::xxh3::xxh3_64(b"tarn"));
    let nothing: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    assert_eq!(value::of_one(Class::Integer, &nothing), None);
}

#[test]
fn a_bitmap_index_of_few_rows_has_frozen_bytes() {
    let column: ArrayRef = Arc::new(StringViewArray::from(vec![Some("b"), None, Some("a"), Some("b")]));
    let file = bitmap_of(Class::Text, &column, 3).unwrap();
    let (directory, values, nulls) = read_bitmap(&file).unwrap();
    assert_eq!((directory.rows, directory.values, directory.null_rows), (4, 2, 1));
    assert_eq!(values, BTreeMap::from([(b"a".to_vec(), vec![2]), (b"b".to_vec(), vec![0, 3])]));
    assert_eq!(nulls, [1]);
    assert_eq!(&file[file.len() - 6..], b"\x01\x01TRNX");
    assert_eq!((file.len(), crc32c::crc32c(&file)), (FROZEN_BITMAP.0, FROZEN_BITMAP.1));
}

/// Length and CRC32C: a change of either is another format, which needs another version.
const FROZEN_BITMAP: (usize, u32) = (183, 322_681_334);
const FROZEN_BLOOM: (usize, u32) = (108, 3_838_797_427);

#[test]
fn a_bloom_index_of_few_rows_has_frozen_bytes() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(7)]));
    let file = bloom_of(Class::Integer, &column, 2);
    let directory = bloom_directory(&file).unwrap();
    assert_eq!((directory.rows, directory.groups().count()), (3, 1));
    assert_eq!((file.len(), crc32c::crc32c(&file)), (FROZEN_BLOOM.0, FROZEN_BLOOM.1));
}

#[test]
fn columns_of_many_or_long_values_get_no_bitmap_index() {
    let unique: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5000));
    assert_eq!(bitmap_of(Class::Integer, &unique, 1000), Err(bitmap::Unhelpful::ManyValues));
    let shared: ArrayRef = Arc::new(Int64Array::from_iter_values((0..10_000).map(|i| i % 5000)));
    assert!(bitmap_of(Class::Integer, &shared, 1000).is_ok());
    let long: ArrayRef = Arc::new(StringViewArray::from(vec!["x".repeat(1025)]));
    assert_eq!(bitmap_of(Class::Text, &long, 1), Err(bitmap::Unhelpful::LongValues));
}

#[test]
fn filters_answer_falsely_within_their_bound() {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20_000).map(|i| i * 3)));
    let file = bloom_of(Class::Integer, &column, 4096);
    let directory = bloom_directory(&file).unwrap();
    let (filter, blocks) = directory.groups().next().unwrap();
    assert_eq!(blocks, 0..3);
    for filter in [filter, directory.block(0), directory.block(1)] {
        let tries = 50_000;
        let wrong = (0..tries).filter(|i| {
            let absent: ArrayRef = Arc::new(Int64Array::from(vec![i * 3 + 1]));
            may_hold(&file, &directory, filter, &value::of_one(Class::Integer, &absent).unwrap()).unwrap()
        });
        let share = wrong.count() as f64 / tries as f64;
        assert!(share < bloom::FALSE_POSITIVES, "{share}");
    }
}

fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
    prop::collection::vec(prop::option::weighted(0.8, "[a-e]{0,4}"), 0..400)
}

proptest! {
    #[test]
    fn a_bitmap_index_tells_the_rows_of_every_value(texts in texts(), piece in 1usize..200) {
        let column: ArrayRef = Arc::new(StringViewArray::from(texts.clone()));
        let (directory, values, nulls) = read_bitmap(&bitmap_of(Class::Text, &column, piece).unwrap()).unwrap();
        let mut expected: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
        let mut without = Vec::new();
        for (row, text) in (0..).zip(&texts) {
            match text {
                Some(text) => expected.entry(text.clone().into_bytes()).or_default().push(row),
                None => without.push(row),
            }
        }
        prop_assert_eq!(directory.values as usize, expected.len());
        prop_assert_eq!(values, expected);
        prop_assert_eq!(nulls, without);
    }

    #[test]
    fn no_filter_denies_a_value_that_is_there(values in prop::collection::vec(prop::option::of(0i64..5000), 0..30_000)) {
        let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        let file = bloom_of(Class::Integer, &column, 7000);
        let directory = bloom_directory(&file).unwrap();
        for (row, value) in values.iter().enumerate().step_by(97) {
            let Some(value) = value else { continue };
            let one: ArrayRef = Arc::new(Int64Array::from(vec![*value]));
            let bytes = value::of_one(Class::Integer, &one).unwrap();
            let block = row / bloom::BLOCK_ROWS as usize;
            prop_assert!(directory.rows_of(block).contains(&(row as u64)));
            prop_assert!(may_hold(&file, &directory, directory.block(block), &bytes).unwrap());
            for (filter, blocks) in directory.groups() {
                if blocks.contains(&block) {
                    prop_assert!(may_hold(&file, &directory, filter, &bytes).unwrap());
                }
            }
        }
    }

    #[test]
    fn damaged_bitmap_files_are_refused_and_never_misread(texts in texts(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let column: ArrayRef = Arc::new(StringViewArray::from(texts));
        let file = bitmap_of(Class::Text, &column, 100).unwrap();
        let mut flipped = file.clone();
        let at = at.index(file.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(read_bitmap(&flipped).is_err(), "byte {}", at);
        prop_assert!(bitmap::Directory::decode(&file[..at], at as u64).is_err());
    }

    #[test]
    fn any_bytes_are_an_index_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..300), sealed in any::<bool>()) {
        for kind in IndexKind::ALL {
            if sealed {
                // Past the checksum of the directory.
                let (parts, directory) = bytes.split_at(bytes.len() / 2);
                bytes = envelope::seal(parts.to_vec(), kind, directory);
            }
            let _ = read_bitmap(&bytes);
            if let Ok(Tail::Complete(directory)) = bloom::Directory::decode(&bytes, bytes.len() as u64) {
                for (filter, _) in directory.groups() {
                    let _ = may_hold(&bytes, &directory, filter, b"x");
                }
            }
        }
    }
}
