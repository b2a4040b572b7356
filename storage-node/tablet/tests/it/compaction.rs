//! Compaction changes no answer: random loads, compactions, restarts and collections against the loads played by hand.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tarn_proto::TableModel;
use tarn_proto::storage::CompactionScope;
use tarn_tablet::{Engine, Error, Options, Stop};

use crate::fixture::{TABLET, close, file_of, files, flip, folder, manifest, publish};
use crate::values::{Row, load, newest, read, schema};

const RETENTION: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
enum Operation {
    /// Rows that come in several batches.
    Load(Vec<Vec<Row>>),
    /// A transaction without rows in the tablet.
    Nothing,
    Compact,
    CompactAll,
    /// Somebody asks for a compaction, of all rowsets or of the newer ones.
    Request(CompactionScope),
    Reopen,
    /// Superseded rowsets go once this and another of it have passed.
    Wait,
}

fn row() -> impl Strategy<Value = Row> {
    prop::array::uniform6(prop::option::weighted(0.8, -3i64..30))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => prop::collection::vec(prop::collection::vec(row(), 1..40), 1..4).prop_map(Operation::Load),
        4 => prop::collection::vec(prop::collection::vec(row(), 1..3), 1..2).prop_map(Operation::Load),
        1 => Just(Operation::Nothing),
        5 => Just(Operation::Compact),
        1 => Just(Operation::CompactAll),
        1 => prop::sample::select(vec![CompactionScope::All, CompactionScope::Recent]).prop_map(Operation::Request),
        1 => Just(Operation::Reopen),
        2 => Just(Operation::Wait),
    ]
}

/// What the rows of all loads up to a version are, combined as the model says.
fn expected(model: TableModel, loads: &BTreeMap<u64, Vec<Row>>, version: u64) -> Vec<Row> {
    let rows = loads.range(..=version).flat_map(|(_, rows)| rows.iter().copied());
    combined(model, rows)
}

/// Rows in merge order to the answer, sorted.
pub fn combined(model: TableModel, rows: impl Iterator<Item = Row>) -> Vec<Row> {
    if model == TableModel::Duplicate {
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_unstable();
        return rows;
    }
    let mut groups: BTreeMap<Option<i64>, Row> = BTreeMap::new();
    for new in rows {
        groups
            .entry(new[0])
            .and_modify(|old| match model {
                TableModel::Unique => *old = new,
                _ => {
                    let both = |f: fn(i64, i64) -> i64, i: usize| match (old[i], new[i]) {
                        (Some(a), Some(b)) => Some(f(a, b)),
                        (a, b) => a.or(b),
                    };
                    *old = [
                        new[0],
                        both(|a, b| a + b, 1),
                        both(i64::min, 2),
                        both(i64::max, 3),
                        new[4],
                        new[5].or(old[5]),
                    ];
                }
            })
            .or_insert(new);
    }
    groups.into_values().collect()
}

struct World {
    runtime: tokio::runtime::Runtime,
    /// None while it is opened anew.
    engine: Option<Arc<Engine>>,
    model: TableModel,
    /// Whether tables of six columns are wide: they are merged by groups of columns then.
    is_wide: bool,
    loads: BTreeMap<u64, Vec<Row>>,
    version: u64,
    /// The version at the newest compaction: it and newer ones must stay readable.
    compacted_at: u64,
    now: Instant,
    data: tempfile::TempDir,
}

impl World {
    fn new(model: TableModel, is_wide: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let data = tempfile::tempdir().unwrap();
        let engine = open(&data, is_wide);
        engine.create_tablets(&schema(model), &[TABLET]).unwrap();
        let (engine, loads) = (Some(engine), BTreeMap::new());
        Self { runtime, data, engine, model, is_wide, loads, version: 1, compacted_at: 1, now: Instant::now() }
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    fn run(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Load(batches) => {
                self.version += 1;
                self.runtime.block_on(load(self.engine(), &schema(self.model), self.version, &batches)).unwrap();
                publish(self.engine(), self.version, TABLET, self.version).unwrap();
                self.loads.insert(self.version, batches.concat());
            }
            Operation::Nothing => {
                self.version += 1;
                let nothing = tarn_proto::storage::PublishTablet {
                    tablet: TABLET,
                    version: tarn_proto::Version(self.version),
                    has_rowset: false,
                };
                self.engine().publish(tarn_proto::TxnId(self.version), &[nothing]).unwrap();
            }
            Operation::Compact => drop(self.compact()),
            Operation::CompactAll => {
                while self.compact() {}
                prop_assert!(newest(self.engine()).rowsets <= 40);
            }
            Operation::Request(scope) => {
                self.engine().request_compaction(&[TABLET], scope).unwrap();
                while self.compact() {}
                let most = if scope == CompactionScope::All { 1 } else { 40 };
                prop_assert!(newest(self.engine()).rowsets <= most);
            }
            Operation::Reopen => {
                close(self.engine.take().unwrap());
                self.engine = Some(open(&self.data, self.is_wide));
            }
            Operation::Wait => {
                self.now += RETENTION;
                self.engine().remove_superseded(self.now).unwrap();
            }
        }
        self.check()
    }

