//! Loads of some columns, and loads whose rows count under a condition, against a naive map: whatever happens between
//! their seal and their publish.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tarn_proto::ErrorKind;
use tarn_proto::storage::{PartialUpdate, UpdateMode};
use tarn_tablet::Stop;

use super::*;
use crate::fixture::{close, folder};
use crate::kill::{DATA, run_and_kill};

/// The values of a row beside its key.
pub type Values = [Option<i64>; 3];
/// What new rows get in columns that a load does not have.
const DEFAULTS: Values = [Some(-1), None, Some(-3)];
/// The column of the first value.
const FIRST: u32 = 3;

/// A load. Each of its rows has all values; those at `given` count.
#[derive(Clone, Debug)]
pub struct Update {
    batches: Vec<Vec<(i64, Option<Values>)>>,
    given: Vec<usize>,
    condition: Option<usize>,
    only_existing: bool,
    mode: UpdateMode,
}

impl Update {
    fn is_plain(&self) -> bool {
        self.given.len() == 3 && self.condition.is_none() && !self.only_existing
    }

    fn spec(&self, schema: &TableSchema) -> LoadSpec {
        if self.is_plain() {
            return LoadSpec::rows(schema.clone());
        }
        let column = |value: usize| ColumnId(FIRST + value as u32);
        let keys = [ColumnId(1), ColumnId(2)];
        let update = PartialUpdate {
            columns: keys.into_iter().chain(self.given.iter().map(|value| column(*value))).collect(),
            mode: self.mode,
            condition: self.condition.map(column),
            only_existing: self.only_existing,
        };
        LoadSpec::update(schema.clone(), update)
    }

