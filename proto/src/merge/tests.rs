use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringViewArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int32Type, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::*;
use crate::Aggregation;

/// A key of two columns, and a value of each kind and aggregation.
#[derive(Clone, Debug)]
struct Row {
    key: (Option<i32>, Option<String>),
    number: Option<i64>,
    text: Option<String>,
    weight: Option<i8>,
}

const DECIMALS: DataType = DataType::Decimal128(4, 1);

fn schema() -> SchemaRef {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let columns = [
        ("k2", DataType::Utf8View),
        ("k1", DataType::Int32),
        ("sum", DataType::Int64),
        ("decimals", DECIMALS),
        ("min", DataType::Utf8View),
        ("max", DataType::Float64),
        ("replace", DataType::Utf8View),
        ("some", list),
        ("flag", DataType::Boolean),
    ];
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

/// The first key column is not the first column.
const KEYS: [usize; 2] = [1, 0];

fn aggregations() -> Vec<Option<Aggregation>> {
    use Aggregation::*;
    let values = [Sum, Sum, Min, Max, Replace, ReplaceIfNotNull, Max];
    [None, None].into_iter().chain(values.map(Some)).collect()
}

fn decimals(values: impl Iterator<Item = Option<i128>>) -> ArrayRef {
    Arc::new(Decimal128Array::from_iter(values).with_data_type(DECIMALS))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let texts =
        |of: fn(&Row) -> Option<String>| -> ArrayRef { Arc::new(StringViewArray::from_iter(rows.iter().map(of))) };
    let columns: Vec<ArrayRef> = vec![
        texts(|r| r.key.1.clone()),
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.key.0))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.number))),
        decimals(rows.iter().map(|r| r.weight.map(|w| i128::from(w) * 70))),
        texts(|r| r.text.clone()),
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.weight.map(f64::from)))),
        texts(|r| r.text.clone()),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
            rows.iter().map(|r| r.weight.map(|w| vec![Some(i32::from(w)), None])),
        )),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|r| r.weight.map(|w| w > 0)))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// What the rows of one key, oldest first, become: by the definition.
fn combined(rows: &[Row]) -> RecordBatch {
    let mut one = batch(&rows[rows.len() - 1..]).columns().to_vec();
    let some = |of: fn(&Row) -> bool| rows.iter().filter(|r| of(r)).cloned().collect::<Vec<_>>();
    let (numbers, texts, weights) =
        (some(|r| r.number.is_some()), some(|r| r.text.is_some()), some(|r| r.weight.is_some()));
    let sum = numbers
        .iter()
        .filter_map(|r| r.number)
        .fold(None, |sum: Option<i64>, n| Some(sum.unwrap_or(0).wrapping_add(n)));
    one[2] = Arc::new(Int64Array::from_iter([sum]));
    // 9,999 tenths are the greatest of four digits, and -9,999 follow it.
    let sum = weights.iter().filter_map(|r| r.weight).map(|w| i128::from(w) * 70).reduce(|a, b| a + b);
    one[3] = decimals([sum.map(|s| (s + 9_999).rem_euclid(2 * 9_999 + 1) - 9_999)].into_iter());
    let least = texts.iter().min_by_key(|r| r.text.clone());
    one[4] = Arc::new(StringViewArray::from_iter([least.and_then(|r| r.text.clone())]));
    let greatest = weights.iter().filter_map(|r| r.weight).max();
    one[5] = Arc::new(Float64Array::from_iter([greatest.map(f64::from)]));
    if let Some(last) = weights.last() {
        one[7] = batch(std::slice::from_ref(last)).column(7).clone();
    }
    one[8] = Arc::new(BooleanArray::from_iter([greatest.map(|w| w > 0)]));
    RecordBatch::try_new(schema(), one).unwrap()
}

fn all(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&schema(), batches).unwrap()
}

/// Cuts rows into batches, of which some are empty.
fn cut(rows: &[Row], sizes: &[usize]) -> Vec<RecordBatch> {
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(5));
    let mut rest = rows;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
        batches.push(batch(head));
        rest = tail;
    }
    batches
}

