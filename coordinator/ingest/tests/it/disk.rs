//! A storage node in memory: which rows of which transaction its replicas hold, and which are published. Every call may fail,
//! before or after it has done its work.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tarn_proto::storage::{
    CatchUp, Copies, FileKey, LoadSpec, PublishTablet, Result, RowsetWriter, StoreError, TabletStore, Unpublished,
};
use tarn_proto::wire::{Manifest, RowsetSummary, TabletReport};
use tarn_proto::{ErrorKind, NodeId, TableSchema, TabletId, TxnId, Version};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It works.
    None,
    /// It does not arrive.
    Refused,
    /// It is done, and its answer is lost.
    Unanswered,
}

/// All storage nodes.
#[derive(Default)]
pub struct Network(Mutex<BTreeMap<NodeId, Arc<Disk>>>);

impl Network {
    pub fn add(self: &Arc<Self>, node: NodeId) -> Arc<Disk> {
        let disk = Arc::new(Disk {
            node,
            network: self.clone(),
            pending: Mutex::default(),
            tablets: Mutex::default(),
            aborted: Mutex::default(),
            finished: Arc::default(),
            writers: Arc::default(),
            away: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            hanging: AtomicU64::new(0),
            most_hanging: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        self.0.lock().insert(node, disk.clone());
        disk
    }

    pub fn disk(&self, node: NodeId) -> Arc<Disk> {
        self.0.lock().get(&node).expect("the node exists").clone()
    }

    pub fn disks(&self) -> Vec<Arc<Disk>> {
        self.0.lock().values().cloned().collect()
    }
}

/// What the versions of a tablet after the first brought: a transaction with its rows, or nothing.
pub type History = Vec<Option<(TxnId, u64)>>;

/// One storage node.
pub struct Disk {
    pub node: NodeId,
    network: Arc<Network>,
    pending: Mutex<BTreeMap<(TabletId, TxnId), u64>>,
    tablets: Mutex<BTreeMap<TabletId, History>>,
    pub aborted: Mutex<HashSet<TxnId>>,
    /// Transactions whose rows were kept by their primary.
    pub finished: Arc<Mutex<HashSet<TxnId>>>,
    /// Held by every writer.
    pub writers: Arc<()>,
    /// While set, nothing works.
    pub away: AtomicBool,
    /// While set, publishes are not answered.
    pub hangs: AtomicBool,
    /// Publishes that are not answered, and the most at a time.
    pub hanging: AtomicU64,
    pub most_hanging: AtomicU64,
    /// What becomes of the next calls, oldest first.
    pub trouble: Mutex<VecDeque<Trouble>>,
}

impl Disk {
    fn unavailable(&self, message: &str) -> StoreError {
        StoreError { kind: ErrorKind::Unavailable, address: self.node.to_string(), message: message.to_owned() }
    }

    fn check(&self) -> Result<()> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(self.unavailable("is away")),
            false => Ok(()),
        }
    }

