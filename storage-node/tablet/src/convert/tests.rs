//! Conversions against what is expected of the rows themselves, through any history of the base.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{ArrayRef, Int8Array, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use tarn_proto::schema::{OP, OP_DELETE, OP_UPSERT};
use tarn_proto::segment::from_storage;
use tarn_proto::storage::{Comparison, Condition, DeletePredicate, LoadSpec, PublishTablet};
use tarn_proto::{Aggregation, Column, ColumnId, DataType, SchemaVersion, TableModel, TxnId};

use super::*;
use crate::Options;

const BASE: TabletId = TabletId(3);
const TARGET: TabletId = TabletId(4);

/// A row of the base: two keys, a text of digits, and a number.
type Row = (i64, i32, i64, i64);

fn column(id: u32, data_type: DataType) -> Column {
    Column { id: ColumnId(id), name: format!("n{id}"), data_type, nullable: false, aggregation: None, initial: None }
}

/// `k bigint, g int` and the values `t string, n bigint`. Where keys merge, `t` is replaced and `n` summed up; in PRIMARY KEY
/// tables `k` alone is the key.
fn base(model: TableModel) -> TableSchema {
    let mut columns = vec![
        column(1, DataType::BigInt),
        column(2, DataType::Int),
        column(3, DataType::String),
        column(4, DataType::BigInt),
    ];
    let keys = if model == TableModel::PrimaryKey { vec![1] } else { vec![1, 2] };
    match model {
        TableModel::Aggregate => {
            columns[2].aggregation = Some(Aggregation::Max);
            columns[3].aggregation = Some(Aggregation::Sum);
        }
        TableModel::Unique => columns[2..].iter_mut().for_each(|c| c.aggregation = Some(Aggregation::Replace)),
        TableModel::Duplicate | TableModel::PrimaryKey => {}
    }
    let keys: Vec<ColumnId> = keys.into_iter().map(ColumnId).collect();
    let (version, sort_key, indexes) = (SchemaVersion(1), keys.clone(), Vec::new());
    TableSchema { version, model, columns, keys, sort_key, indexes }
}

/// A change of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Altered {
    /// Sorted by `g`, then `k`.
    Order,
    /// `t` is a number, `n` an INT.
    Types,
    /// A key `h` of 7 behind `k`.
    AddKey,
    /// Without the key `g`.
    DropKey,
}

impl Altered {
    /// Those that a model allows.
    fn of(model: TableModel) -> &'static [Self] {
        match model {
            TableModel::Duplicate => &[Self::Order, Self::Types, Self::AddKey, Self::DropKey],
            TableModel::Aggregate => &[Self::Order, Self::AddKey, Self::DropKey],
            TableModel::Unique => &[Self::Order, Self::Types, Self::AddKey],
            TableModel::PrimaryKey => &[Self::Order, Self::Types],
        }
    }

    fn schema(self, model: TableModel) -> TableSchema {
        let mut schema = TableSchema { version: SchemaVersion(2), ..base(model) };
        match self {
            Self::Order => schema.sort_key = vec![ColumnId(2), ColumnId(1)],
            Self::Types => {
                schema.columns[2].data_type = DataType::BigInt;
                schema.columns[3].data_type = DataType::Int;
            }
            Self::AddKey => {
                let h = Column { initial: Some("7".to_owned()), ..column(5, DataType::SmallInt) };
                schema.columns.insert(1, h);
                schema.keys.insert(1, ColumnId(5));
                schema.sort_key = schema.keys.clone();
            }
            Self::DropKey => {
                schema.columns.remove(1);
                schema.keys.remove(1);
                schema.sort_key = schema.keys.clone();
            }
        }
        schema
    }
}

#[derive(Clone, Debug)]
enum Step {
    Load(Vec<(Row, bool)>),
    /// Of the rows with this `g`.
    Delete(i32),
    Compact,
    Convert,
    Reopen,
    /// Superseded rowsets that nobody keeps go.
    Collect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0i64..6, 0i32..3, 0i64..50, -5i64..5);
    let rows = prop::collection::vec((row, prop::bool::weighted(0.2)), 1..30);
    prop::collection::vec(
        prop_oneof![
            6 => rows.prop_map(Step::Load),
            1 => (0i32..3).prop_map(Step::Delete),
            2 => Just(Step::Compact),
            3 => Just(Step::Convert),
            1 => Just(Step::Reopen),
            1 => Just(Step::Collect),
        ],
        1..14,
    )
}