fn merged(merge: &mut SortedMerge, inputs: &[Vec<RecordBatch>], early: bool) -> Vec<RecordBatch> {
    let mut rest: Vec<_> = inputs.iter().map(|input| input.iter()).collect();
    if early {
        for (number, input) in rest.iter_mut().enumerate() {
            merge.push(number, input.next().cloned()).unwrap();
        }
    }
    let mut batches = Vec::new();
    loop {
        match merge.step().unwrap() {
            Step::Need(input) => merge.push(input, rest[input].next().cloned()).unwrap(),
            Step::Rows(batch) => batches.push(batch),
            Step::Done => return batches,
        }
    }
}

fn row() -> impl Strategy<Value = Row> {
    let key = (prop::option::of(-4i32..12), prop::option::of("[ab]{0,2}"));
    let text = prop::option::of("[a-z]{0,20}");
    (key, prop::option::of(any::<i64>()), text, prop::option::of(any::<i8>()))
        .prop_map(|(key, number, text, weight)| Row { key, number, text, weight })
}

fn inputs() -> impl Strategy<Value = Vec<(Vec<Row>, Vec<usize>)>> {
    // Inputs that overlap, and some that do not.
    let input = (prop::collection::vec(row(), 0..60), prop::collection::vec(0usize..20, 0..8), 0i32..3);
    prop::collection::vec(
        input.prop_map(|(mut rows, sizes, apart)| {
            for row in &mut rows {
                row.key.0 = row.key.0.map(|k| k + apart * 30);
            }
            rows.sort_by(|a, b| a.key.cmp(&b.key));
            (rows, sizes)
        }),
        0..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_is_a_stable_sort(inputs in inputs(), wanted in 1usize..50, early in any::<bool>()) {
        let batches: Vec<Vec<RecordBatch>> = inputs.iter().map(|(rows, sizes)| cut(rows, sizes)).collect();
        let mut expected: Vec<Row> = inputs.iter().flat_map(|(rows, _)| rows.clone()).collect();
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        let mut merge = SortedMerge::new(schema(), KEYS.to_vec(), inputs.len(), wanted).unwrap();
        let found = merged(&mut merge, &batches, early);
        prop_assert_eq!(all(&found), batch(&expected));
        prop_assert!(found.iter().all(|b| b.num_rows() > 0 && b.num_rows() < wanted * 2));
    }

    #[test]
    fn the_newest_row_of_a_key_comes_from_the_last_input(inputs in inputs(), wanted in 1usize..50, early in any::<bool>()) {
        let once = inputs.iter().map(|(rows, sizes)| {
            let mut rows = rows.clone();
            rows.dedup_by(|a, b| a.key == b.key);
            (rows, sizes)
        });
        let once: Vec<(Vec<Row>, &Vec<usize>)> = once.collect();
        let batches: Vec<Vec<RecordBatch>> = once.iter().map(|(rows, sizes)| cut(rows, sizes)).collect();
        let mut expected: Vec<Row> = once.iter().rev().flat_map(|(rows, _)| rows.clone()).collect();
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        expected.dedup_by(|a, b| a.key == b.key);
        let mut merge = SortedMerge::new(schema(), KEYS.to_vec(), inputs.len(), wanted).unwrap().newest();
        let found = merged(&mut merge, &batches, early);
        prop_assert_eq!(all(&found), batch(&expected));
        prop_assert!(found.iter().all(|b| b.num_rows() > 0));
    }

    #[test]
    fn a_merge_without_keys_is_a_concatenation(inputs in inputs(), wanted in 1usize..50, early in any::<bool>()) {
        let batches: Vec<Vec<RecordBatch>> = inputs.iter().map(|(rows, sizes)| cut(rows, sizes)).collect();
        let expected: Vec<Row> = inputs.iter().flat_map(|(rows, _)| rows.clone()).collect();
        let mut merge = SortedMerge::new(schema(), Vec::new(), inputs.len(), wanted).unwrap();
        prop_assert_eq!(all(&merged(&mut merge, &batches, early)), batch(&expected));
    }

    #[test]
    fn each_key_becomes_one_row(rows in prop::collection::vec(row(), 0..120), sizes in prop::collection::vec(0usize..20, 0..8)) {
        let mut rows = rows;
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let expected: Vec<RecordBatch> = rows.chunk_by(|a, b| a.key == b.key).map(combined).collect();
        let mut combiner = Combiner::new(schema(), aggregations()).unwrap();
        let mut found = Vec::new();
        for batch in cut(&rows, &sizes) {
            found.extend(combiner.push(batch).unwrap());
        }
        found.extend(combiner.finish());
        prop_assert_eq!(all(&found), all(&expected));
        prop_assert!(combiner.finish().is_none());
    }

    #[test]
    fn combining_in_parts_changes_nothing(rows in prop::collection::vec(row(), 1..60), middle in 0usize..60) {
        // All of one key: what is combined now, and what compaction combined before.
        let rows: Vec<Row> = rows.into_iter().map(|row| Row { key: (Some(1), None), ..row }).collect();
        let (older, newer) = rows.split_at(middle.min(rows.len()));
        let combine = |batches: Vec<RecordBatch>| {
            let mut combiner = Combiner::new(schema(), aggregations()).unwrap();
            let mut found = Vec::new();
            for batch in batches {
                found.extend(combiner.push(batch).unwrap());
            }
            found.extend(combiner.finish());
            all(&found)
        };
        let parts = combine(vec![combine(vec![batch(older)]), combine(vec![batch(newer)])]);
        prop_assert_eq!(parts, combine(vec![batch(&rows)]));
    }
}

fn numbers(values: impl IntoIterator<Item = i32>) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("k", DataType::Int32, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from_iter_values(values))]).unwrap()
}

