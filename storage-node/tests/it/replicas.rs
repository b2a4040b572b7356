//! Several storage nodes of one cluster, over gRPC: loads that some of them miss, and how they catch up.

mod kill;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tarn_proto::storage::{CatchUp, Copies, FileKey, GrpcTabletStore, LoadSpec, Peer, SegmentKey, TabletStore};
use tarn_proto::wire::RowsetSummary;
use tarn_proto::{ErrorKind, NodeId, RowsetId, TabletId, TxnId, Version};
use tarn_storage_node::{Config, StorageNode};
use tokio::net::TcpListener;

use crate::contract::{publish_of, unpublished};
use crate::coordinator::Registry;
use crate::read_back::{arrivals, manifest};
use crate::rows::{Random, batch, plain_table};

const TABLET: TabletId = TabletId(7);

/// A node and its settings.
struct Replica {
    node: Option<StorageNode>,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Replica {
    async fn start(registry: &Registry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            data: folder.path().join("data"),
            listen: "127.0.0.1:0".parse().unwrap(),
            coordinators: vec![registry.serve().await],
            replication_wait_secs: 5,
            clone_bytes_per_second: 0,
            scrub_period_secs: 0,
            ..Config::default()
        };
        let node = StorageNode::start(config.clone()).await.unwrap();
        // It comes back at the same address.
        let config = Config { listen: node.address().parse().unwrap(), ..config };
        Self { node: Some(node), config, _folder: folder }
    }

    fn node(&self) -> &StorageNode {
        self.node.as_ref().unwrap()
    }

    fn peer(&self) -> Peer {
        Peer { node: self.node().node_id(), address: self.node().address().to_owned() }
    }

    fn store(&self) -> Arc<dyn TabletStore> {
        Arc::new(GrpcTabletStore::new(&self.config.listen.to_string()).unwrap())
    }

    async fn stop(&mut self) {
        self.node.take().unwrap().shutdown().await;
    }

    async fn resume(&mut self) {
        self.node = Some(StorageNode::start(self.config.clone()).await.unwrap());
    }
}

async fn cluster() -> [Replica; 3] {
    let registry = Registry::default();
    let replicas = [Replica::start(&registry).await, Replica::start(&registry).await, Replica::start(&registry).await];
    for replica in &replicas {
        replica.store().create_tablets(&plain_table(), &[TABLET]).await.unwrap();
    }
    replicas
}

fn copies(voters: &[Peer], need: u32) -> BTreeMap<TabletId, Copies> {
    BTreeMap::from([(TABLET, Copies { voters: voters.to_vec(), others: Vec::new(), need })])
}

/// Writes ten rows under a transaction, numbered from ten times its number.
async fn load(
    store: &dyn TabletStore,
    txn: u64,
    copies: &BTreeMap<TabletId, Copies>,
) -> tarn_proto::storage::Result<Vec<RowsetSummary>> {
    let mut writer = store.write(TxnId(txn), "a", &LoadSpec::rows(plain_table())).await?;
    writer.write(TABLET, batch(&plain_table(), 10 * txn as i64, 10, &mut Random(txn))).await?;
    writer.finish(copies).await
}

fn wanted(version: u64, sources: &[Peer]) -> CatchUp {
    let (schema, version, sources) = (plain_table(), Version(version), sources.to_vec());
    CatchUp { tablet: TABLET, schema, version, sources, repair: true }
}