fn open(data: &Path) -> Arc<Engine> {
    Engine::open(Options { segment_bytes: 1 << 10, retention: Duration::ZERO, ..Options::new(data) }).unwrap()
}

/// Closes an engine, so that another can open its directory: tasks of a load that has ended may still hold it.
fn reopened(engine: Arc<Engine>, data: &Path) -> Arc<Engine> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Arc::strong_count(&engine) > 1 {
        assert!(Instant::now() < deadline, "the engine stays open");
        std::thread::yield_now();
    }
    drop(engine);
    open(data)
}

fn batch(schema: &TableSchema, rows: &[(Row, bool)]) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|((k, ..), _)| *k))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|((_, g, ..), _)| *g))),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|((_, _, t, _), _)| t.to_string()))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|((_, _, _, n), _)| *n))),
    ];
    if schema.model != TableModel::PrimaryKey {
        return RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
    }
    let op = |deletes: bool| if deletes { OP_DELETE } else { OP_UPSERT };
    arrays.push(Arc::new(Int8Array::from_iter_values(rows.iter().map(|(_, deletes)| op(*deletes)))));
    let batch = RecordBatch::try_new(schema.to_arrow_with_op(), arrays).unwrap();
    assert_eq!(batch.schema().field(4).name(), OP);
    batch
}

async fn write(engine: &Arc<Engine>, spec: &LoadSpec, tablet: TabletId, txn: u64, rows: &[(Row, bool)]) {
    let mut writer = engine.begin(TxnId(txn), "only", spec).await.unwrap();
    // In pieces, for several segments.
    for rows in rows.chunks(10) {
        writer.write(tablet, batch(&spec.schema, rows)).await.unwrap();
    }
    writer.finish().await.unwrap();
}

fn publish(engine: &Engine, tablet: TabletId, txn: u64, version: u64) {
    let request = PublishTablet { tablet, version: Version(version), has_rowset: true };
    assert_eq!(engine.publish(TxnId(txn), &[request]).unwrap(), []);
}

/// The rows of a tablet as texts of its columns' values by their ids, sorted.
fn rows(engine: &Arc<Engine>, tablet: TabletId, version: u64) -> Vec<BTreeMap<u32, String>> {
    let tablet = engine.tablet(tablet).unwrap();
    let (shape, rows) = engine.rows_at(&tablet, Version(version), &Stop::default()).unwrap();
    let mut all = Vec::new();
    for batch in rows {
        let batch = from_storage(&shape.schema.columns, &batch.unwrap()).unwrap();
        for row in 0..batch.num_rows() {
            let value = |i: usize| array_value_to_string(batch.column(i), row).unwrap();
            all.push(shape.schema.columns.iter().enumerate().map(|(i, c)| (c.id.get(), value(i))).collect());
        }
    }
    all.sort();
    all
}

/// Rows by the table's definition: each load's in turn.
#[derive(Clone, Default)]
struct Naive(Vec<Row>);

impl Naive {
    fn load(&mut self, model: TableModel, rows: &[(Row, bool)]) {
        for ((k, g, t, n), deletes) in rows.iter().copied() {
            let there = self.0.iter().position(|row| match model {
                TableModel::Duplicate => false,
                TableModel::PrimaryKey => row.0 == k,
                TableModel::Aggregate | TableModel::Unique => (row.0, row.1) == (k, g),
            });
            match (model, there) {
                (TableModel::PrimaryKey, Some(at)) if deletes => drop(self.0.remove(at)),
                (TableModel::PrimaryKey, None) if deletes => {}
                (TableModel::Aggregate, Some(at)) => {
                    let row = &mut self.0[at];
                    // Texts have the order of texts.
                    row.2 = if t.to_string() > row.2.to_string() { t } else { row.2 };
                    row.3 += n;
                }
                (_, Some(at)) => self.0[at] = (k, g, t, n),
                (_, None) => self.0.push((k, g, t, n)),
            }
        }
    }