    fn compact(&mut self) -> bool {
        let wanted = self.engine().compaction_score(TABLET).is_some();
        let done = self.engine().compact(TABLET, &Stop::default()).unwrap();
        assert_eq!(done.is_some(), wanted);
        if done.is_some() {
            self.compacted_at = self.version;
        }
        wanted
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut kept = false;
        for version in 1..=self.version {
            match read(self.engine(), &schema(self.model), version) {
                Ok(rows) => {
                    kept = true;
                    let rows = combined(self.model, rows.into_iter());
                    prop_assert_eq!(rows, expected(self.model, &self.loads, version), "version {}", version);
                }
                Err(error) => {
                    prop_assert!(matches!(error, Error::Superseded { .. }), "{}", error);
                    prop_assert!(!kept, "{} is gone and an older version is not", version);
                    prop_assert!(version < self.compacted_at, "{} is gone", version);
                }
            }
        }
        // A repeated publish is heard of again, compacted or not.
        if let Some(version) = self.loads.keys().next() {
            publish(self.engine(), *version, TABLET, *version).unwrap();
        }
        Ok(())
    }
}

fn open(data: &tempfile::TempDir, is_wide: bool) -> Arc<Engine> {
    let vertical_columns = if is_wide { 4 } else { 32 };
    // Loads of several segments, outputs of several segments.
    let options =
        Options { segment_bytes: 1 << 10, retention: RETENTION, vertical_columns, ..Options::new(data.path()) };
    Engine::open(options).unwrap()
}

fn check_model(model: TableModel, is_wide: bool) {
    let config =
        ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    let operations = prop::collection::vec(operation(), 1..30);
    proptest::test_runner::TestRunner::new(config)
        .run(&operations, |operations| {
            let mut world = World::new(model, is_wide);
            operations.into_iter().try_for_each(|operation| world.run(operation))
        })
        .unwrap();
}

#[test]
fn compaction_changes_no_answer_of_a_duplicate_table() {
    check_model(TableModel::Duplicate, false);
}

#[test]
fn compaction_changes_no_answer_of_an_aggregate_table() {
    check_model(TableModel::Aggregate, false);
}

#[test]
fn compaction_changes_no_answer_of_a_unique_table() {
    check_model(TableModel::Unique, false);
}

#[test]
fn compaction_by_groups_of_columns_changes_no_answer_of_a_duplicate_table() {
    check_model(TableModel::Duplicate, true);
}

#[test]
fn compaction_by_groups_of_columns_changes_no_answer_of_an_aggregate_table() {
    check_model(TableModel::Aggregate, true);
}

#[test]
fn compaction_by_groups_of_columns_changes_no_answer_of_a_unique_table() {
    check_model(TableModel::Unique, true);
}

/// An engine with `loads` loads of the same few keys, each of which adds 1.
async fn loaded(options: Options, loads: u64) -> Arc<Engine> {
    let engine = Engine::open(options).unwrap();
    engine.create_tablets(&schema(TableModel::Aggregate), &[TABLET]).unwrap();
    load_more(&engine, 2..loads + 2).await;
    engine
}

async fn load_more(engine: &Arc<Engine>, versions: std::ops::Range<u64>) {
    for version in versions {
        load(engine, &schema(TableModel::Aggregate), version, &[few_rows()]).await.unwrap();
        publish(engine, version, TABLET, version).unwrap();
    }
}

