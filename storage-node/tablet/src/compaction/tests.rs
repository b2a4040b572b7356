//! A crash between any two steps.

use std::path::Path;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tarn_proto::storage::{CompactionScope, FileKey, LoadSpec, PublishTablet, SegmentKey};
use tarn_proto::{TableModel, TableSchema, TxnId, wire};

use super::*;
use crate::Options;
use crate::numbers_table::numbers_table;

const TABLET: TabletId = TabletId(3);
const LOADS: u64 = 4;
const ROWS: i64 = 300;

fn schema() -> TableSchema {
    numbers_table(TableModel::Duplicate, &["k"], 1)
}

fn spec() -> LoadSpec {
    LoadSpec::rows(schema())
}

fn open(data: &Path) -> Arc<Engine> {
    Engine::open(Options { segment_bytes: 1 << 10, ..Options::new(data) }).unwrap()
}

/// An engine whose tablet wants to be compacted.
async fn loaded(data: &Path) -> Arc<Engine> {
    let engine = open(data);
    engine.create_tablets(&schema(), &[TABLET]).unwrap();
    for version in 2..LOADS + 2 {
        let mut writer = engine.begin(TxnId(version), "only", &LoadSpec::rows(schema())).await.unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|key| key * version as i64)));
        writer.write(TABLET, RecordBatch::try_new(schema().to_arrow(), vec![keys]).unwrap()).await.unwrap();
        writer.finish().await.unwrap();
        let request = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
        engine.publish(TxnId(version), &[request]).unwrap();
    }
    engine
}

fn manifest(engine: &Engine, version: u64) -> wire::Manifest {
    engine.manifests(&[(TABLET, Version(version))]).unwrap().remove(0)
}

/// Reads all there is, from verified bytes, and counts rows and rowsets.
fn count(engine: &Engine, version: u64) -> (u64, usize) {
    let manifest = manifest(engine, version);
    let mut rows = 0;
    for rowset in &manifest.rowsets {
        for segment in &rowset.segments {
            let key = SegmentKey { tablet: TABLET, rowset: RowsetId(rowset.id), segment: segment.number };
            let file = FileKey { segment: key, checksum: segment.checksum };
            engine.read_ranges(file, std::slice::from_ref(&(0..segment.bytes))).unwrap();
            rows += segment.rows;
        }
    }
    (rows, manifest.rowsets.len())
}

fn files(data: &Path) -> usize {
    std::fs::read_dir(data.join("tablets").join(TABLET.get().to_string())).unwrap().count()
}

const ALL: u64 = LOADS * ROWS as u64;

fn merge(engine: &Arc<Engine>, job: &Job) -> Result<merge::Merged> {
    engine.merge(job, &Stop::default(), &engine.history.start(job))
}

