//! Rounds over a real catalog and storage nodes that remember which version of a tablet they have.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tarn_catalog::command::{AddReplica, Placement, TableSpec};
use tarn_catalog::{Command, Context, ReplicaState, Role, Tablet, TabletWrite, TransactionState};
use tarn_ingest::catalog::ProposeError;
use tarn_proto::storage::{
    CatchUp, FileKey, LoadSpec, PublishTablet, Result as StoreResult, RowsetWriter, StoreError, TabletStore,
    Unpublished,
};
use tarn_proto::wire::{HeartbeatRequest, Manifest, TabletReport};
use tarn_proto::{DatabaseId, ErrorKind, RowsetId, TableId, TableSchema, TxnId, Version};
use tokio::sync::watch;

use super::*;
use crate::ddl::spec_of;

const LOST_AFTER: Duration = Duration::from_secs(600);

/// A storage node that fills a replica when it is asked for it the second time.
#[derive(Default)]
struct Store {
    versions: Mutex<BTreeMap<TabletId, Version>>,
    asked: Mutex<Vec<CatchUp>>,
    damaged: Mutex<BTreeSet<TabletId>>,
}

fn unused<T>() -> StoreResult<T> {
    Err(StoreError { kind: ErrorKind::Invalid, address: "s:1".into(), message: "is not asked for this".into() })
}

#[async_trait]
impl TabletStore for Store {
    async fn create_tablets(&self, _: &TableSchema, tablets: &[TabletId]) -> StoreResult<()> {
        let mut versions = self.versions.lock();
        tablets.iter().for_each(|tablet| {
            versions.entry(*tablet).or_insert(Version::FIRST);
        });
        Ok(())
    }
    async fn drop_tablets(&self, tablets: &[TabletId]) -> StoreResult<()> {
        self.versions.lock().retain(|tablet, _| !tablets.contains(tablet));
        Ok(())
    }
    async fn write(&self, _: TxnId, _: &str, _: &LoadSpec) -> StoreResult<Box<dyn RowsetWriter>> {
        unused()
    }
    async fn publish(&self, _: TxnId, _: &[PublishTablet]) -> StoreResult<Vec<Unpublished>> {
        unused()
    }
    async fn abort(&self, _: TxnId) -> StoreResult<()> {
        unused()
    }
    async fn manifests(&self, _: &[(TabletId, Version)]) -> StoreResult<Vec<Manifest>> {
        unused()
    }
    async fn read_ranges(&self, _: FileKey, _: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        unused()
    }
    async fn catch_up(&self, replicas: &[CatchUp]) -> StoreResult<Vec<(TabletId, Version)>> {
        let mut filled = Vec::new();
        for replica in replicas {
            let mut asked = self.asked.lock();
            let again = asked.iter().any(|earlier| earlier == replica);
            asked.push(replica.clone());
            if again && !replica.sources.is_empty() {
                self.versions.lock().insert(replica.tablet, replica.version);
                self.damaged.lock().remove(&replica.tablet);
                filled.push((replica.tablet, replica.version));
            }
        }
        Ok(filled)
    }
    async fn tablets(&self) -> StoreResult<Vec<TabletReport>> {
        let damaged = self.damaged.lock().clone();
        let versions = self.versions.lock();
        let report = |(tablet, version): (&TabletId, &Version)| TabletReport {
            tablet_id: tablet.get(),
            version: version.get(),
            read_only_reason: if damaged.contains(tablet) { "its disk".to_owned() } else { String::new() },
            ..TabletReport::default()
        };
        Ok(versions.iter().map(report).collect())
    }
}

/// The catalog of a leader.
struct Client {
    catalog: Mutex<(Catalog, u128)>,
    changes: watch::Sender<u64>,
}