fn few_rows() -> Vec<Row> {
    (0..50).map(|key| [Some(key), Some(1), Some(key), Some(key), Some(key), None]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_an_input_stops_the_compaction_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    close(loaded(Options::new(data.path()), 4).await);
    let before = files(data.path(), TABLET);
    let segment = folder(data.path(), TABLET).join("3_0.vortex");
    flip(&segment, 100);
    let engine = Engine::open(Options::new(data.path())).unwrap();
    let error = engine.compact(TABLET, &Stop::default()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { file, .. } if file == "3_0.vortex"), "{error}");
    assert_eq!(files(data.path(), TABLET), before);
    assert_eq!((newest(&engine).rowsets, newest(&engine).read_only_reason.as_str()), (4, ""));

    // It is left out from then on, and newer rowsets are merged without it.
    assert_eq!(engine.compact(TABLET, &Stop::default()).unwrap(), None);
    load_more(&engine, 6..8).await;
    assert_eq!(engine.compact(TABLET, &Stop::default()).unwrap().unwrap().rowsets, 4);
    assert_eq!((newest(&engine).rowsets, engine.compaction_score(TABLET)), (3, None));

    close(engine);
    flip(&segment, 100);
    let engine = Engine::open(Options::new(data.path())).unwrap();
    load_more(&engine, 8..9).await;
    assert_eq!(engine.compact(TABLET, &Stop::default()).unwrap().unwrap().rowsets, 4);
    let rows = read(&engine, &schema(TableModel::Aggregate), 8).unwrap();
    assert_eq!(rows.len(), 50);
    assert!(rows.iter().all(|row| row[1] == Some(7)), "each key's ones are summed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_that_a_full_disk_made_read_only_gives_back_what_a_compaction_replaced() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(Options { retention: RETENTION, ..Options::new(data.path()) }, 4).await;
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());

    // The load's segment goes to a device that is always full.
    symlink("/dev/full", folder(data.path(), TABLET).join("6_0.6.vortex.tmp")).unwrap();
    let schema = schema(TableModel::Aggregate);
    load(&engine, &schema, 6, &[few_rows()]).await.unwrap_err();
    assert!(newest(&engine).read_only_reason.contains("No space left on device"));
    let start = Instant::now();
    assert_eq!(engine.remove_superseded(start).unwrap(), 0);
    assert_eq!(engine.remove_superseded(start + RETENTION).unwrap(), 4);
    assert_eq!(files(data.path(), TABLET).len(), 2);
    assert_eq!(read(&engine, &schema, 5).unwrap().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_is_stopped_leaves_everything_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(Options::new(data.path()), 4).await;
    let before = files(data.path(), TABLET);
    let stop = Stop::default();
    stop.stop();
    assert!(matches!(engine.compact(TABLET, &stop), Err(Error::Stopped(TABLET))));
    assert_eq!((files(data.path(), TABLET), newest(&engine).rowsets), (before, 4));
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_waits_for_the_compaction_of_a_crowded_tablet() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(Options { crowded_rowsets: 3, ..Options::new(data.path()) }, 3).await;
    let schema = schema(TableModel::Aggregate);
    let rows = vec![[Some(1); 6]];
    load(&engine, &schema, 5, std::slice::from_ref(&rows)).await.unwrap();
    publish(&engine, 5, TABLET, 5).unwrap();
    drop(engine.take_changed());
    let batches = [rows];
    let waiting = load(&engine, &schema, 6, &batches);
    tokio::pin!(waiting);
    // It wakes who compacts, and goes on when that is done.
    let changed = async {
        loop {
            engine.changed().await;
            if engine.take_changed().contains(&TABLET) {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        done = &mut waiting => panic!("the load did not wait: {done:?}"),
        () = changed => {}
    }
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
    waiting.await.unwrap();
    publish(&engine, 6, TABLET, 6).unwrap();
    assert_eq!(newest(&engine).rowsets, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_into_a_crowded_tablet_succeeds_without_compaction() {
    let data = tempfile::tempdir().unwrap();
    let wait = Duration::from_millis(1);
    let engine = loaded(Options { crowded_rowsets: 3, crowded_wait: wait, ..Options::new(data.path()) }, 6).await;
    assert_eq!(newest(&engine).rowsets, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_a_rowset_that_is_gone_is_not_found_and_one_keeps_it() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(Options { retention: RETENTION, ..Options::new(data.path()) }, 4).await;
    let old = manifest(&engine, TABLET, 4).unwrap();
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
    let file = file_of(TABLET, &old.rowsets[0], &old.rowsets[0].segments[0]);
    let read = || engine.read_ranges(file, std::slice::from_ref(&(0..10)));
    let start = Instant::now();
    assert_eq!(engine.remove_superseded(start).unwrap(), 0);
    read().unwrap();
    assert_eq!(engine.remove_superseded(start + RETENTION).unwrap(), 0, "it was read");
    assert_eq!(manifest(&engine, TABLET, 4).unwrap(), old);
    assert_eq!(engine.remove_superseded(start + 2 * RETENTION).unwrap(), 0, "who asks for it will read it");
    assert_eq!(engine.remove_superseded(start + 3 * RETENTION).unwrap(), 4);
    let gone = read().unwrap_err();
    assert!(matches!(gone, Error::UnknownSegment { .. }), "{gone}");
    assert_eq!(gone.kind(), tarn_proto::ErrorKind::NotFound);
    let gone = manifest(&engine, TABLET, 4).unwrap_err();
    assert_eq!(
        (gone.kind(), gone.to_string().contains("from v5 on")),
        (tarn_proto::ErrorKind::NotFound, true),
        "{gone}"
    );
    let output = manifest(&engine, TABLET, 5).unwrap();
    assert_eq!(output.rowsets.len(), 1);
    assert_eq!(files(data.path(), TABLET).len(), 2 * output.rowsets[0].segments.len());
}