/// Asks until the replica is there, for twenty seconds at most.
async fn catch_up(store: &dyn TabletStore, version: u64, sources: &[Peer]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.catch_up(&[wanted(version, sources)]).await.unwrap() != [(TABLET, Version(version))] {
        assert!(Instant::now() < deadline, "the replica does not catch up");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_on_all_replicas_and_goes_on_without_one_that_is_away() {
    let mut replicas = cluster().await;
    let peers: Vec<Peer> = replicas.iter().map(Replica::peer).collect();
    let ids: Vec<u64> = peers.iter().map(|peer| peer.node.get()).collect();
    let primary = replicas[0].store();
    let rowsets = load(&*primary, 2, &copies(&peers[1..], 2)).await.unwrap();
    assert_eq!(rowsets[0].holders, ids, "the others are waited for, if they are as fast");
    for replica in &replicas {
        assert_eq!(unpublished(&*replica.store(), 2, publish_of(TABLET, 2, true)).await, None);
    }

    replicas[2].stop().await;
    for txn in 3..6 {
        let rowsets = load(&*primary, txn, &copies(&peers[1..], 2)).await.unwrap();
        assert_eq!(rowsets[0].holders, ids[..2]);
        for replica in &replicas[..2] {
            assert_eq!(unpublished(&*replica.store(), txn, publish_of(TABLET, txn, true)).await, None);
        }
    }

    replicas[2].resume().await;
    let late = replicas[2].store();
    let reason = unpublished(&*late, 5, publish_of(TABLET, 5, true)).await.unwrap();
    assert!(reason.contains("v5 is not next"), "{reason}");
    // The first source does not answer.
    let away = Peer { node: NodeId(9), address: "127.0.0.1:1".to_owned() };
    catch_up(&*late, 5, &[away, peers[1].clone()]).await;
    let expected = primary.checksum(TABLET, Version(5)).await.unwrap();
    assert_eq!(expected.rows, 40);
    assert_eq!(late.checksum(TABLET, Version(5)).await.unwrap(), expected);
    assert_eq!(arrivals(&*late, &plain_table(), TABLET, 5).await, (20..60).collect::<Vec<_>>());

    // A tablet that is not there is made.
    late.drop_tablets(&[TABLET]).await.unwrap();
    catch_up(&*late, 5, &peers[..1]).await;
    assert_eq!(late.checksum(TABLET, Version(5)).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_does_not_hold_up_a_load_and_too_few_holders_fail_it_by_name() {
    let replicas = cluster().await;
    // It takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Peer { node: NodeId(77), address: listener.local_addr().unwrap().to_string() };
    let primary = replicas[0].store();
    let peers = [replicas[1].peer(), silent.clone()];
    let rowsets = load(&*primary, 2, &copies(&peers, 2)).await.unwrap();
    assert_eq!(rowsets[0].holders, [replicas[0].node().node_id().get(), replicas[1].node().node_id().get()]);

    let refused = load(&*primary, 3, &copies(&peers, 3)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    assert!(refused.message.contains("tablet t7") && refused.message.contains("n77"), "{refused}");
    // What was shipped goes with the transaction.
    for replica in &replicas {
        replica.store().abort(TxnId(3)).await.unwrap();
        assert!(!replica.store().pending().await.unwrap().contains(&TxnId(3)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_reported_and_comes_from_another_replica() {
    let replicas = cluster().await;
    let peers: Vec<Peer> = replicas.iter().map(Replica::peer).collect();
    load(&*replicas[0].store(), 2, &copies(&peers[1..], 3)).await.unwrap();
    for replica in &replicas {
        assert_eq!(unpublished(&*replica.store(), 2, publish_of(TABLET, 2, true)).await, None);
    }
    let file = replicas[2].config.data.join("tablets/7/2_0.vortex");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[10] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let store = replicas[2].store();
    let key = SegmentKey { tablet: TABLET, rowset: RowsetId(2), segment: 0 };
    let checksum = manifest(&*store, TABLET, 2).await.unwrap().rowsets[0].segments[0].checksum;
    let error =
        store.read_ranges(FileKey { segment: key, checksum }, std::slice::from_ref(&(0..64))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal, "{error}");
    assert_eq!(store.tablets().await.unwrap()[0].damaged_rowsets, 1);
    catch_up(&*store, 2, &peers[..2]).await;
    assert_eq!(store.tablets().await.unwrap()[0].damaged_rowsets, 0);
    let expected = replicas[0].store().checksum(TABLET, Version(2)).await.unwrap();
    assert_eq!(store.checksum(TABLET, Version(2)).await.unwrap(), expected);
}