    fn batch(&self, schema: &TableSchema, rows: &[(i64, Option<Values>)]) -> RecordBatch {
        let groups = rows.iter().map(|(key, _)| "\0".repeat((key % 3) as usize));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(groups)),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        ];
        for value in 0..3 {
            let given = |row: &(i64, Option<Values>)| match row.1 {
                Some(values) if self.given.contains(&value) => values[value],
                _ => DEFAULTS[value],
            };
            columns.push(Arc::new(Int64Array::from_iter(rows.iter().map(given))));
        }
        if rows.iter().all(|row| row.1.is_some()) {
            return RecordBatch::try_new(schema.to_arrow(), columns).unwrap();
        }
        columns.push(Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| i8::from(row.1.is_none())))));
        RecordBatch::try_new(schema.to_arrow_with_op(), columns).unwrap()
    }

    /// What the table holds afterwards.
    pub fn apply(&self, rows: &mut BTreeMap<i64, Values>) {
        let mut winners: BTreeMap<i64, Option<Values>> = BTreeMap::new();
        for (key, values) in self.batches.iter().flatten() {
            let before = winners.get(key).copied().flatten();
            let is_older = |condition: usize| match (values, before) {
                (Some(values), Some(before)) => values[condition] < before[condition],
                _ => false,
            };
            if !self.condition.is_some_and(is_older) {
                winners.insert(*key, *values);
            }
        }
        for (key, values) in winners {
            let Some(values) = values else {
                rows.remove(&key);
                continue;
            };
            match rows.get_mut(&key) {
                Some(old) => {
                    if self.condition.is_none_or(|condition| values[condition] >= old[condition]) {
                        self.given.iter().for_each(|value| old[*value] = values[*value]);
                    }
                }
                None if self.only_existing => {}
                None => {
                    let given =
                        |value: usize| if self.given.contains(&value) { values[value] } else { DEFAULTS[value] };
                    rows.insert(key, [given(0), given(1), given(2)]);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Load(Update),
    /// Both are sealed before one is published.
    Pair(Update, Update),
    /// The node restarts between the load's seal and its publish, with or without its index.
    Interrupted(Update, bool),
    /// A compaction and the end of what it replaced come between seal and publish.
    Compacted(Update),
    Compact,
    Collect,
    /// The publish is asked for again.
    Repeat,
}

pub fn update() -> impl Strategy<Value = Update> {
    let value = || prop::option::weighted(0.8, 0i64..6);
    let values = (value(), value(), value()).prop_map(|(a, b, c)| [a, b, c]);
    let row = (0i64..10, prop::option::weighted(0.85, values));
    let batches = prop::collection::vec(prop::collection::vec(row, 1..8), 1..4);
    let given = prop::sample::subsequence(vec![0, 1, 2], 1..=3);
    let mode = prop_oneof![Just(UpdateMode::Row), Just(UpdateMode::Column)];
    (batches, given, prop::option::weighted(0.3, 0usize..3), prop::bool::weighted(0.2), mode).prop_map(
        |(mut batches, given, condition, only_existing, mode)| {
            let condition = condition.filter(|condition| given.contains(condition));
            if condition.is_some() {
                // Such a load cannot delete.
                batches.iter_mut().flatten().for_each(|row| row.1 = row.1.or(Some(DEFAULTS)));
            }
            Update { batches, given, condition, only_existing, mode }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => update().prop_map(Step::Load),
        3 => (update(), update()).prop_map(|(first, second)| Step::Pair(first, second)),
        3 => (update(), any::<bool>()).prop_map(|(update, lost)| Step::Interrupted(update, lost)),
        2 => update().prop_map(Step::Compacted),
        1 => Just(Step::Compact),
        1 => Just(Step::Collect),
        1 => Just(Step::Repeat),
    ];
    prop::collection::vec(step, 1..20)
}

/// `t (g varchar, k bigint, a bigint, b bigint, c bigint)` with PRIMARY KEY (g, k), sorted by it or by a value.
pub fn wide(sorted_by: Option<usize>) -> TableSchema {
    let mut schema = table(false);
    schema.columns.truncate(2);
    for (id, name) in (FIRST..).zip(["a", "b", "c"]) {
        schema.columns.push(Column {
            id: ColumnId(id),
            name: name.to_owned(),
            data_type: DataType::BigInt,
            nullable: true,
            aggregation: None,
            initial: None,
        });
    }
    if let Some(value) = sorted_by {
        schema.sort_key = vec![ColumnId(FIRST + value as u32)];
    }
    schema
}

struct World {
    schema: TableSchema,
    engine: Option<Arc<Engine>>,
    rows: BTreeMap<i64, Values>,
    version: u64,
    data: tempfile::TempDir,
}

impl World {
    fn new(sorted_by: Option<usize>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let schema = wide(sorted_by);
        let engine = open(data.path());
        engine.create_tablets(&schema, &[TABLET]).unwrap();
        Self { data, schema, engine: Some(engine), rows: BTreeMap::new(), version: 1 }
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    async fn seal(&self, version: u64, update: &Update) {
        seal(self.engine(), &self.schema, version, update).await.unwrap();
    }

    fn publish(&mut self, update: &Update) {
        self.version += 1;
        publish(self.engine(), self.version, TABLET, self.version).unwrap();
        update.apply(&mut self.rows);
    }

    fn reopen(&mut self, without_index: bool) {
        close(self.engine.take().unwrap());
        if without_index {
            drop(std::fs::remove_dir_all(self.data.path().join("primary")));
        }
        self.engine = Some(open(self.data.path()));
    }

    fn compact(&self) {
        while self.engine().compact(TABLET, &Stop::default()).unwrap().is_some() {}
    }

    fn collect(&self) {
        let start = Instant::now();
        self.engine().remove_superseded(start).unwrap();
        self.engine().remove_superseded(start + Duration::from_secs(1 << 20)).unwrap();
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Load(update) => {
                self.seal(self.version + 1, update).await;
                self.publish(update);
            }
            Step::Pair(first, second) => {
                self.seal(self.version + 2, second).await;
                self.seal(self.version + 1, first).await;
                self.publish(first);
                self.publish(second);
            }
            Step::Interrupted(update, lost) => {
                self.seal(self.version + 1, update).await;
                self.reopen(*lost);
                self.publish(update);
            }
            Step::Compacted(update) => {
                self.seal(self.version + 1, update).await;
                self.compact();
                self.collect();
                self.publish(update);
            }
            Step::Compact => self.compact(),
            Step::Collect => self.collect(),
            Step::Repeat => {
                if self.version > 1 {
                    publish(self.engine(), self.version, TABLET, self.version).unwrap();
                }
            }
        }
    }

    async fn check(&self) {
        assert_eq!(read(self.engine(), &self.schema, self.version).await.unwrap(), self.rows);
        assert_eq!(self.engine().reports()[0].rows, self.rows.len() as u64, "rows of the report");
        assert!(self.engine().pending().is_empty());
    }
}

pub async fn seal(engine: &Arc<Engine>, schema: &TableSchema, txn: u64, update: &Update) -> Result<()> {
    let mut writer = engine.begin(TxnId(txn), "a", &update.spec(schema)).await?;
    for rows in &update.batches {
        writer.write(TABLET, update.batch(schema, rows)).await?;
    }
    writer.finish().await.map(drop)
}

/// The rows of a version; a key that stands twice is an error.
pub async fn read(engine: &Engine, schema: &TableSchema, version: u64) -> Result<BTreeMap<i64, Values>> {
    let mut rows = BTreeMap::new();
    for batch in live_rows(engine, schema, version).await? {
        let keys = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let value = |value: usize| {
                let values = batch.column(2 + value).as_primitive::<Int64Type>();
                values.is_valid(row).then(|| values.value(row))
            };
            let twice = rows.insert(keys.value(row), [value(0), value(1), value(2)]);
            assert_eq!(twice, None, "key {} has two rows in version {version}", keys.value(row));
        }
    }
    Ok(rows)
}

#[test]
fn updates_of_some_columns_end_as_the_map_says_whatever_comes_between_seal_and_publish() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(steps(), prop::option::of(0usize..3)), |(steps, sorted_by)| {
            runtime.block_on(async {
                let mut world = World::new(sorted_by);
                for (number, step) in steps.iter().enumerate() {
                    world.step(step).await;
                    if number % 3 == 0 {
                        world.check().await;
                    }
                }
                world.check().await;
            });
            Ok(())
        })
        .unwrap();
}

fn plain(rows: Vec<(i64, Option<Values>)>) -> Update {
    Update { batches: vec![rows], given: vec![0, 1, 2], condition: None, only_existing: false, mode: UpdateMode::Row }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_different_columns_that_meet_are_both_kept() {
    let mut world = World::new(None);
    let all = |value: i64| (0..2000).map(|key| (key, Some([Some(value); 3]))).collect();
    world.step(&Step::Load(plain(all(0)))).await;
    let one = |column: usize, value| Update { given: vec![column], ..plain(all(value)) };
    world.step(&Step::Pair(one(0, 10), one(2, 20))).await;
    world.check().await;
    assert_eq!(world.rows[&77], [Some(10), Some(0), Some(20)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_deleted_while_it_is_updated_stays_deleted() {
    let mut world = World::new(None);
    let row = |value| (1, Some([Some(value); 3]));
    world.step(&Step::Load(plain(vec![row(1)]))).await;
    let update = Update { given: vec![1], only_existing: true, ..plain(vec![row(2)]) };
    world.step(&Step::Pair(plain(vec![(1, None)]), update)).await;
    world.check().await;
    assert!(world.rows.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_go_on_into_a_tablet_while_an_update_of_many_rows_is_published() {
    let mut world = World::new(Some(0));
    let all = |value: i64| (0..30_000).map(|key| (key, Some([Some(value), Some(key), None]))).collect();
    world.step(&Step::Load(plain(all(1)))).await;
    let update = Update { given: vec![2], mode: UpdateMode::Column, ..plain(all(5)) };
    world.seal(3, &update).await;
    let engine = world.engine().clone();
    let publishing = tokio::task::spawn_blocking(move || publish(&engine, 3, TABLET, 3));
    let next = plain(vec![(7, Some([Some(8), Some(8), Some(8)]))]);
    world.seal(4, &next).await;
    world.compact();
    publishing.await.unwrap().unwrap();
    world.version = 3;
    update.apply(&mut world.rows);
    world.publish(&next);
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_do_not_fit_a_primary_key_table_are_refused_by_name() {
    let world = World::new(None);
    let conditional = Update { condition: Some(0), ..plain(vec![(1, None)]) };
    let error = seal(world.engine(), &world.schema, 2, &conditional).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(tarn_proto::error::chain(&error).contains("with a merge condition cannot delete"), "{error}");
    let refused = async |change: fn(&mut PartialUpdate)| {
        let mut update = PartialUpdate {
            columns: vec![ColumnId(1), ColumnId(2), ColumnId(3)],
            mode: UpdateMode::Row,
            condition: None,
            only_existing: false,
        };
        change(&mut update);
        let spec = LoadSpec::update(world.schema.clone(), update);
        world.engine().begin(TxnId(2), "a", &spec).await.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(|update| update.columns.truncate(1)).await.contains("all columns of the key"));
    assert!(refused(|update| update.condition = Some(ColumnId(1))).await.contains("on a column of the key"));
    assert!(refused(|update| update.condition = Some(ColumnId(4))).await.contains("does not have the column"));
    assert!(refused(|update| update.columns.push(ColumnId(99))).await.contains("that the table does not have"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_old_rows_are_damaged_is_not_published_and_is_when_they_are_back() {
    let mut world = World::new(None);
    world.step(&Step::Load(plain((0..500).map(|key| (key, Some([Some(key); 3]))).collect()))).await;
    let update = Update { given: vec![1], ..plain(vec![(3, Some([None; 3])), (499, Some([Some(9); 3]))]) };
    world.seal(3, &update).await;
    world.reopen(false);
    let path = folder(world.data.path(), TABLET).join("2_0.vortex");
    let good = std::fs::read(&path).unwrap();
    let bad: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
    std::fs::write(&path, bad).unwrap();
    publish(world.engine(), 3, TABLET, 3).unwrap_err();
    std::fs::write(&path, good).unwrap();
    world.reopen(false);
    world.publish(&update);
    world.check().await;
}

const ROUNDS: u64 = 10;
const KEYS: i64 = 3000;

/// What a transaction does: whole rows, columns of rows, or either under a condition, with a few deletes.
fn of_txn(txn: u64) -> Update {
    let number = txn as i64;
    let conditional = txn % 5 == 4;
    let row = |segment: i64, i: i64| {
        let key = (number * 7919 + segment * 523 + i * 13) % KEYS;
        let deletes = !conditional && (number + i) % 11 == 0;
        (key, (!deletes).then_some([Some((number * 31 + i) % 40), Some(number), Some(segment)]))
    };
    Update {
        batches: (0..2).map(|segment| (0..400).map(|i| row(segment, i)).collect()).collect(),
        given: match txn % 3 {
            0 => vec![0, 1, 2],
            1 => vec![0],
            _ => vec![0, 2],
        },
        condition: conditional.then_some(0),
        only_existing: txn % 7 == 3,
        mode: UpdateMode::Row,
    }
}

/// Writes and publishes one transaction after the other until it is killed. Run by the test below.
#[test]
#[ignore = "the other half of `a_node_that_is_killed_while_it_updates_reads_as_its_loads_say`, in a process of its own"]
fn updating_node() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = open(&data);
        let schema = wide(Some(0));
        engine.create_tablets(&schema, &[TABLET]).unwrap();
        let mut version = engine.reports()[0].version;
        println!("ready");
        loop {
            version += 1;
            seal(&engine, &schema, version, &of_txn(version)).await.unwrap();
            publish(&engine, version, TABLET, version).unwrap();
            println!("published {version}");
            if version.is_multiple_of(4) {
                engine.compact(TABLET, &Stop::default()).unwrap();
            }
        }
    });
}

#[test]
fn a_node_that_is_killed_while_it_updates_reads_as_its_loads_say() {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = wide(Some(0));
    let (mut newest, mut expected, mut applied) = (1, BTreeMap::new(), 1);
    for round in 0..ROUNDS {
        // Spread over the phases of a load, a publish and a compaction.
        let killed =
            run_and_kill(data.path(), "primary::updates::updating_node", Duration::from_millis(20 + 43 * round));
        newest = newest.max(killed);
        let engine = open(data.path());
        let report = engine.reports().remove(0);
        assert!(report.version >= newest, "{newest} was published, {} is there", report.version);
        newest = report.version;
        while applied < newest {
            applied += 1;
            of_txn(applied).apply(&mut expected);
        }
        assert_eq!(runtime.block_on(read(&engine, &schema, newest)).unwrap(), expected);
        // What was sealed is either aborted or published.
        let next = newest + 1;
        for pending in engine.pending() {
            if round % 2 == 0 || pending != TxnId(next) {
                engine.abort(pending).unwrap();
            }
        }
        if engine.pending().is_empty() {
            runtime.block_on(seal(&engine, &schema, next, &of_txn(next))).unwrap();
        }
        publish(&engine, next, TABLET, next).unwrap();
        newest = next;
        applied = next;
        of_txn(next).apply(&mut expected);
        assert_eq!(runtime.block_on(read(&engine, &schema, newest)).unwrap(), expected);
        close(engine);
    }
    assert!(newest > 2 * ROUNDS, "the node got nowhere");
}
