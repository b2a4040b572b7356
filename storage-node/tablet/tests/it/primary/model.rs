//! Random loads, compactions and mishaps of the index: every version that is kept reads as the map says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tarn_proto::storage::LoadSpec;
use tarn_proto::{DataType, ErrorKind, TxnId};
use tarn_tablet::{Engine, Error, Stop};

use super::*;
use crate::fixture::folder;

#[derive(Clone, Debug)]
enum Step {
    Load(Vec<Vec<Operation>>),
    /// Publishes again what was published.
    Repeat,
    Compact,
    /// Removes what compactions superseded.
    Collect,
    Reopen(Mishap),
}

/// What happens to the index while the node is down.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    None,
    Lost,
    /// It is as it was at the first reopening: its marker is behind.
    Old,
    Damaged,
    /// It is lost and so are the keys of published segments.
    LostWithKeys,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = (0i64..12, prop::option::weighted(0.7, 0i64..1000));
    let batches = prop::collection::vec(prop::collection::vec(operation, 1..8), 1..4);
    let mishap = prop_oneof![
        2 => Just(Mishap::None),
        1 => Just(Mishap::Lost),
        2 => Just(Mishap::Old),
        1 => Just(Mishap::Damaged),
        1 => Just(Mishap::LostWithKeys),
    ];
    let step = prop_oneof![
        8 => batches.prop_map(Step::Load),
        1 => Just(Step::Repeat),
        2 => Just(Step::Compact),
        1 => Just(Step::Collect),
        3 => mishap.prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..24)
}

struct World {
    schema: TableSchema,
    engine: Option<Arc<Engine>>,
    /// What each version holds, from the first on.
    versions: Vec<BTreeMap<i64, i64>>,
    /// A copy of the index.
    copy: Option<tempfile::TempDir>,
    data: tempfile::TempDir,
}

impl World {
    fn new(by_value: bool) -> Self {
        let data = tempfile::tempdir().unwrap();
        let schema = table(by_value);
        let engine = open(data.path());
        engine.create_tablets(&schema, &[TABLET]).unwrap();
        Self { data, schema, engine: Some(engine), versions: vec![BTreeMap::new()], copy: None }
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    fn version(&self) -> u64 {
        self.versions.len() as u64
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Load(batches) => {
                let version = self.version() + 1;
                load(self.engine(), &self.schema, version, batches).await.unwrap();
                let mut rows = self.versions.last().cloned().unwrap_or_default();
                apply(&mut rows, batches);
                self.versions.push(rows);
            }
            Step::Repeat => {
                if self.version() > 1 {
                    publish(self.engine(), self.version(), TABLET, self.version()).unwrap();
                }
            }
            Step::Compact => while self.engine().compact(TABLET, &Stop::default()).unwrap().is_some() {},
            Step::Collect => {
                let start = Instant::now();
                self.engine().remove_superseded(start).unwrap();
                self.engine().remove_superseded(start + Duration::from_secs(1 << 20)).unwrap();
            }
            Step::Reopen(mishap) => {
                drop(self.engine.take());
                self.suffer(*mishap);
                self.engine = Some(open(self.data.path()));
            }
        }
        let report = self.engine().reports().remove(0);
        assert_eq!(report.rows, self.versions[self.versions.len() - 1].len() as u64, "rows of the report");
    }

    fn suffer(&mut self, mishap: Mishap) {
        let index = self.data.path().join("primary");
        match mishap {
            Mishap::None => {}
            Mishap::Lost => drop(fs::remove_dir_all(&index)),
            Mishap::Old => match &self.copy {
                Some(copy) => {
                    drop(fs::remove_dir_all(&index));
                    copy_files(copy.path(), &index);
                }
                None if index.exists() => {
                    let copy = tempfile::tempdir().unwrap();
                    copy_files(&index, copy.path());
                    self.copy = Some(copy);
                }
                None => {}
            },
            Mishap::Damaged => {
                for path in list(&index).into_iter().filter(|p| p.extension().is_some_and(|e| e == "sst")) {
                    let mut bytes = fs::read(&path).unwrap();
                    // The blocks with entries come first.
                    let end = bytes.len().min(200);
                    bytes[..end].iter_mut().for_each(|b| *b ^= 0x55);
                    fs::write(&path, bytes).unwrap();
                }
            }
            Mishap::LostWithKeys => {
                drop(fs::remove_dir_all(&index));
                let keys = |p: &PathBuf| p.extension().is_some_and(|e| e == "keys");
                list(&folder(self.data.path(), TABLET))
                    .iter()
                    .filter(|p| keys(p))
                    .for_each(|p| fs::remove_file(p).unwrap());
            }
        }
    }