#[async_trait]
impl CatalogClient for Client {
    async fn propose(&self, operation: Operation) -> Result<Response, ProposeError> {
        match self.run(operation) {
            Response::Refused(error) => Err(ProposeError { kind: error.kind(), message: error.to_string() }),
            response => Ok(response),
        }
    }
    fn catalog(&self) -> Catalog {
        self.catalog.lock().0.clone()
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    fn placement(&self) -> Placement {
        self.catalog().storage_nodes().map(|node| node.id).collect()
    }
    fn is_alive(&self, _: NodeId) -> bool {
        true
    }
}

impl Client {
    fn run(&self, operation: Operation) -> Response {
        let mut guard = self.catalog.lock();
        let (catalog, requests) = &mut *guard;
        *requests += 1;
        catalog.apply(&Command { request_id: *requests, operation }, &Context { now_ms: 1 })
    }
}

/// A cluster with a table of four tablets, loaded once.
struct World {
    client: Client,
    pool: StorePool,
    stores: BTreeMap<NodeId, Arc<Store>>,
    members: Members,
    silent: BTreeSet<NodeId>,
    now: Instant,
    repair: Repair,
    database: DatabaseId,
    table: TableId,
}

const SETTINGS: Settings = Settings { lost_after: LOST_AFTER, balance: false };

impl World {
    fn new(nodes: usize, replication: u32) -> Self {
        let client = Client { catalog: Mutex::new((Catalog::default(), 0)), changes: watch::channel(0).0 };
        let (pool, now) = (StorePool::default(), Instant::now());
        let mut stores = BTreeMap::new();
        for n in 0..nodes {
            let address = format!("s{n}:1");
            let register = Operation::RegisterNode { role: Role::Storage, address: address.clone(), node_id: None };
            let Response::Node(node) = client.run(register) else { panic!("no node") };
            let store = Arc::new(Store::default());
            pool.insert(&address, store.clone());
            stores.insert(node, store);
        }
        let create = Operation::CreateDatabase { name: "d".to_owned(), if_not_exists: false };
        let Response::Database(database) = client.run(create) else { panic!("no database") };
        let spec = spec_of("create table t (k bigint) duplicate key(k) distributed by hash(k) buckets 4");
        let table = Box::new(TableSpec { replication, ..spec });
        let placement = client.placement();
        let create = Operation::CreateTable { database, table, if_not_exists: false, placement };
        let Response::Table(table) = client.run(create) else { panic!("no table") };
        let members = Members::default();
        let repair = Repair::new(SETTINGS, now);
        let silent = BTreeSet::new();
        let mut world = Self { client, pool, stores, members, silent, now, repair, database, table };
        let txn = world.begin("first");
        world.finish(txn);
        world
    }

    fn begin(&self, label: &str) -> TxnId {
        let (database, label, table) = (self.database, label.to_owned(), self.table);
        let owner = (NodeId(1), "start".to_owned());
        let begin = Operation::BeginTransaction { database, label, table, owner, timeout_ms: 1000 };
        match self.client.run(begin) {
            Response::Begun(txn) => txn,
            other => panic!("not begun: {other:?}"),
        }
    }

    /// Loads all tablets, on all members.
    fn finish(&mut self, txn: TxnId) {
        let write = |tablet: &Tablet| TabletWrite {
            tablet: tablet.id,
            rowset: RowsetId(1),
            rows: 1,
            bytes: 1,
            holders: tablet.members().map(|member| member.node).collect(),
        };
        let writes = self.tablets().iter().map(write).collect();
        let committed = self.client.run(Operation::CommitTransaction { txn, writes });
        assert!(matches!(committed, Response::Committed { .. }), "{committed:?}");
        assert_eq!(self.client.run(Operation::MakeVisible { txn, changed: Vec::new() }), Response::Done);
        let version = self.visible();
        for tablet in self.tablets() {
            for member in tablet.members() {
                self.stores[&member.node].versions.lock().insert(tablet.id, version);
            }
        }
    }

    fn visible(&self) -> Version {
        let catalog = self.client.catalog();
        catalog.table_by_id(self.table).unwrap().partitions.values().next().unwrap().visible_version
    }