    /// What the altered table shall hold.
    fn altered(&self, altered: Altered, model: TableModel) -> Vec<BTreeMap<u32, String>> {
        let mut merged: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        let mut all: Vec<BTreeMap<u32, String>> = Vec::new();
        for (k, g, t, n) in &self.0 {
            let mut row = BTreeMap::from([(1, k.to_string()), (3, t.to_string()), (4, n.to_string())]);
            match altered {
                Altered::DropKey if model == TableModel::Aggregate => {
                    let entry = merged.entry(*k).or_insert((*t, 0));
                    entry.0 = if t.to_string() > entry.0.to_string() { *t } else { entry.0 };
                    entry.1 += n;
                    continue;
                }
                Altered::DropKey => {}
                Altered::AddKey => {
                    row.insert(2, g.to_string());
                    row.insert(5, "7".to_owned());
                }
                Altered::Order | Altered::Types => drop(row.insert(2, g.to_string())),
            }
            all.push(row);
        }
        for (k, (t, n)) in merged {
            all.push(BTreeMap::from([(1, k.to_string()), (3, t.to_string()), (4, n.to_string())]));
        }
        all.sort();
        all
    }
}

async fn check(model: TableModel, altered: Altered, steps: Vec<Step>, last: Vec<(Row, bool)>) {
    let data = tempfile::tempdir().unwrap();
    let (from, to) = (base(model), altered.schema(model));
    let spec = LoadSpec::rows(from.clone());
    let mut engine = open(data.path());
    engine.create_tablets(&from, &[BASE]).unwrap();
    let (mut version, mut naive) = (1, Naive::default());
    let convert = |engine: &Arc<Engine>, version| {
        engine.convert(&from, &to, BASE, TARGET, Version(version), &Stop::default()).unwrap();
    };
    for step in steps {
        match step {
            Step::Load(rows) => {
                version += 1;
                write(&engine, &spec, BASE, version, &rows).await;
                publish(&engine, BASE, version, version);
                naive.load(model, &rows);
            }
            Step::Delete(_) if model == TableModel::PrimaryKey => {}
            Step::Delete(g) => {
                version += 1;
                let condition = Condition {
                    column: ColumnId(2),
                    data_type: DataType::Int,
                    initial: None,
                    comparison: Comparison::Equal,
                    values: vec![g.to_string()],
                };
                let spec = LoadSpec { delete: Some(DeletePredicate { conditions: vec![condition] }), ..spec.clone() };
                let mut writer = engine.begin(TxnId(version), "only", &spec).await.unwrap();
                writer.write(BASE, RecordBatch::new_empty(from.to_arrow())).await.unwrap();
                writer.finish().await.unwrap();
                publish(&engine, BASE, version, version);
                naive.0.retain(|row| row.1 != g);
            }
            Step::Compact => drop(engine.compact(BASE, &Stop::default()).unwrap()),
            Step::Convert => {
                convert(&engine, version);
                assert_eq!(rows(&engine, TARGET, version), naive.altered(altered, model));
            }
            Step::Reopen => engine = reopened(engine, data.path()),
            Step::Collect => drop(engine.remove_superseded(Instant::now()).unwrap()),
        }
    }
    // A load that is not published when the target takes the base's place.
    write(&engine, &spec, BASE, 1000, &last).await;
    convert(&engine, version);
    assert_eq!(rows(&engine, TARGET, version), naive.altered(altered, model));
    let load = |engine: &Arc<Engine>| engine.convert_load(&from, &to, TxnId(1000), BASE, TARGET).unwrap();
    let summary = load(&engine);
    assert_eq!((summary.tablet_id, summary.rowset_id), (TARGET.get(), 1000));
    assert_eq!(load(&engine), summary, "it is converted once");
    let engine = reopened(engine, data.path());
    assert_eq!(load(&engine), summary, "and is durable");
    publish(&engine, TARGET, 1000, version + 1);
    naive.load(model, &last);
    assert_eq!(rows(&engine, TARGET, version + 1), naive.altered(altered, model));
    // A load that was planned before, and writes to the target itself.
    write(&engine, &spec, TARGET, 1001, &last).await;
    publish(&engine, TARGET, 1001, version + 2);
    naive.load(model, &last);
    let expected = naive.altered(altered, model);
    assert_eq!(rows(&engine, TARGET, version + 2), expected);
    while engine.compact(TARGET, &Stop::default()).unwrap().is_some() {}
    assert_eq!(rows(&engine, TARGET, version + 2), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_target_holds_the_rows_of_its_base_whatever_happens_to_it(
        model in prop::sample::select(vec![
            TableModel::Duplicate, TableModel::Aggregate, TableModel::Unique, TableModel::PrimaryKey,
        ]),
        altered in 0usize..4,
        steps in steps(),
        last in prop::collection::vec(((0i64..6, 0i32..3, 0i64..50, -5i64..5), prop::bool::weighted(0.2)), 1..20),
    ) {
        let allowed = Altered::of(model);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(model, allowed[altered % allowed.len()], steps, last));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_is_named_and_leaves_all_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let engine = open(data.path());
    let (from, to) = (base(TableModel::Duplicate), Altered::Types.schema(TableModel::Duplicate));
    let spec = LoadSpec::rows(from.clone());
    engine.create_tablets(&from, &[BASE]).unwrap();
    write(&engine, &spec, BASE, 2, &[((1, 1, 1, 1), false)]).await;
    publish(&engine, BASE, 2, 2);
    let convert = |version| engine.convert(&from, &to, BASE, TARGET, Version(version), &Stop::default());
    convert(2).unwrap();
    // The number is too large for an INT.
    let large = [((2, 1, 1, 1 << 40), false)];
    write(&engine, &spec, BASE, 3, &large).await;
    publish(&engine, BASE, 3, 3);
    let told = convert(3).unwrap_err();
    assert_eq!(told.kind(), tarn_proto::ErrorKind::Invalid);
    assert!(told.to_string().contains("column `n4`: value `1099511627776` is no value of int"), "{told}");
    assert_eq!(rows(&engine, BASE, 3).len(), 2);
    assert_eq!(engine.converted(TARGET, Version(3)), None);
    // So are those of loads that come late.
    write(&engine, &spec, BASE, 4, &large).await;
    let told = engine.convert_load(&from, &to, TxnId(4), BASE, TARGET).unwrap_err();
    assert!(matches!(told, Error::Misfit { .. }), "{told}");
    let mut writer = engine.begin(TxnId(5), "only", &spec).await.unwrap();
    let told = writer.write(TARGET, batch(&from, &large)).await.unwrap_err();
    assert!(matches!(told, Error::Misfit { .. }), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_counted_of_what_is_left_to_convert() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options { segment_bytes: 1 << 20, ..Options::new(data.path()) }).unwrap();
    let (from, to) = (base(TableModel::Duplicate), Altered::Order.schema(TableModel::Duplicate));
    let spec = LoadSpec::rows(from.clone());
    engine.create_tablets(&from, &[BASE]).unwrap();
    let memory = || engine.conversion_memory(BASE, TARGET);
    let some = |rows: i64| -> Vec<(Row, bool)> { (0..rows).map(|k| ((k, 1, k, 1), false)).collect() };
    assert_eq!(memory(), 0);
    for (txn, rows) in [(2, 400), (3, 100)] {
        write(&engine, &spec, BASE, txn, &some(rows)).await;
        publish(&engine, BASE, txn, txn);
    }
    let filled = memory();
    assert!(filled > 500 * 2 * 16 * 4, "{filled} for all rows");
    engine.convert(&from, &to, BASE, TARGET, Version(3), &Stop::default()).unwrap();
    assert_eq!(memory(), 0, "nothing is left");
    write(&engine, &spec, BASE, 4, &some(100)).await;
    let pending = memory();
    assert!((1..filled / 2).contains(&pending), "{pending} for a fifth of the rows, {filled} for all");
    publish(&engine, BASE, 4, 4);
    assert_eq!(memory(), pending, "the same, to be followed");
    write(&engine, &spec, BASE, 5, &some(20_000)).await;
    assert!(memory() <= 3 << 20, "{} of three segments", memory());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_schema_of_the_same_form_is_adopted() {
    let data = tempfile::tempdir().unwrap();
    let engine = open(data.path());
    let from = base(TableModel::Duplicate);
    engine.create_tablets(&from, &[BASE]).unwrap();
    let mut wider = TableSchema { version: SchemaVersion(2), ..from.clone() };
    wider.columns.push(column(9, DataType::Int));
    engine.adopt(&wider, &[BASE, TabletId(99)]).unwrap();
    assert_eq!(engine.tablet(BASE).unwrap().shape().schema, wider);
    engine.adopt(&from, &[BASE]).unwrap();
    assert_eq!(engine.tablet(BASE).unwrap().shape().schema, wider, "an older one changes nothing");
    let told = engine.adopt(&Altered::Order.schema(TableModel::Duplicate), &[BASE]);
    assert!(told.is_ok(), "version 2 is not newer");
    let other = TableSchema { version: SchemaVersion(3), ..Altered::Order.schema(TableModel::Duplicate) };
    assert!(matches!(engine.adopt(&other, &[BASE]).unwrap_err(), Error::Rows { .. }));
    let engine = reopened(engine, data.path());
    assert_eq!(engine.tablet(BASE).unwrap().shape().schema, wider);
}
