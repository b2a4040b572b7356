//! How values are written, and that they come back.

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int16Array, Int32Array, Int64Array, StringViewArray};
use arrow::compute::concat;
use arrow::datatypes::{Field, Int16Type, Int32Type, Int64Type, Schema};
use proptest::prelude::*;
use vortex::file::OpenOptionsSessionExt;

use super::*;
use crate::inspect::{SegmentLayout, read_file};

const ROWS: usize = 150_000;

fn schema(column: &ArrayRef) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("c1", column.data_type().clone(), column.null_count() > 0)]))
}

fn written(column: &ArrayRef) -> Vec<u8> {
    let schema = schema(column);
    let pieces: Vec<_> = (0..column.len())
        .step_by(65_536)
        .map(|start| column.slice(start, 65_536.min(column.len() - start)))
        .map(|piece| RecordBatch::try_new(schema.clone(), vec![piece]))
        .collect();
    let path = tempfile::NamedTempFile::new().unwrap();
    let mut file = ChecksumFile::new(path.reopen().unwrap());
    Codec::new().write(&schema, pieces.into_iter(), &mut file).unwrap();
    file.finish().unwrap();
    std::fs::read(path.path()).unwrap()
}

fn read(bytes: Vec<u8>, schema: SchemaRef) -> ArrayRef {
    let runtime = CurrentThreadRuntime::new();
    let session = VortexSession::default().with_handle(runtime.handle());
    let file = session.open_options().open_buffer(bytes).unwrap();
    let batches = file.scan().unwrap().into_record_batch_reader(schema, &runtime).unwrap();
    let columns: Vec<ArrayRef> = batches.map(|batch| batch.unwrap().column(0).clone()).collect();
    concat(&columns.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap()
}

/// Bits of a row in the file, and whether any of it is written as differences. The rows come back.
fn stored(column: ArrayRef) -> (f64, bool) {
    let bytes = written(&column);
    let bits = bytes.len() as f64 * 8.0 / column.len() as f64;
    let mut layout = SegmentLayout::default();
    read_file(bytes.clone(), &mut layout).unwrap();
    let encodings = layout.columns.iter().flat_map(|column| &column.encodings);
    let differences = encodings.map(|piece| &piece.encoding).any(|name| name.contains("vortex.pco"));
    assert_eq!(&read(bytes, schema(&column)), &column);
    (bits, differences)
}

/// A number that has nothing to do with those of its neighbours.
fn scattered(number: usize) -> i64 {
    let mut z = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 1) as i64
}

fn numbers(value: impl Fn(usize) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..ROWS).map(value)))
}

/// Keys as a bucket gets them: in order, some left out.
fn key(row: usize) -> i64 {
    row as i64 * 4 + scattered(row) % 4
}

#[test]
fn keys_and_times_in_order_are_written_as_differences() {
    let (bits, differences) = stored(numbers(key));
    assert!(differences && bits < 4.0, "{bits} bits a key");
    let (bits, differences) = stored(numbers(|row| key(row) * 1_000_000 + scattered(row) % 1_000_000));
    assert!(differences && bits < 25.0, "{bits} bits a time");
    let nullable = Int64Array::from_iter((0..ROWS).map(|row| (row % 7 != 3).then(|| key(row))));
    let (bits, differences) = stored(Arc::new(nullable));
    assert!(differences && bits < 5.0, "{bits} bits a key that may be NULL");
}

#[test]
fn numbers_that_are_far_from_their_neighbours_stay_packed_as_they_are() {
    for (values, most) in
        [(numbers(|row| scattered(row) % 100_000), 17.4), (numbers(|row| scattered(row) % 1000), 10.4)]
    {
        let (bits, differences) = stored(values);
        assert!(!differences && bits < most, "{bits} bits a number");
    }
    // They could be divided by 100 and take 24 bits, which is not worth the time.
    let (bits, differences) = stored(numbers(|row| scattered(row) % 10_000_000 * 100));
    assert!(!differences && bits < 30.4, "{bits} bits a price");
    let few = Int64Array::from_iter_values((0..2000).map(key));
    assert!(!stored(Arc::new(few)).1, "a few thousand values are not worth it");
}

#[test]
fn decimals_in_order_are_written_as_differences_and_where_texts_begin_is_not() {
    let decimals = Decimal128Array::from_iter_values((0..ROWS).map(|row| i128::from(key(row))));
    let (bits, differences) = stored(Arc::new(decimals.with_precision_and_scale(15, 2).unwrap()));
    assert!(differences && bits < 4.0, "{bits} bits a decimal");
    let words = ["order", "refund", "visit", "click", "signup"];
    let text = |row: usize| format!("{} {}", words[scattered(row) as usize % 5], scattered(row) / 8 % 100_000);
    let (bits, differences) = stored(Arc::new(StringViewArray::from_iter_values((0..ROWS).map(text))));
    assert!(!differences && bits < 56.0, "{bits} bits a text");
}

#[test]
fn values_unlike_the_sample_are_not_written_worse_than_without_it() {
    // The middle of each piece of 131,072 values is in order, nothing else is.
    let value = |row: usize| match row % 131_072 {
        60_000..72_000 => row as i64,
        _ => scattered(row) % (1 << 40),
    };
    let (bits, _) = stored(numbers(value));
    assert!(bits < 40.5, "{bits} bits a number");
}

/// Stretches of (first value, largest step, rows), with a NULL after so many rows.
fn stretches() -> impl Strategy<Value = Vec<Option<i64>>> {
    let stretch = (any::<i64>(), prop_oneof![Just(0i64), Just(1), 2i64..1000, Just(i64::MAX)], 1usize..12_000);
    (prop::collection::vec(stretch, 1..4), prop::option::of(1usize..9000)).prop_map(|(stretches, every)| {
        let mut values = Vec::new();
        for (mut value, step, rows) in stretches {
            for row in 0..rows {
                values.push(every.is_none_or(|every| row % every != 0).then_some(value));
                value = value.wrapping_add(if step == 0 { 0 } else { scattered(row) % step });
            }
        }
        values
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_integers_come_back(values in stretches()) {
        let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        let back = read(written(&column), schema(&column));
        prop_assert_eq!(back.as_primitive::<Int64Type>(), column.as_primitive::<Int64Type>());
        let column: ArrayRef = Arc::new(Int32Array::from_iter(values.iter().map(|v| v.map(|v| v as i32))));
        let back = read(written(&column), schema(&column));
        prop_assert_eq!(back.as_primitive::<Int32Type>(), column.as_primitive::<Int32Type>());
        let column: ArrayRef = Arc::new(Int16Array::from_iter(values.iter().map(|v| v.map(|v| v as i16))));
        let back = read(written(&column), schema(&column));
        prop_assert_eq!(back.as_primitive::<Int16Type>(), column.as_primitive::<Int16Type>());
    }
}