/// The engine after a process that was killed.
fn after_crash(engine: Arc<Engine>, data: &Path) -> Arc<Engine> {
    let deadline = Instant::now() + Duration::from_secs(10);
    // Tasks of a load that has ended may still hold it.
    while Arc::strong_count(&engine) > 1 {
        assert!(Instant::now() < deadline, "the engine stays open");
        std::thread::yield_now();
    }
    drop(engine);
    open(data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_merge_leaves_the_inputs() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(data.path()).await;
    let before = files(data.path());
    let job = engine.plan(&engine.tablet(TABLET).unwrap()).unwrap();
    let segments = merge(&engine, &job).unwrap().segments;
    assert!(segments.len() > 1, "the output is cut");
    // A process that is killed removes nothing.
    segments.into_iter().for_each(std::mem::forget);
    assert!(files(data.path()) > before);
    let engine = after_crash(engine, data.path());
    assert_eq!(files(data.path()), before);
    assert_eq!(count(&engine, LOADS + 1), (ALL, LOADS as usize));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_naming_leaves_the_inputs() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(data.path()).await;
    let before = files(data.path());
    let job = engine.plan(&engine.tablet(TABLET).unwrap()).unwrap();
    let segments = merge(&engine, &job).unwrap().segments;
    engine.name_output(TABLET, segments).unwrap();
    drop(job);
    let engine = after_crash(engine, data.path());
    assert_eq!(files(data.path()), before);
    assert_eq!(count(&engine, LOADS + 1), (ALL, LOADS as usize));
    // The same number is taken again: no reader has heard of it.
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
    assert_eq!(count(&engine, LOADS + 1), (ALL, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_commit_leaves_the_output_and_older_versions() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(data.path()).await;
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
    let compacted = manifest(&engine, LOADS + 1);
    let engine = after_crash(engine, data.path());
    assert_eq!(manifest(&engine, LOADS + 1), compacted);
    assert_eq!(count(&engine, LOADS + 1), (ALL, 1));
    for version in 1..LOADS + 1 {
        assert_eq!(count(&engine, version), ((version - 1) * ROWS as u64, version as usize - 1));
    }
    // Retention begins anew, and then only the output is left.
    let now = Instant::now();
    assert_eq!(engine.remove_superseded(now).unwrap(), 0);
    assert_eq!(engine.remove_superseded(now + engine.options.retention).unwrap(), LOADS as usize);
    let left = files(data.path());
    let engine = after_crash(engine, data.path());
    assert_eq!((files(data.path()), left), (left, 2 * compacted.rowsets[0].segments.len()));
    let old = engine.manifests(&[(TABLET, Version(LOADS))]).unwrap_err();
    assert!(matches!(old, Error::Superseded { oldest: Version(5), .. }), "{old}");
    assert_eq!(count(&engine, LOADS + 1), (ALL, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_published_while_a_compaction_runs_stays_apart() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(data.path()).await;
    let job = engine.plan(&engine.tablet(TABLET).unwrap()).unwrap();
    let merged = merge(&engine, &job).unwrap();
    let version = LOADS + 2;
    let mut writer = engine.begin(TxnId(version), "only", &LoadSpec::rows(schema())).await.unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7));
    writer.write(TABLET, RecordBatch::try_new(schema().to_arrow(), vec![keys]).unwrap()).await.unwrap();
    writer.finish().await.unwrap();
    let request = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
    engine.publish(TxnId(version), &[request]).unwrap();
    let before = manifest(&engine, LOADS + 1);
    engine.commit_compaction(&job, merged, &Stop::default()).unwrap();
    assert_eq!(manifest(&engine, LOADS + 1), before, "a published manifest does not change once a newer one is there");
    assert_eq!(count(&engine, version), (ALL + 7, 2));
    let newest = manifest(&engine, version);
    assert_eq!(newest.rowsets.iter().map(|r| r.version).collect::<Vec<_>>(), [LOADS + 1, version]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_is_done_and_told() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(data.path()).await;
    while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {}
    let done = engine.compactions();
    assert!(done.iter().all(|report| !report.manual && report.state() == wire::CompactionState::Finished), "{done:?}");
    assert_eq!((done[0].rowsets, done[0].rows, done[0].rows_out), (LOADS, ALL, ALL));
    assert!(done[0].started_unix_ms > 0 && done[0].finished_unix_ms >= done[0].started_unix_ms);
    // Two rowsets are none too many by the rule.
    let version = LOADS + 2;
    let mut writer = engine.begin(TxnId(version), "only", &spec()).await.unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7));
    writer.write(TABLET, RecordBatch::try_new(schema().to_arrow(), vec![keys]).unwrap()).await.unwrap();
    writer.finish().await.unwrap();
    let request = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
    engine.publish(TxnId(version), &[request]).unwrap();
    assert_eq!(engine.compaction_score(TABLET), None);
    engine.request_compaction(&[TABLET, TabletId(99)], CompactionScope::Recent).unwrap();
    assert_eq!(engine.compaction_score(TABLET), None, "the newer of the two is one run already");
    engine.request_compaction(&[TABLET], CompactionScope::All).unwrap();
    let waits = engine.compactions().remove(0);
    assert_eq!((waits.tablet_id, waits.state(), waits.manual), (3, wire::CompactionState::Pending, true));
    assert_eq!(engine.compaction_score(TABLET), Some(2));
    assert_eq!(engine.compact(TABLET, &Stop::default()).unwrap().map(|done| done.rowsets), Some(2));
    assert_eq!(engine.compact(TABLET, &Stop::default()).unwrap(), None);
    assert_eq!(count(&engine, version), (ALL + 7, 1));
    let told = engine.compactions().remove(0);
    assert!(told.manual && told.rowsets_out == 1 && told.rows_out == ALL + 7, "{told:?}");
}

#[derive(Debug)]
struct Full(std::sync::atomic::AtomicBool);

impl crate::DiskMeter for Full {
    fn measure(&self) -> std::io::Result<tarn_proto::machine::Space> {
        let used = if self.0.load(Ordering::Relaxed) { 96 << 30 } else { 0 };
        Ok(tarn_proto::machine::Space { used, total: 100 << 30 })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_rows_and_no_compaction_until_it_has_room() {
    let data = tempfile::tempdir().unwrap();
    let disk = Arc::new(Full(false.into()));
    drop(after_crash(loaded(data.path()).await, data.path()));
    let engine = Engine::open(Options { disk_meter: Some(disk.clone()), ..Options::new(data.path()) }).unwrap();
    disk.0.store(true, Ordering::Relaxed);
    assert_eq!(engine.disk_level(), crate::DiskLevel::Full);
    let refused = engine.compact(TABLET, &Stop::default()).unwrap_err();
    assert!(matches!(refused, Error::DiskFull { percent: 96, .. }), "{refused}");
    let told = engine.compactions().remove(0);
    assert_eq!(told.state(), wire::CompactionState::Failed);
    assert!(told.error.contains("96 % full"), "{}", told.error);
    let mut writer = engine.begin(TxnId(50), "only", &spec()).await.unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7));
    let rows = RecordBatch::try_new(schema().to_arrow(), vec![keys]).unwrap();
    let refused = writer.write(TABLET, rows.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), tarn_proto::ErrorKind::Exhausted);
    disk.0.store(false, Ordering::Relaxed);
    writer.write(TABLET, rows).await.unwrap();
    disk.0.store(true, Ordering::Relaxed);
    assert!(matches!(writer.finish().await, Err(Error::DiskFull { .. })), "what it has in memory does not fit");
    disk.0.store(false, Ordering::Relaxed);
    assert_eq!(engine.disk_level(), crate::DiskLevel::Ok);
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some(), "nothing has become read-only");
    assert_eq!(count(&engine, LOADS + 1), (ALL, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_is_compacted_once_at_a_time_and_not_when_it_is_dropped() {
    let data = tempfile::tempdir().unwrap();
    let engine = loaded(data.path()).await;
    let tablet = engine.tablet(TABLET).unwrap();
    let running = Running::start(&tablet).unwrap();
    assert_eq!(engine.compact(TABLET, &Stop::default()).unwrap(), None);
    drop(running);
    let job = engine.plan(&tablet).unwrap();
    engine.drop_tablets(&[TABLET]).unwrap().remove();
    assert!(matches!(merge(&engine, &job), Err(Error::Stopped(TABLET))));
    assert!(matches!(engine.compact(TABLET, &Stop::default()), Err(Error::UnknownTablet(TABLET))));
}
