//! Tablets with several replicas: one that fails is replaced by another, or the query is told how to begin anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::prelude::{SessionConfig, SessionContext};
use tarn_proto::storage::{Peer, SegmentKey, StorePool};
use tarn_proto::{NodeId, RowsetId, TabletId};
use tarn_scan::{Again, CacheConfig, Failure, ScanContext, TabletScan};

use crate::fixture::{FakeStore, Fixture, Table, answer, rows};

/// Reads all columns of all rows.
const ALL: &str = "select * from things";

/// The fixture's tablets on three nodes, of which the first is read.
struct Replicated {
    stores: Vec<Arc<FakeStore>>,
    pool: StorePool,
    spec: TabletScan,
    expected: Vec<String>,
}

const fn node(number: usize) -> NodeId {
    NodeId(1001 + number as u64)
}

impl Replicated {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let expected = answer(&fixture.session(SessionConfig::new()), "select * from expected").await.unwrap();
        let pool = StorePool::default();
        let mut stores = Vec::new();
        let mut peers = Vec::new();
        for number in 0..3 {
            let (store, address) = (Arc::new(fixture.store.copied()), format!("{}:1", node(number)));
            pool.insert(&address, store.clone());
            peers.push(Peer { node: node(number), address });
            stores.push(store);
        }
        let mut spec = fixture.spec.clone();
        spec.partitions.iter_mut().flatten().for_each(|read| read.replicas = peers.clone().into());
        Self { stores, pool, spec, expected }
    }

    /// A process that has read nothing yet.
    async fn context(&self) -> Arc<ScanContext> {
        let cache = CacheConfig { memory_bytes: 64 << 20, ..CacheConfig::default() };
        ScanContext::new(self.pool.clone(), cache).await.unwrap()
    }

    fn session(&self, context: &Arc<ScanContext>, without: Option<NodeId>) -> SessionContext {
        let mut spec = self.spec.clone();
        for read in spec.partitions.iter_mut().flatten() {
            read.replicas = read.replicas.iter().filter(|peer| Some(peer.node) != without).cloned().collect();
        }
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        session.register_table("things", Arc::new(Table { context: context.clone(), spec })).unwrap();
        session
    }

    /// Compacts tablet 1 on a node: the same rows in a rowset of another name.
    async fn compact(&self, number: usize) {
        let store = &self.stores[number];
        let live = arrow::compute::concat_batches(
            &rows(0..1).schema(),
            &[rows(0..70_000), {
                let deleted = |row: u32| row % 7 == 3 || (1000..4000).contains(&row);
                let live: arrow::array::BooleanArray = (0..30_000u32).map(|row| Some(!deleted(row))).collect();
                arrow::compute::filter_record_batch(&rows(70_000..100_000), &live).unwrap()
            }],
        )
        .unwrap();
        store.forget(1);
        store.add(1, 1 << 63 | number as u64, 0, &live, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_answer_or_lacks_the_version_is_skipped() {
    let replicated = Replicated::new().await;
    replicated.stores[0].away.store(true, Ordering::SeqCst);
    // One of the second's two tablets is not there; the other one is read there all the same.
    replicated.stores[1].forget(1);
    let context = replicated.context().await;
    let session = replicated.session(&context, None);
    assert_eq!(answer(&session, ALL).await.unwrap(), replicated.expected);
    assert!(replicated.stores[1].bytes_read.load(Ordering::Relaxed) > 0);
    assert!(replicated.stores[2].bytes_read.load(Ordering::Relaxed) > 0);
    assert_eq!(replicated.stores[0].manifest_calls.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_failing_is_told_with_tablet_and_node() {
    let replicated = Replicated::new().await;
    replicated.stores.iter().for_each(|store| store.away.store(true, Ordering::SeqCst));
    let context = replicated.context().await;
    let error = replicated.session(&context, None).sql(ALL).await.unwrap().collect().await.unwrap_err();
    let failure = Failure::of(&error).unwrap();
    assert!(failure.message.contains("cannot read t") && failure.message.contains("does not answer"), "{failure:?}");
    assert_eq!(failure.again, Some(Again::Without(node(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lost_while_it_is_read_is_replaced_where_files_are_equal() {
    let replicated = Replicated::new().await;
    for reads in 1..=4 {
        let first = &replicated.stores[0];
        first.away.store(false, Ordering::SeqCst);
        first.reads_left.store(reads, Ordering::SeqCst);
        let context = replicated.context().await;
        assert_eq!(answer(&replicated.session(&context, None), ALL).await.unwrap(), replicated.expected, "{reads}");
        assert!(first.away.load(Ordering::SeqCst), "it was lost after {reads} reads");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_replicas_are_never_mixed() {
    let replicated = Replicated::new().await;
    replicated.compact(1).await;
    replicated.compact(2).await;
    let mut again = 0;
    for reads in 1..=4 {
        let first = &replicated.stores[0];
        first.away.store(false, Ordering::SeqCst);
        first.reads_left.store(reads, Ordering::SeqCst);
        let context = replicated.context().await;
        match replicated.session(&context, None).sql(ALL).await.unwrap().collect().await {
            // What is only on the first replica had been read.
            Ok(batches) => assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), replicated.expected.len()),
            Err(error) => {
                assert_eq!(
                    Failure::of(&error).and_then(|failure| failure.again),
                    Some(Again::Without(node(0))),
                    "{error}"
                );
                again += 1;
            }
        }
        // As the coordinator runs it again, in the same process.
        let session = replicated.session(&context, Some(node(0)));
        assert_eq!(answer(&session, ALL).await.unwrap(), replicated.expected, "{reads}");
    }
    assert!(again > 0, "the tablet was always read before its node was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_same_name_and_other_bytes_is_not_taken_for_the_same() {
    let replicated = Replicated::new().await;
    for store in &replicated.stores[1..] {
        store.change_manifest(1, |manifest| manifest.rowsets.iter_mut().for_each(|r| r.segments[0].checksum += 77));
    }
    replicated.stores[0].reads_left.store(1, Ordering::SeqCst);
    let context = replicated.context().await;
    let error = replicated.session(&context, None).sql(ALL).await.unwrap().collect().await.unwrap_err();
    assert_eq!(Failure::of(&error).and_then(|failure| failure.again), Some(Again::Without(node(0))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_file_is_read_from_another_replica() {
    let replicated = Replicated::new().await;
    let key = |rowset| SegmentKey { tablet: TabletId(1), rowset: RowsetId(rowset), segment: 0 };
    replicated.stores[0].damaged.lock().insert(key(10));
    replicated.stores[0].gone.lock().insert(key(11));
    let context = replicated.context().await;
    assert_eq!(answer(&replicated.session(&context, None), ALL).await.unwrap(), replicated.expected);
    assert!(replicated.stores[1].bytes_read.load(Ordering::Relaxed) > 0);
}
