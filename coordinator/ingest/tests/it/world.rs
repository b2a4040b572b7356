//! A catalog without Raft and storage nodes without disks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tarn_catalog::command::{PartitionSpec, TableSpec};
use tarn_catalog::{Catalog, Command, Context, Distribution, Operation, Partitioning, Response, Role, Table};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::storage::{PublishTablet, Result, RowsetWriter, SegmentKey, StoreError, StorePool, TabletStore};
use tarn_proto::wire::{Manifest, RowsetSummary, TabletReport};
use tarn_proto::{
    Column, ColumnId, DataType, DatabaseId, ErrorKind, NodeId, SchemaVersion, TableId, TableModel, TableSchema,
    TabletId, TxnId, Version,
};
use tokio::sync::{Notify, watch};

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

/// The catalog's state machine behind a mutex.
pub struct World {
    /// What happens to the next proposal of a kind, oldest first.
    pub faults: Mutex<Vec<(OfKind, Fault)>>,
    catalog: Mutex<Catalog>,
    index: watch::Sender<u64>,
    requests: AtomicU64,
    pub node: NodeId,
    pub disk: Arc<Disk>,
}

impl World {
    pub fn new() -> Arc<Self> {
        let world = Arc::new(Self {
            faults: Mutex::default(),
            catalog: Mutex::default(),
            index: watch::channel(0).0,
            requests: AtomicU64::new(1),
            node: NodeId(5000),
            disk: Arc::default(),
        });
        let register =
            Operation::RegisterNode { role: Role::Storage, address: "127.0.0.1:1".into(), node_id: Some(world.node) };
        world.apply(register).unwrap();
        world
    }

    pub fn stores(&self) -> StorePool {
        StorePool::with_local(self.node, self.disk.clone())
    }

    pub fn apply(&self, operation: Operation) -> std::result::Result<Response, ProposeError> {
        let request_id = u128::from(self.requests.fetch_add(1, Ordering::Relaxed));
        let command = Command { request_id, operation };
        let response = self.catalog.lock().apply(&command, &Context { now_ms: 1_000 });
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
            },
            columns: BTreeMap::new(),
            explicit_sort_key: false,
            partitioning,
            distribution: Distribution { columns: vec![ColumnId(1)], buckets, hash_version: 1 },
            properties: BTreeMap::new(),
            comment: String::new(),
            partitions,
        };
        let create = Operation::CreateTable {
            database,
            table: Box::new(table),
            if_not_exists: false,
            placement: vec![self.node],
        };
        match self.apply(create) {
            Ok(Response::Table(table)) => (database, table),
            other => panic!("no table: {other:?}"),
        }
    }

    pub fn current(&self, table: TableId) -> Arc<Table> {
        self.catalog().table_by_id(table).unwrap().clone()
    }
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

    fn placement(&self) -> Vec<NodeId> {
        vec![self.node]
    }
}

/// A storage node in memory: which rows of which transaction each tablet holds, and which are published.
#[derive(Default)]
pub struct Disk {
    pub published: Mutex<BTreeMap<(TabletId, Version), Option<TxnId>>>,
    pub aborted: Mutex<HashSet<TxnId>>,
    /// Transactions whose rows were kept.
    pub finished: Arc<Mutex<HashSet<TxnId>>>,
    /// Held by every writer.
    pub writers: Arc<()>,
    /// While set, nothing works.
    pub away: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> Result<()> {
        match self.away.load(Ordering::SeqCst) {
            true => {
                Err(StoreError { kind: ErrorKind::Unavailable, address: "in memory".into(), message: "away".into() })
            }
            false => Ok(()),
        }
    }
}

#[async_trait]
impl TabletStore for Disk {
    async fn create_tablets(&self, _: &TableSchema, _: &[TabletId]) -> Result<()> {
        self.check()
    }

    async fn drop_tablets(&self, _: &[TabletId]) -> Result<()> {
        self.check()
    }

    async fn write(&self, txn: TxnId, _: &str, _: &TableSchema) -> Result<Box<dyn RowsetWriter>> {
        self.check()?;
        let (away, finished) = (self.away.clone(), self.finished.clone());
        Ok(Box::new(Writer { txn, rows: HashMap::new(), away, finished, _held: self.writers.clone() }))
    }

    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<()> {
        self.check()?;
        let mut published = self.published.lock();
        for t in tablets {
            let before = (t.tablet, Version(t.version.get() - 1));
            assert!(t.version == Version(2) || published.contains_key(&before), "versions in order");
            published.insert((t.tablet, t.version), t.has_rowset.then_some(txn));
        }
        Ok(())
    }

    async fn abort(&self, txn: TxnId) -> Result<()> {
        self.check()?;
        self.aborted.lock().insert(txn);
        Ok(())
    }

    async fn manifests(&self, _: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        self.check().map(|()| Vec::new())
    }

    async fn read_ranges(&self, _: SegmentKey, _: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.check().map(|()| Vec::new())
    }

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        self.check().map(|()| Vec::new())
    }
}

struct Writer {
    txn: TxnId,
    rows: HashMap<TabletId, u64>,
    away: Arc<AtomicBool>,
    finished: Arc<Mutex<HashSet<TxnId>>>,
    _held: Arc<()>,
}

#[async_trait]
impl RowsetWriter for Writer {
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError {
                kind: ErrorKind::Unavailable,
                address: "in memory".into(),
                message: "went away".into(),
            });
        }
        *self.rows.entry(tablet).or_default() += rows.num_rows() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Vec<RowsetSummary>> {
        self.finished.lock().insert(self.txn);
        let summary = |(tablet, rows): (&TabletId, &u64)| RowsetSummary {
            tablet_id: tablet.get(),
            rowset_id: self.txn.get(),
            rows: *rows,
            bytes: rows * 8,
        };
        Ok(self.rows.iter().map(summary).collect())
    }
}
