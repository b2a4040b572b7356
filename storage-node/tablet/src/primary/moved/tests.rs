//! Loads are published between any two steps of a compaction's end, and it may end early at each: every key has the row of its
//! last load, and no two.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;
use proptest::prelude::*;
use tarn_proto::storage::{LoadSpec, PublishTablet};
use tarn_proto::{TableModel, TableSchema, TxnId};
use tokio::runtime::Runtime;

use super::*;
use crate::Options;
use crate::compaction::segment_rows::SegmentRows;
use crate::numbers_table::numbers_table;

const TABLET: TabletId = TabletId(6);

/// Keys and their new values; none deletes.
type Load = Vec<(i64, Option<i64>)>;

fn schema(by_value: bool) -> TableSchema {
    numbers_table(TableModel::PrimaryKey, &["k", "v"], if by_value { 2 } else { 1 })
}

struct World {
    runtime: Runtime,
    schema: TableSchema,
    /// Whether tables of two columns are merged by groups of columns.
    is_wide: bool,
    /// The version and what it holds.
    now: Mutex<(u64, BTreeMap<i64, i64>)>,
}

impl World {
    fn new(by_value: bool, is_wide: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, schema: schema(by_value), is_wide, now: Mutex::new((1, BTreeMap::new())) }
    }

    fn open(&self, data: &Path) -> Arc<Engine> {
        // Outputs of several segments.
        let vertical_columns = if self.is_wide { 1 } else { 32 };
        let engine = Engine::open(Options { segment_bytes: 1 << 10, vertical_columns, ..Options::new(data) }).unwrap();
        engine.create_tablets(&self.schema, &[TABLET]).unwrap();
        engine
    }

    fn load(&self, engine: &Arc<Engine>, rows: &Load) {
        let mut now = self.now.lock();
        let (version, model) = &mut *now;
        *version += 1;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1.unwrap_or_default()))),
            Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| i8::from(row.1.is_none())))),
        ];
        let batch = RecordBatch::try_new(self.schema.to_arrow_with_op(), columns).unwrap();
        self.runtime.block_on(async {
            let spec = LoadSpec::rows(self.schema.clone());
            let mut writer = engine.begin(TxnId(*version), "only", &spec).await.unwrap();
            writer.write(TABLET, batch).await.unwrap();
            writer.finish().await.unwrap();
        });
        let request = PublishTablet { tablet: TABLET, version: Version(*version), has_rowset: true };
        assert!(engine.publish(TxnId(*version), &[request]).unwrap().is_empty());
        for (key, value) in rows {
            match value {
                Some(value) => drop(model.insert(*key, *value)),
                None => drop(model.remove(key)),
            }
        }
    }

    /// The newest version holds what it should, each key once.
    fn check(&self, engine: &Arc<Engine>) {
        let (version, model) = &*self.now.lock();
        let tablet = engine.tablet(TABLET).unwrap();
        assert_eq!(tablet.state.read().version, Version(*version));
        let mut found = BTreeMap::new();
        for (rowset, _, record) in tablet.rowsets_at(Version(*version)).unwrap() {
            for (number, segment) in (0..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0) {
                let vector = engine.delete_vector_at(&tablet, rowset, number, Version(*version)).unwrap();
                let dead = vector.map(|vector| vector.bitmap()).unwrap_or_default();
                let key = SegmentKey { tablet: TABLET, rowset, segment: number };
                let mut rows = SegmentRows::new(&tablet.shape(), key, segment, record.schema_version);
                let mut row = 0;
                while let Some(batch) = rows.next(engine).unwrap() {
                    let column = |i: usize| batch.column(i).as_primitive::<Int64Type>().clone();
                    for (key, value) in column(0).values().iter().zip(column(1).values()) {
                        if !dead.contains(row) {
                            assert_eq!(found.insert(*key, *value), None, "key {key} has two rows");
                        }
                        row += 1;
                    }
                }
            }
        }
        assert_eq!(&found, model);
    }
}

