//! What is written comes back, sorted, whichever way it went in and out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunConfig, TestCaseError, TestRunner};
use tarn_proto::storage::{LoadSpec, PublishTablet, TabletStore};
use tarn_proto::{TableSchema, TabletId, TxnId, Version};

use crate::node::Node;
use crate::read_back::{by_arrival, manifest, rowset_rows, sorted};
use crate::rows::{Random, arrow_schema, batch, table};

/// Writes the batches to a new tablet, publishes them, and returns the tablet.
async fn load(store: &dyn TabletStore, schema: &TableSchema, id: u64, batches: &[RecordBatch]) -> TabletId {
    let (tablet, txn) = (TabletId(id), TxnId(id));
    store.create_tablets(schema, &[tablet]).await.unwrap();
    let mut writer = store.write(txn, "only", &LoadSpec::rows(schema.clone())).await.unwrap();
    for rows in batches {
        writer.write(tablet, rows.clone()).await.unwrap();
    }
    let summaries = writer.finish(&BTreeMap::new()).await.unwrap();
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0].rows, batches.iter().map(|b| b.num_rows() as u64).sum::<u64>());
    store.publish(txn, &[PublishTablet { tablet, version: Version(2), has_rowset: true }]).await.unwrap();
    tablet
}

async fn check(
    stores: &[(&str, Arc<dyn TabletStore>)],
    next: &AtomicU64,
    schema: &TableSchema,
    sizes: &[usize],
    seed: u64,
) -> Result<(), TestCaseError> {
    let mut random = Random(seed);
    let mut first = 0;
    let batches: Vec<RecordBatch> = sizes
        .iter()
        .map(|rows| {
            first += *rows as i64;
            batch(schema, first - *rows as i64, *rows, &mut random)
        })
        .collect();
    let arrow = arrow_schema(schema);
    let input = concat_batches(&arrow, &batches).unwrap();
    for (by, writer) in stores {
        let tablet = load(writer.as_ref(), schema, next.fetch_add(1, Ordering::SeqCst), &batches).await;
        let mut manifests = Vec::new();
        for (_, reader) in stores {
            let manifest = manifest(reader.as_ref(), tablet, 2).await.unwrap();
            prop_assert_eq!(manifest.rowsets.len(), 1);
            let segments = rowset_rows(reader.as_ref(), schema, tablet, &manifest.rowsets[0]).await.unwrap();
            for rows in &segments {
                prop_assert_eq!(&sorted(schema, rows), rows, "a segment written {} is out of order", by);
            }
            let output = concat_batches(&arrow, &segments).unwrap();
            prop_assert_eq!(&by_arrival(&output), &input, "written {}", by);
            manifests.push(manifest);
        }
        prop_assert_eq!(&manifests[0], &manifests[1]);
    }
    Ok(())
}

fn run(cases: u32, segment_bytes: u64, most_rows: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let node = runtime.block_on(Node::with(|config| {
        config.segment_bytes = segment_bytes;
        config.write_buffer_bytes = 4 * segment_bytes;
    }));
    let stores = {
        // A lazy connection starts a task.
        let _context = runtime.enter();
        node.stores()
    };
    let next = AtomicU64::new(1);
    let loads = (table(), prop::collection::vec(1..most_rows, 1..5), any::<u64>());
    let mut runner = TestRunner::new(RunConfig { cases, failure_persistence: None, ..RunConfig::default() });
    runner.run(&loads, |(schema, sizes, seed)| runtime.block_on(check(&stores, &next, &schema, &sizes, seed))).unwrap();
    runtime.block_on(node.node.shutdown());
}

#[test]
fn rows_of_all_types_come_back_sorted_from_one_segment() {
    run(48, 64 << 20, 300);
}

#[test]
fn rows_of_all_types_come_back_from_many_segments_under_a_small_write_buffer() {
    run(48, 8 << 10, 200);
}