    fn tablets(&self) -> Vec<Tablet> {
        let catalog = self.client.catalog();
        catalog.table_by_id(self.table).unwrap().tablets().map(|(_, _, tablet)| tablet.clone()).collect()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.stores.keys().copied().collect()
    }

    /// Heartbeats, then a round, after so many seconds.
    async fn round_after(&mut self, seconds: u64) -> bool {
        self.now += Duration::from_secs(seconds);
        for node in self.nodes().into_iter().filter(|node| !self.silent.contains(node)) {
            self.members.heard(HeartbeatRequest { node_id: node.get(), ..HeartbeatRequest::default() }, self.now);
        }
        self.repair.round(&self.client, &self.pool, &self.members, self.now).await
    }

    /// Rounds until nothing is being filled, with another leader for each if `leaders_change`.
    async fn settle(&mut self, leaders_change: bool) {
        for _ in 0..50 {
            let filling = self.round_after(1).await;
            if !filling && self.replicas().all(|(_, state)| state == ReplicaState::Current) {
                return;
            }
            if leaders_change {
                self.repair = Repair::new(SETTINGS, self.now);
            }
        }
        panic!("not settled: {:?}", self.tablets());
    }

    fn replicas(&self) -> impl Iterator<Item = (NodeId, ReplicaState)> + use<> {
        self.tablets().into_iter().flat_map(|tablet| tablet.replicas).map(|replica| (replica.node, replica.state))
    }

    fn count(&self, node: NodeId) -> usize {
        self.replicas().filter(|(on, _)| *on == node).count()
    }

