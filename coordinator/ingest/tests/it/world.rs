//! A catalog without Raft and storage nodes without disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tarn_catalog::command::{CaughtUp, PartitionSpec, Placement, TableSpec};
use tarn_catalog::{
    Catalog, Command, Context, Distribution, Operation, Partitioning, ReplicaState, Response, Role, Table,
    TransactionState,
};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::storage::{CatchUp, Peer, StorePool, TabletStore};
use tarn_proto::{
    Column, ColumnId, DataType, DatabaseId, ErrorKind, NodeId, SchemaVersion, TableId, TableModel, TableSchema,
    TabletId, TxnId, Version,
};
use tokio::sync::{Notify, watch};

use super::disk::{Disk, Network};

/// What happens to one proposal.
pub enum Fault {
    /// It does not arrive.
    Lost,
    /// It is applied, and its answer is lost.
    Unanswered,
    /// It is applied when the second is told; the first is told when it waits.
    Held(Arc<Notify>, Arc<Notify>),
}

/// Whether a proposal is of a kind.
pub type OfKind = fn(&Operation) -> bool;

/// What a version of a tablet brings: a transaction, if it wrote to it.
type Brought = BTreeMap<(TabletId, Version), Option<TxnId>>;

/// The catalog's state machine behind a mutex, over storage nodes in memory. After each change it is checked that every
/// replica that queries may read has what they would look for.
pub struct World {
    /// What happens to the next proposal of a kind, oldest first.
    pub faults: Mutex<Vec<(OfKind, Fault)>>,
    catalog: Mutex<Catalog>,
    index: watch::Sender<u64>,
    requests: AtomicU64,
    pub nodes: Vec<NodeId>,
    /// Nodes whose heartbeats do not come.
    pub silent: Mutex<BTreeSet<NodeId>>,
    pub network: Arc<Network>,
    /// The first node's.
    pub disk: Arc<Disk>,
    brought: Mutex<Brought>,
}

impl World {
    pub fn new() -> Arc<Self> {
        Self::of(1)
    }

    /// With so many storage nodes, all of which hold every tablet.
    pub fn of(nodes: u64) -> Arc<Self> {
        let nodes: Vec<NodeId> = (0..nodes).map(|number| NodeId(5000 + number)).collect();
        let network = Arc::new(Network::default());
        nodes.iter().for_each(|node| drop(network.add(*node)));
        let world = Arc::new(Self {
            faults: Mutex::default(),
            catalog: Mutex::default(),
            index: watch::channel(0).0,
            requests: AtomicU64::new(1),
            silent: Mutex::default(),
            disk: network.disk(nodes[0]),
            nodes,
            network,
            brought: Mutex::default(),
        });
        for node in &world.nodes {
            let (role, address) = (Role::Storage, address(*node));
            world.apply(Operation::RegisterNode { role, address, node_id: Some(*node) }).unwrap();
        }
        world
    }

    pub fn stores(&self) -> StorePool {
        let pool = StorePool::default();
        self.nodes.iter().for_each(|node| pool.insert(&address(*node), self.network.disk(*node)));
        pool
    }

    pub fn apply(&self, operation: Operation) -> std::result::Result<Response, ProposeError> {
        let request_id = u128::from(self.requests.fetch_add(1, Ordering::Relaxed));
        let command = Command { request_id, operation };
        let response = {
            let mut catalog = self.catalog.lock();
            let response = catalog.apply(&command, &Context { now_ms: 1_000 });
            self.check(&catalog);
            response
        };
        self.index.send_modify(|i| *i += 1);
        match response {
            Response::Refused(error) => Err(ProposeError { kind: error.kind(), message: error.to_string() }),
            response => Ok(response),
        }
    }

    /// A database and the table `t (k int, d date)` in it, hashed over `k`.
    pub fn table(
        &self,
        partitioning: Partitioning,
        partitions: Vec<PartitionSpec>,
        buckets: u32,
    ) -> (DatabaseId, TableId) {
        let create = Operation::CreateDatabase { name: "db".into(), if_not_exists: true };
        let Ok(Response::Database(database)) = self.apply(create) else { panic!("no database") };
        let column = |id, name: &str, data_type| Column {
            id: ColumnId(id),
            name: name.into(),
            data_type,
            nullable: true,
            aggregation: None,
            initial: None,
        };
        let table = TableSpec {
            name: "t".into(),
            schema: TableSchema {
                model: TableModel::Duplicate,
                keys: vec![ColumnId(1)],
                version: SchemaVersion(1),
                columns: vec![column(1, "k", DataType::Int), column(2, "d", DataType::Date)],
                sort_key: vec![ColumnId(1)],
                indexes: Vec::new(),
            },
            columns: BTreeMap::new(),
            explicit_sort_key: false,
            partitioning,
            distribution: Distribution { columns: vec![ColumnId(1)], buckets, hash_version: 1 },
            replication: self.nodes.len() as u32,
            colocate_with: None,
            properties: BTreeMap::new(),
            comment: String::new(),
            partitions,
        };
        let create = Operation::CreateTable {
            database,
            table: Box::new(table),
            if_not_exists: false,
            placement: self.nodes.clone().into(),
        };
        match self.apply(create) {
            Ok(Response::Table(table)) => (database, table),
            other => panic!("no table: {other:?}"),
        }
    }