    /// Every version that is kept holds what it held.
    async fn check(&self) {
        let mut read = 0;
        for (version, expected) in (1..).zip(&self.versions) {
            match rows(self.engine(), &self.schema, version).await {
                Ok(rows) => {
                    assert_eq!(&rows, expected, "version {version} of {}", self.version());
                    read = version;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Superseded { .. }), "{error}");
                    assert_eq!(read, 0, "version {read} is kept and {version} is not");
                }
            }
        }
        assert_eq!(read, self.version());
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|e| e.unwrap().path()).collect()
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in list(from) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn every_kept_version_reads_as_the_map_says_whatever_happens_to_the_index() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    runner
        .run(&(steps(), any::<bool>()), |(steps, by_value)| {
            runtime.block_on(async {
                let mut world = World::new(by_value);
                for (number, step) in steps.iter().enumerate() {
                    world.step(step).await;
                    if number % 4 == 0 {
                        world.check().await;
                    }
                }
                world.check().await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_go_on_while_a_compaction_runs_and_what_they_replace_stays_replaced() {
    let mut world = World::new(false);
    let all = |value: i64| -> Vec<Operation> { (0..20_000).map(|key| (key, Some(value))).collect() };
    for value in 0..4 {
        world.step(&Step::Load(vec![all(value)])).await;
    }
    let engine = world.engine().clone();
    let compaction = tokio::task::spawn_blocking(move || {
        let mut done = 0;
        while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {
            done += 1;
        }
        done
    });
    for round in 0..30i64 {
        let some = (0..40).map(|i| (round * 31 + i * 401, (i % 3 != 0).then_some(1000 + round))).collect();
        world.step(&Step::Load(vec![some])).await;
    }
    assert!(compaction.await.unwrap() > 0);
    world.check().await;
    // The index is right, too.
    world.step(&Step::Load(vec![all(7)])).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_only_deletes_leaves_nothing_to_read() {
    let mut world = World::new(true);
    world.step(&Step::Load(vec![(0..100).map(|key| (key, Some(key))).collect()])).await;
    world.step(&Step::Load(vec![(0..100).map(|key| (key, None)).collect(), vec![(500, None)]])).await;
    world.check().await;
    let manifest = manifest(world.engine(), TABLET, 3).unwrap();
    assert_eq!(manifest.rowsets.iter().map(|r| r.segments.len()).collect::<Vec<_>>(), [1, 0]);
    world.step(&Step::Reopen(Mishap::Lost)).await;
    world.step(&Step::Load(vec![vec![(7, Some(8))]])).await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_keys_of_a_pending_rowset_keep_it_from_being_published_and_nothing_else() {
    let mut world = World::new(false);
    world.step(&Step::Load(vec![vec![(1, Some(1)), (2, Some(2))]])).await;
    write(world.engine(), &world.schema, 3, &[vec![(1, None), (3, Some(3))]]).await.unwrap();
    let path = folder(world.data.path(), TABLET).join("3_0.keys");
    let good = fs::read(&path).unwrap();
    for damage in [good[..good.len() - 1].to_vec(), {
        let mut bad = good.clone();
        bad[20] ^= 1;
        bad
    }] {
        fs::write(&path, damage).unwrap();
        let error = publish(world.engine(), 3, TABLET, 3).unwrap_err();
        assert!(matches!(&error, Error::Behind { reason, .. } if reason.contains("3_0.keys")), "{error}");
    }
    world.check().await;
    fs::write(&path, good).unwrap();
    publish(world.engine(), 3, TABLET, 3).unwrap();
    world.versions.push(BTreeMap::from([(2, 2), (3, 3)]));
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_too_long_fails_the_load_and_names_the_column() {
    let world = World::new(false);
    let mut writer = world.engine().begin(TxnId(2), "a", &LoadSpec::rows(world.schema.clone())).await.unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from(vec!["\0".repeat(100)])),
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(Int64Array::from(vec![1])),
    ];
    let rows = RecordBatch::try_new(world.schema.to_arrow(), columns).unwrap();
    let error = match writer.write(TABLET, rows).await {
        Ok(()) => writer.finish().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = tarn_proto::error::chain(&error);
    assert!(text.contains("column `g`") && text.contains("128 bytes"), "{text}");
    let mut schema = table(false);
    schema.columns[0].data_type = DataType::Double;
    let error = world.engine().create_tablets(&schema, &[TabletId(77)]).unwrap_err();
    assert!(tarn_proto::error::chain(&error).contains("column `g`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_tablet_leaves_no_entries_behind() {
    let mut world = World::new(false);
    world.step(&Step::Load(vec![vec![(1, Some(1)), (2, Some(2))]])).await;
    world.step(&Step::Load(vec![vec![(1, Some(3))]])).await;
    world.engine().drop_tablets(&[TABLET]).unwrap().remove();
    world.engine().create_tablets(&world.schema, &[TABLET]).unwrap();
    world.versions = vec![BTreeMap::new()];
    world.step(&Step::Load(vec![vec![(1, Some(4)), (9, Some(9))]])).await;
    world.check().await;
    world.step(&Step::Reopen(Mishap::None)).await;
    world.check().await;
}