    /// Every replica that is read has what is visible.
    fn check(&self) {
        let visible = self.visible();
        for tablet in self.tablets() {
            for replica in tablet.readable() {
                assert_eq!(self.stores[&replica.node].versions.lock().get(&tablet.id), Some(&visible), "{tablet:?}");
            }
        }
    }
}

#[tokio::test]
async fn replicas_of_a_lost_node_are_made_elsewhere_whoever_leads() {
    for leaders_change in [false, true] {
        let mut world = World::new(4, 3);
        world.round_after(1).await;
        let lost = world.nodes()[1];
        world.silent.insert(lost);
        let held = world.count(lost);
        assert!(held > 0);
        world.round_after(LOST_AFTER.as_secs() - 1).await;
        assert_eq!(world.count(lost), held, "it may come back");
        world.round_after(2).await;
        world.settle(leaders_change).await;
        assert_eq!(world.count(lost), 0);
        assert!(world.tablets().iter().all(|tablet| tablet.replicas.len() == 3));
        world.check();
        // Its files are dropped when it comes back, and some time has gone by for those who still read them.
        world.silent.clear();
        world.round_after(1).await;
        assert_eq!(world.stores[&lost].versions.lock().len(), held);
        world.round_after(600).await;
        assert!(world.stores[&lost].versions.lock().is_empty());
        assert!(world.client.catalog().dropped_replicas.is_empty());
    }
}

#[tokio::test]
async fn a_drained_node_is_emptied_and_keeps_serving_until_then() {
    let mut world = World::new(3, 1);
    let node = world.nodes()[0];
    let held = world.count(node);
    assert!(held > 0);
    world.client.run(Operation::SetDraining { node, draining: true });
    world.round_after(1).await;
    let serving = world.replicas().filter(|(on, state)| *on == node && *state == ReplicaState::Current).count();
    assert_eq!(serving, held);
    world.settle(true).await;
    assert_eq!(world.count(node), 0);
    world.check();
}

#[tokio::test]
async fn who_lacks_a_version_is_asked_to_fetch_it_from_those_that_have_it() {
    let mut world = World::new(3, 3);
    world.round_after(1).await;
    let tablet = world.tablets()[0].clone();
    let behind = tablet.replicas[0].node;
    world.client.run(Operation::ReplicasBehind { replicas: vec![(tablet.id, behind)] });
    assert!(world.round_after(1).await);
    let asked = world.stores[&behind].asked.lock().clone();
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((asked.tablet, asked.version, asked.repair), (tablet.id, world.visible(), false));
    let sources: BTreeSet<NodeId> = asked.sources.iter().map(|peer| peer.node).collect();
    assert_eq!(sources, tablet.nodes().filter(|node| *node != behind).collect());
    world.settle(false).await;
    world.check();
}

#[tokio::test]
async fn a_replica_that_is_gone_or_damaged_is_not_read_until_it_is_mended() {
    let mut world = World::new(2, 2);
    let [gone, damaged] = [0, 1].map(|n: usize| world.tablets()[n].clone());
    let node = world.nodes()[0];
    world.stores[&node].versions.lock().remove(&gone.id);
    world.stores[&node].damaged.lock().insert(damaged.id);
    assert!(world.round_after(1).await);
    let behind: Vec<TabletId> = world
        .tablets()
        .iter()
        .filter(|tablet| tablet.replica(node).is_some_and(|replica| replica.state == ReplicaState::Behind))
        .map(|tablet| tablet.id)
        .collect();
    assert_eq!(behind, [gone.id, damaged.id]);
    let repairs: BTreeMap<TabletId, bool> =
        world.stores[&node].asked.lock().iter().map(|asked| (asked.tablet, asked.repair)).collect();
    assert_eq!(repairs, BTreeMap::from([(gone.id, false), (damaged.id, true)]));
    world.settle(false).await;
    world.check();
}

#[tokio::test]
async fn a_replica_that_nobody_asked_for_is_dropped_after_a_while() {
    let mut world = World::new(2, 1);
    let tablet = world.tablets()[0].clone();
    let other = world.nodes().into_iter().find(|node| tablet.replica(*node).is_none()).unwrap();
    let unknown = TabletId(9_999);
    world.stores[&other].versions.lock().extend([(tablet.id, Version(2)), (unknown, Version(2))]);
    let has = |world: &World, tablet| world.stores[&other].versions.lock().contains_key(&tablet);
    world.round_after(1).await;
    world.round_after(599).await;
    assert!(has(&world, tablet.id));
    world.round_after(10).await;
    assert!(!has(&world, tablet.id) && has(&world, unknown));
    assert_eq!(world.stores[&tablet.replicas[0].node].versions.lock().get(&tablet.id), Some(&world.visible()));
}

#[tokio::test]
async fn a_damaged_replica_that_is_not_mended_is_made_elsewhere() {
    let mut world = World::new(3, 2);
    let tablet = world.tablets()[0].clone();
    let node = tablet.replicas[0].node;
    // It is damaged again as soon as it is mended.
    for seconds in [1, 100, 100, 101] {
        world.stores[&node].damaged.lock().insert(tablet.id);
        world.stores[&node].asked.lock().clear();
        world.round_after(seconds).await;
    }
    let now = world.tablets()[0].clone();
    assert!(now.replicas.iter().any(|r| r.state == ReplicaState::Joining { replaces: Some(node) }), "{now:?}");
}

#[tokio::test]
async fn the_only_copy_stays_until_loads_that_do_not_know_the_new_one_have_ended() {
    let mut world = World::new(2, 1);
    world.round_after(1).await;
    let (tablet, old) = world.tablets().iter().map(|t| (t.id, t.replicas[0].node)).next().unwrap();
    let new = world.nodes().into_iter().find(|node| *node != old).unwrap();
    let txn = world.begin("long");
    let add = AddReplica { tablet, node: new, replaces: Some(old) };
    world.client.run(Operation::AddReplicas { replicas: vec![add] });
    for _ in 0..4 {
        world.round_after(1).await;
    }
    assert!(world.tablets()[0].replica(old).is_some());
    world.finish(txn);
    assert_eq!(world.client.catalog().transactions[&txn].state.name(), "VISIBLE");
    world.begin("later");
    world.settle(false).await;
    assert!(world.tablets()[0].replica(old).is_none());
    world.check();
    let open = world.client.catalog().transactions.values().filter(|t| t.state == TransactionState::Prepare).count();
    assert_eq!(open, 1);
}