#[test]
fn batches_that_do_not_overlap_are_not_copied() {
    let (a, b) = (numbers(0..100), numbers(100..200));
    let mut merge = SortedMerge::new(a.schema(), vec![0], 2, 40).unwrap();
    let found = merged(&mut merge, &[vec![b.clone()], vec![a.clone()]], false);
    assert_eq!(found.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [40, 40, 20, 40, 40, 20]);
    let values = |batch: &RecordBatch| batch.column(0).as_primitive::<Int32Type>().values().as_ptr();
    assert_eq!([values(&found[0]), values(&found[3])], [values(&a), values(&b)]);
}

#[test]
fn a_batch_without_repeated_keys_is_not_copied() {
    let rows = numbers(0..100);
    let mut combiner = Combiner::new(rows.schema(), vec![None]).unwrap();
    assert!(combiner.push(rows.clone()).unwrap().is_none());
    let first = combiner.push(numbers(100..120)).unwrap().unwrap();
    let values = |batch: &RecordBatch| batch.column(0).as_primitive::<Int32Type>().values().as_ptr();
    assert_eq!(values(&first), values(&rows));
}

#[test]
fn integers_wrap_around() {
    let schema = Schema::new(vec![Field::new("k", DataType::Int32, false), Field::new("v", DataType::Int64, true)]);
    let values = Int64Array::from(vec![i64::MAX, 1, 1]);
    let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from(vec![7; 3])), Arc::new(values)]);
    let mut combiner = Combiner::new(rows.as_ref().unwrap().schema(), vec![None, Some(Aggregation::Sum)]).unwrap();
    combiner.push(rows.unwrap()).unwrap();
    let sum = combiner.finish().unwrap();
    assert_eq!(sum.column(1).as_primitive::<Int64Type>().values(), &[i64::MIN + 1]);
}

#[test]
fn misuse_is_an_error() {
    let mut merge = SortedMerge::new(numbers(0..1).schema(), vec![0], 2, 10).unwrap();
    assert!(SortedMerge::new(numbers(0..1).schema(), vec![1], 2, 10).is_err());
    assert!(merge.push(2, None).is_err());
    assert!(merge.push(0, Some(batch(&[]))).is_err(), "other columns");
    merge.push(0, Some(numbers(0..1))).unwrap();
    assert!(merge.push(0, None).is_err(), "not asked for");
    merge.push(1, None).unwrap();
    assert!(merge.push(1, None).is_err(), "ended");
    assert!(Combiner::new(numbers(0..1).schema(), vec![Some(Aggregation::Max)]).is_err(), "no key");
    let texts = all(&[batch(&[])]);
    let mut sums: Vec<_> = vec![Some(Aggregation::Sum); texts.num_columns()];
    sums[1] = None;
    let row = Row { key: (None, None), number: None, text: None, weight: None };
    let mut combiner = Combiner::new(schema(), sums).unwrap();
    assert!(combiner.push(batch(&[row.clone(), row])).unwrap_err().to_string().contains("no sum of"));
    let decimals = decimals([Some(1)].into_iter());
    assert_eq!(decimals.as_primitive::<Decimal128Type>().value(0), 1);
}