    /// Does what a call does, unless something is in its way.
    fn call<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.check()?;
        let trouble = self.trouble.lock().pop_front().unwrap_or(Trouble::None);
        match trouble {
            Trouble::None => Ok(work()),
            Trouble::Refused => Err(self.unavailable("did not hear it")),
            Trouble::Unanswered => {
                work();
                Err(self.unavailable("its answer was lost"))
            }
        }
    }

    /// The versions of a tablet.
    pub fn history(&self, tablet: TabletId) -> History {
        self.tablets.lock().get(&tablet).cloned().unwrap_or_default()
    }

    /// The version that a tablet is at.
    pub fn version(&self, tablet: TabletId) -> Version {
        Version(self.history(tablet).len() as u64 + 1)
    }

    /// Whether it holds rows that are not published.
    pub fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    fn hold(&self, tablet: TabletId, txn: TxnId, rows: u64) {
        self.pending.lock().insert((tablet, txn), rows);
    }

    fn publish_one(&self, txn: TxnId, publish: &PublishTablet) -> Option<Unpublished> {
        let mut tablets = self.tablets.lock();
        let history = tablets.entry(publish.tablet).or_default();
        let unpublished =
            |reason: &str| Some(Unpublished { tablet: publish.tablet, damaged: false, reason: reason.to_owned() });
        let (at, version) = (history.len() as u64 + 1, publish.version.get());
        if at >= version {
            let there = history[version as usize - 2].is_some_and(|(by, _)| by == txn);
            assert_eq!(there, publish.has_rowset, "version {version} of {} is another transaction's", publish.tablet);
            return None;
        }
        if at + 1 != version {
            return unpublished("lacks versions before");
        }
        let rows = self.pending.lock().get(&(publish.tablet, txn)).copied();
        match (publish.has_rowset, rows) {
            (false, _) => history.push(None),
            (true, Some(rows)) => {
                history.push(Some((txn, rows)));
                self.pending.lock().remove(&(publish.tablet, txn));
            }
            (true, None) => return unpublished("lacks the rows"),
        }
        None
    }

    fn catch_up_one(&self, replica: &CatchUp) -> Option<(TabletId, Version)> {
        for source in &replica.sources {
            let source = self.network.disk(source.node);
            if source.check().is_err() || source.version(replica.tablet) < replica.version {
                continue;
            }
            let theirs = source.history(replica.tablet);
            let mut tablets = self.tablets.lock();
            let ours = tablets.entry(replica.tablet).or_default();
            if ours.len() < theirs.len() {
                assert!(theirs.starts_with(ours), "replicas of {} differ", replica.tablet);
                *ours = theirs;
            }
            let published: Vec<TxnId> = ours.iter().flatten().map(|(txn, _)| *txn).collect();
            self.pending.lock().retain(|(tablet, txn), _| *tablet != replica.tablet || !published.contains(txn));
            break;
        }
        let version = self.version(replica.tablet);
        (version >= replica.version).then_some((replica.tablet, version))
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

    async fn write(&self, txn: TxnId, _: &str, _: &LoadSpec) -> Result<Box<dyn RowsetWriter>> {
        let disk = self.network.disk(self.node);
        self.call(|| Box::new(Writer { txn, rows: HashMap::new(), _held: disk.writers.clone(), disk }) as _)
    }

    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<Vec<Unpublished>> {
        if self.hangs.load(Ordering::SeqCst) {
            let now = self.hanging.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_hanging.fetch_max(now, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        self.call(|| tablets.iter().filter_map(|publish| self.publish_one(txn, publish)).collect())
    }

    async fn abort(&self, txn: TxnId) -> Result<()> {
        self.check()?;
        self.pending.lock().retain(|(_, pending), _| *pending != txn);
        self.aborted.lock().insert(txn);
        Ok(())
    }

    async fn catch_up(&self, replicas: &[CatchUp]) -> Result<Vec<(TabletId, Version)>> {
        tokio::task::yield_now().await;
        self.call(|| replicas.iter().filter_map(|replica| self.catch_up_one(replica)).collect())
    }

    async fn manifests(&self, _: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        self.check().map(|()| Vec::new())
    }

    async fn read_ranges(&self, _: FileKey, _: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.check().map(|()| Vec::new())
    }

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        self.check().map(|()| Vec::new())
    }

    async fn pending(&self) -> Result<Vec<TxnId>> {
        self.check()?;
        Ok(self.pending.lock().keys().map(|(_, txn)| *txn).collect())
    }
}

struct Writer {
    txn: TxnId,
    rows: HashMap<TabletId, u64>,
    disk: Arc<Disk>,
    _held: Arc<()>,
}

impl Writer {
    /// Keeps a tablet's rows here and on its peers; the nodes that are known to have them.
    fn ship(&self, tablet: TabletId, rows: u64, copies: Option<&Copies>) -> Result<Vec<u64>> {
        self.disk.hold(tablet, self.txn, rows);
        let mut holders = vec![self.disk.node.get()];
        let Some(copies) = copies else { return Ok(holders) };
        let mut votes = 1;
        for (peer, votes_for) in
            copies.voters.iter().map(|peer| (peer, 1)).chain(copies.others.iter().map(|peer| (peer, 0)))
        {
            let peer = self.disk.network.disk(peer.node);
            if peer.call(|| peer.hold(tablet, self.txn, rows)).is_ok() {
                holders.push(peer.node.get());
                votes += votes_for;
            }
        }
        match votes >= copies.need {
            true => Ok(holders),
            false => Err(self.disk.unavailable(&format!("{votes} of {} copies of {tablet}", copies.need))),
        }
    }
}

#[async_trait]
impl RowsetWriter for Writer {
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> Result<()> {
        self.disk.call(|| ())?;
        *self.rows.entry(tablet).or_default() += rows.num_rows() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>, copies: &BTreeMap<TabletId, Copies>) -> Result<Vec<RowsetSummary>> {
        let ship = || -> Result<Vec<RowsetSummary>> {
            let mut summaries = Vec::new();
            for (tablet, rows) in &self.rows {
                summaries.push(RowsetSummary {
                    tablet_id: tablet.get(),
                    rowset_id: self.txn.get(),
                    rows: *rows,
                    bytes: rows * 8,
                    holders: self.ship(*tablet, *rows, copies.get(tablet))?,
                });
            }
            Ok(summaries)
        };
        let written = self.disk.call(ship)??;
        self.disk.finished.lock().insert(self.txn);
        Ok(written)
    }
}
