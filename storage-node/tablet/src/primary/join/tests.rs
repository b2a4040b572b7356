//! Merging key files and asking the index come to the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int64Array, RecordBatch};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use tarn_proto::storage::{LoadSpec, PublishTablet};
use tarn_proto::{TableModel, TableSchema, TabletId, TxnId, Version};
use tokio::runtime::Runtime;

use super::*;
use crate::Options;
use crate::engine::commit::rowset_of;
use crate::numbers_table::numbers_table;
use crate::primary::Marks;

const TABLET: TabletId = TabletId(6);

/// Keys, and whether each is deleted.
type Load = Vec<(i64, bool)>;

fn schema() -> TableSchema {
    numbers_table(TableModel::PrimaryKey, &["k", "v"], 2)
}

/// Seals a load as transaction and version `version`; batches become segments.
fn seal(runtime: &Runtime, engine: &Arc<Engine>, version: u64, batches: &[Load]) {
    runtime.block_on(async {
        let mut writer = engine.begin(TxnId(version), "only", &LoadSpec::rows(schema())).await.unwrap();
        for rows in batches {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0 * 7919 % 101))),
                Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| i8::from(row.1)))),
            ];
            let batch = RecordBatch::try_new(schema().to_arrow_with_op(), columns).unwrap();
            writer.write(TABLET, batch).await.unwrap();
        }
        writer.finish().await.unwrap();
    });
}

fn publish(engine: &Engine, version: u64) {
    let request = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
    assert!(engine.publish(TxnId(version), &[request]).unwrap().is_empty());
}

/// What a publish makes of these rows.
fn marks(state: &State, rows: Rows) -> Marks {
    let bitmaps = rows.into_iter().map(|(place, rows)| (place, RoaringBitmap::from_iter(rows)));
    Marks::of(state, bitmaps, state.version.next())
}

/// The rows that a sealed load replaces, by a merge and by the index.
fn replaced(engine: &Engine, version: u64) -> (Option<Marks>, Marks) {
    let tablet = engine.tablet(TABLET).unwrap();
    let _commit = tablet.commit.lock();
    let state = tablet.state.read().clone();
    let rowset = rowset_of(TxnId(version));
    let record = state.rowsets[&rowset].clone();
    let joined = engine.join_keys(&tablet, &state, rowset, &record).unwrap();
    let found = engine.with_index(&tablet, &state, |store| engine.look_up(store, &tablet, &state, rowset, &record));
    (joined.map(|rows| marks(&state, rows)), marks(&state, found.unwrap()))
}

fn open() -> (tempfile::TempDir, Arc<Engine>, Runtime) {
    let data = tempfile::tempdir().unwrap();
    // A segment for each batch.
    let engine = Engine::open(Options { segment_bytes: 1, ..Options::new(data.path()) }).unwrap();
    engine.create_tablets(&schema(), &[TABLET]).unwrap();
    (data, engine, tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

#[test]
fn many_keys_are_merged_and_few_are_looked_up() {
    let (_data, engine, runtime) = open();
    seal(&runtime, &engine, 2, &[(0..1000).map(|key| (key, false)).collect()]);
    publish(&engine, 2);
    seal(&runtime, &engine, 3, &[(500..1500).map(|key| (key, key % 2 == 0)).collect()]);
    let (joined, found) = replaced(&engine, 3);
    assert_eq!(joined.unwrap().0, found.0);
    assert_eq!(found.0.values().map(|vector| vector.rows).sum::<u64>(), 500);
    seal(&runtime, &engine, 4, &[vec![(7, false)]]);
    let (joined, found) = replaced(&engine, 4);
    assert!(joined.is_none(), "a load of one row");
    assert_eq!(found.0.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_merge_finds_what_the_index_does(
        before in prop::collection::vec(
            prop::collection::vec(prop::collection::vec((0i64..300, any::<bool>()), 1..60), 1..4), 1..6),
        load in prop::collection::vec(prop::collection::vec((0i64..400, prop::bool::weighted(0.2)), 100..200), 1..4),
    ) {
        let (_data, engine, runtime) = open();
        // Always some rows, in more files than are open at a time.
        for version in 2..8 {
            seal(&runtime, &engine, version, &[vec![(version as i64, false), (300 + version as i64, false)]]);
            publish(&engine, version);
        }
        let mut version = 8;
        for batches in &before {
            seal(&runtime, &engine, version, batches);
            publish(&engine, version);
            version += 1;
        }
        seal(&runtime, &engine, version, &load);
        let (joined, found) = replaced(&engine, version);
        let rows = |marks: &Marks| -> BTreeMap<_, _> {
            marks.0.iter().map(|(place, vector)| (*place, vector.bitmap())).collect()
        };
        let joined = joined.expect("the load has many rows");
        prop_assert_eq!(rows(&joined), rows(&found));
    }
}
