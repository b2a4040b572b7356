//! Predicates that delete rows of a DUPLICATE table, against a naive list of rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tarn_proto::storage::{Comparison, Condition, DeletePredicate, LoadSpec};
use tarn_proto::{Column, ColumnId, DataType, ErrorKind, SchemaVersion, TableModel, TableSchema, TxnId};
use tarn_tablet::{Engine, Error, Options, Result, Stop};

use crate::fixture::{TABLET, close, manifest, publish};
use crate::primary::live_rows;

pub type Row = (Option<i64>, Option<i64>);

/// Rows go whose column at `column` compares so with `values`.
#[derive(Clone, Debug)]
pub struct Test {
    column: usize,
    comparison: Comparison,
    values: Vec<i64>,
}

impl Test {
    pub fn holds(&self, row: &Row) -> bool {
        let value = if self.column == 0 { row.0 } else { row.1 };
        let first = self.values.first().copied();
        match (self.comparison, value) {
            (Comparison::IsNull, value) => value.is_none(),
            (Comparison::IsNotNull, value) => value.is_some(),
            (_, None) => false,
            (Comparison::In, Some(value)) => self.values.contains(&value),
            (Comparison::NotIn, Some(value)) => !self.values.contains(&value),
            (Comparison::Equal, value) => value == first,
            (Comparison::NotEqual, value) => value != first,
            (Comparison::Less, value) => value < first,
            (Comparison::LessOrEqual, value) => value <= first,
            (Comparison::Greater, value) => value > first,
            (Comparison::GreaterOrEqual, value) => value >= first,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Load(Vec<Vec<Row>>),
    Delete(Vec<Test>),
    /// The delete is sealed, then the rows are loaded, and the delete is published behind them.
    Overtaken(Vec<Test>, Vec<Vec<Row>>),
    /// The node restarts, or compacts, between the delete's seal and its publish.
    Interrupted(Vec<Test>, bool),
    Compact,
    Collect,
}

/// Batches of rows.
pub fn rows() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let value = || prop::option::weighted(0.8, 0i64..8);
    prop::collection::vec(prop::collection::vec((value(), value()), 1..9), 1..3)
}

/// What must hold of the rows that go.
pub fn tests() -> impl Strategy<Value = Vec<Test>> {
    use Comparison as C;
    let all = vec![
        C::Equal,
        C::NotEqual,
        C::Less,
        C::LessOrEqual,
        C::Greater,
        C::GreaterOrEqual,
        C::In,
        C::NotIn,
        C::IsNull,
        C::IsNotNull,
    ];
    let test = (0usize..2, prop::sample::select(all), prop::collection::vec(0i64..8, 1..4)).prop_map(
        |(column, comparison, mut values)| {
            match comparison {
                C::In | C::NotIn => {}
                C::IsNull | C::IsNotNull => values.clear(),
                _ => values.truncate(1),
            }
            Test { column, comparison, values }
        },
    );
    prop::collection::vec(test, 1..3)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => rows().prop_map(Step::Load),
        4 => tests().prop_map(Step::Delete),
        2 => (tests(), rows()).prop_map(|(tests, rows)| Step::Overtaken(tests, rows)),
        2 => (tests(), any::<bool>()).prop_map(|(tests, compacts)| Step::Interrupted(tests, compacts)),
        2 => Just(Step::Compact),
        1 => Just(Step::Collect),
    ];
    prop::collection::vec(step, 1..16)
}

/// The table `t (k bigint, v bigint)`, sorted by `k`.
pub fn table() -> TableSchema {
    let column = |id, name: &str| Column {
        id: ColumnId(id),
        name: name.into(),
        data_type: DataType::BigInt,
        nullable: true,
        aggregation: None,
        initial: None,
    };
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: vec![column(1, "k"), column(2, "v")],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    }
}

pub fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1))),
    ];
    RecordBatch::try_new(table().to_arrow(), columns).unwrap()
}

pub fn predicate(tests: &[Test]) -> DeletePredicate {
    let condition = |test: &Test| Condition {
        column: ColumnId(1 + test.column as u32),
        data_type: DataType::BigInt,
        initial: None,
        comparison: test.comparison,
        values: test.values.iter().map(ToString::to_string).collect(),
    };
    DeletePredicate { conditions: tests.iter().map(condition).collect() }
}

struct World {
    engine: Option<Arc<Engine>>,
    rows: Vec<Row>,
    version: u64,
    data: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let engine = open(data.path());
        engine.create_tablets(&table(), &[TABLET]).unwrap();
        Self { data, engine: Some(engine), rows: Vec::new(), version: 1 }
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    async fn seal_rows(&self, txn: u64, rows: &[Vec<Row>]) {
        let mut writer = self.engine().begin(TxnId(txn), "a", &LoadSpec::rows(table())).await.unwrap();
        for rows in rows {
            writer.write(TABLET, batch(rows)).await.unwrap();
        }
        writer.finish().await.unwrap();
    }