    /// What must hold whenever a query may begin: a quorum of each tablet's members may be read, and each of them has all
    /// visible versions, as they were committed.
    fn check(&self, catalog: &Catalog) {
        let mut brought = self.brought.lock();
        for txn in catalog.committed_transactions() {
            let TransactionState::Committed { writes, versions, .. } = &txn.state else { continue };
            let Some(table) = catalog.table_by_id(txn.table) else { continue };
            for (id, version) in versions {
                for tablet in table.partition_by_id(*id).iter().flat_map(|partition| &partition.tablets) {
                    let wrote = writes.iter().any(|write| write.tablet == tablet.id);
                    brought.insert((tablet.id, *version), wrote.then_some(txn.id));
                }
            }
        }
        for table in catalog.relations.keys().filter_map(|id| catalog.table_by_id(*id)) {
            for partition in table.all_partitions() {
                for tablet in &partition.tablets {
                    assert!(tablet.readable().count() >= tablet.quorum(), "{}: {:?}", tablet.id, tablet.replicas);
                    for replica in tablet.readable() {
                        let history = self.network.disk(replica.node).history(tablet.id);
                        for version in 2..=partition.visible_version.get() {
                            let has = history.get(version as usize - 2).map(|brought| brought.map(|(txn, _)| txn));
                            let wanted = brought.get(&(tablet.id, Version(version))).copied();
                            assert_eq!(has, wanted, "v{version} of {} on {}", tablet.id, replica.node);
                        }
                    }
                }
            }
        }
    }

    /// Brings replicas that are behind up from current ones, as the reconciler of repairs does. Whether any was behind.
    pub async fn repair(&self) -> bool {
        let catalog = self.catalog();
        let mut behind = false;
        for table in catalog.relations.keys().filter_map(|id| catalog.table_by_id(*id)) {
            for partition in table.all_partitions() {
                for tablet in &partition.tablets {
                    let peer = |node| Peer { node, address: address(node) };
                    let sources: Vec<Peer> = tablet.readable().map(|replica| peer(replica.node)).collect();
                    for replica in tablet.replicas.iter().filter(|r| r.state != ReplicaState::Current) {
                        behind = true;
                        let (tablet, node, version) = (tablet.id, replica.node, partition.visible_version);
                        let schema = table.schema.clone();
                        let ask = CatchUp { tablet, schema, version, sources: sources.clone(), repair: false };
                        let Ok(done) = self.network.disk(node).catch_up(&[ask]).await else { continue };
                        let replicas = done.into_iter().map(|(tablet, version)| CaughtUp { tablet, node, version });
                        self.apply(Operation::ReplicasCaughtUp { replicas: replicas.collect() }).unwrap();
                    }
                }
            }
        }
        behind
    }

    pub fn current(&self, table: TableId) -> Arc<Table> {
        self.catalog().table_by_id(table).unwrap().clone()
    }
}

fn address(node: NodeId) -> String {
    format!("{node}:1")
}

#[async_trait]
impl CatalogClient for World {
    async fn propose(&self, operation: Operation) -> std::result::Result<Response, ProposeError> {
        let fault = {
            let mut faults = self.faults.lock();
            faults.iter().position(|(of, _)| of(&operation)).map(|at| faults.remove(at).1)
        };
        let unanswered = || ProposeError { kind: ErrorKind::Unavailable, message: "no answer".into() };
        match fault {
            None => self.apply(operation),
            Some(Fault::Lost) => Err(unanswered()),
            Some(Fault::Unanswered) => self.apply(operation).and(Err(unanswered())),
            Some(Fault::Held(waits, go)) => {
                waits.notify_one();
                go.notified().await;
                self.apply(operation)
            }
        }
    }

    fn catalog(&self) -> Catalog {
        self.catalog.lock().clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    fn placement(&self) -> Placement {
        self.nodes.clone().into()
    }

    fn is_alive(&self, node: NodeId) -> bool {
        !self.silent.lock().contains(&node)
    }
}