/// Lets `told` know of every step of the compactions of an engine.
fn tell(engine: &Arc<Engine>, told: impl Fn(&Arc<Engine>) + Send + Sync + 'static) {
    let weak = Arc::downgrade(engine);
    *engine.primary.between.lock() = Some(Arc::new(move || {
        if let Some(engine) = weak.upgrade() {
            told(&engine);
        }
    }));
}

fn load() -> impl Strategy<Value = Load> {
    prop::collection::vec((0i64..60, prop::option::weighted(0.8, 0i64..1000)), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn keys_keep_their_last_rows_whatever_is_published_between_the_steps(
        before in prop::collection::vec(load(), 4..8),
        between in prop::collection::vec(load(), 0..12),
        stops_at in prop::option::of(0usize..20),
        forgets_index in prop::option::weighted(0.2, 0usize..20),
        reopens in any::<bool>(),
        after in prop::collection::vec(load(), 1..4),
        by_value in any::<bool>(),
        is_wide in any::<bool>(),
    ) {
        let data = tempfile::tempdir().unwrap();
        let world = Arc::new(World::new(by_value, is_wide));
        let mut engine = world.open(data.path());
        before.iter().for_each(|rows| world.load(&engine, rows));
        engine.request_compaction(&[TABLET], tarn_proto::storage::CompactionScope::All).unwrap();
        let (step, stop) = (AtomicUsize::new(0), Stop::default());
        let (then, ended) = (world.clone(), stop.clone());
        tell(&engine, move |engine| {
            let now = step.fetch_add(1, Ordering::Relaxed);
            if let Some(rows) = between.get(now) {
                then.load(engine, rows);
                then.check(engine);
            }
            if forgets_index == Some(now) {
                engine.primary.reset(&Error::Background("a test")).unwrap();
            }
            if stops_at == Some(now) {
                ended.stop();
            }
        });
        while matches!(engine.compact(TABLET, &stop), Ok(Some(_))) {}
        *engine.primary.between.lock() = None;
        world.check(&engine);
        prop_assert!(engine.primary.moved.lock().is_empty(), "nothing is left to be translated");
        if reopens {
            while Arc::strong_count(&engine) > 1 {
                std::thread::yield_now();
            }
            drop(engine);
            engine = world.open(data.path());
        }
        for rows in &after {
            world.load(&engine, rows);
            world.check(&engine);
        }
        while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {}
        world.check(&engine);
    }
}

#[test]
fn publishes_go_on_between_the_pieces_of_a_large_compaction() {
    let data = tempfile::tempdir().unwrap();
    let world = Arc::new(World::new(false, false));
    let engine = world.open(data.path());
    // As many loads as pieces: fewer than make a tablet crowded, for loads into such a one wait for the compaction.
    let keys = 1000;
    for value in 0..4 {
        world.load(&engine, &(0..keys).map(|key| (key, Some(value))).collect());
    }
    // A compaction that held the commit lock from one step to the next would never come back from a publish in between.
    let (published, entered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, after_commit, then) = (published.clone(), entered.clone(), world.clone());
    tell(&engine, move |engine| {
        let number = count.fetch_add(1, Ordering::Relaxed) as i64;
        if !engine.primary.moved.lock().is_empty() {
            after_commit.fetch_add(1, Ordering::Relaxed);
        }
        then.load(engine, &vec![(number % keys, Some(100)), (keys + number, Some(1)), (7 * number % keys, None)]);
    });
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
    let (published, entered) = (published.load(Ordering::Relaxed), entered.load(Ordering::Relaxed));
    // Each of the pieces, and some before the commit.
    assert!(entered >= keys as usize / PIECE_KEYS, "{entered} of {published}");
    assert!(published > entered, "{entered} of {published}");
    world.check(&engine);
    *engine.primary.between.lock() = None;
    world.load(&engine, &(0..keys).map(|key| (key, Some(8))).collect());
    world.check(&engine);
}