    async fn seal_delete(&self, txn: u64, tests: &[Test]) {
        let spec = LoadSpec::delete(table(), predicate(tests));
        let mut writer = self.engine().begin(TxnId(txn), "a", &spec).await.unwrap();
        writer.write(TABLET, RecordBatch::new_empty(table().to_arrow())).await.unwrap();
        let summary = writer.finish().await.unwrap().remove(0);
        assert_eq!((summary.rows, summary.bytes), (0, 0));
    }

    fn publish(&mut self, txn: u64) {
        self.version += 1;
        publish(self.engine(), txn, TABLET, self.version).unwrap();
    }

    fn reopen(&mut self) {
        close(self.engine.take().unwrap());
        self.engine = Some(open(self.data.path()));
    }

    fn compact(&self) {
        while self.engine().compact(TABLET, &Stop::default()).unwrap().is_some() {}
    }

    async fn step(&mut self, step: &Step) {
        let txn = 10 * self.version;
        match step {
            Step::Load(rows) => {
                self.seal_rows(txn, rows).await;
                self.publish(txn);
                self.rows.extend(rows.iter().flatten());
            }
            Step::Delete(tests) => {
                self.seal_delete(txn, tests).await;
                self.publish(txn);
                self.rows.retain(|row| !tests.iter().all(|test| test.holds(row)));
            }
            Step::Overtaken(tests, rows) => {
                self.seal_delete(txn + 1, tests).await;
                self.seal_rows(txn, rows).await;
                self.publish(txn);
                self.publish(txn + 1);
                self.rows.extend(rows.iter().flatten());
                self.rows.retain(|row| !tests.iter().all(|test| test.holds(row)));
            }
            Step::Interrupted(tests, compacts) => {
                self.seal_delete(txn, tests).await;
                if *compacts {
                    self.compact();
                } else {
                    self.reopen();
                }
                self.publish(txn);
                self.rows.retain(|row| !tests.iter().all(|test| test.holds(row)));
            }
            Step::Compact => self.compact(),
            Step::Collect => {
                let start = Instant::now();
                self.engine().remove_superseded(start).unwrap();
                self.engine().remove_superseded(start + Duration::from_secs(1 << 20)).unwrap();
            }
        }
    }

    async fn check(&self) {
        let mut expected = self.rows.clone();
        expected.sort_unstable();
        assert_eq!(read(self.engine(), self.version).await.unwrap(), expected);
        assert_eq!(self.engine().reports()[0].rows, expected.len() as u64, "rows of the report");
    }
}

/// Opens an engine that makes a segment of every batch.
fn open(data: &std::path::Path) -> Arc<Engine> {
    Engine::open(Options { segment_bytes: 1, ..Options::new(data) }).unwrap()
}

pub async fn read(engine: &Engine, version: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in live_rows(engine, &table(), version).await? {
        let columns = [0, 1].map(|i| batch.column(i).as_primitive::<Int64Type>());
        let value = |column: usize, row: usize| columns[column].is_valid(row).then(|| columns[column].value(row));
        rows.extend((0..batch.num_rows()).map(|row| (value(0, row), value(1, row))));
    }
    rows.sort_unstable();
    Ok(rows)
}

#[test]
fn deletes_by_predicate_take_the_rows_that_were_there_and_no_others() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(async {
                let mut world = World::new();
                for step in &steps {
                    world.step(step).await;
                    world.check().await;
                }
                world.step(&Step::Interrupted(vec![], false)).await;
                assert!(world.rows.is_empty());
                world.check().await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_before_a_delete_read_as_before() {
    let mut world = World::new();
    let rows: Vec<Row> = (0..5000).map(|key| (Some(key), Some(key % 10))).collect();
    world.step(&Step::Load(vec![rows.clone()])).await;
    let test = Test { column: 1, comparison: Comparison::Less, values: vec![3] };
    world.step(&Step::Delete(vec![test])).await;
    world.check().await;
    assert_eq!(world.rows.len(), 3500);
    assert_eq!(read(world.engine(), 2).await.unwrap(), rows);
    // The delete itself is a rowset without segments.
    let rowsets = manifest(world.engine(), TABLET, 3).unwrap().rowsets;
    assert_eq!(rowsets.iter().map(|rowset| rowset.segments.len()).collect::<Vec<_>>(), [1, 0]);
    world.step(&Step::Compact).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_key_table_takes_no_predicate_and_others_no_updates() {
    let world = World::new();
    let mut keyed = crate::primary::table(false);
    let spec = LoadSpec::delete(keyed.clone(), predicate(&[]));
    let error = world.engine().begin(TxnId(9), "a", &spec).await.err().unwrap();
    assert!(matches!(&error, Error::Planned { .. }) && error.kind() == ErrorKind::Invalid, "{error}");
    keyed.model = TableModel::Duplicate;
    let update = tarn_proto::storage::PartialUpdate {
        columns: vec![ColumnId(1)],
        mode: tarn_proto::storage::UpdateMode::Row,
        condition: None,
        only_existing: false,
    };
    let error = world.engine().begin(TxnId(9), "a", &LoadSpec::update(keyed, update)).await.err().unwrap();
    assert!(error.to_string().contains("only rows of PRIMARY KEY tables are updated"), "{error}");
}
