//! The tablet sink: rows of one transaction to the storage nodes that hold their tablets.
//!
//! ```text
//!  rows ──► RowRouter ──► tablet ──► its primary in this load: a member that lives (replicas)
//!                                        │ finish: one rowset a tablet
//!                                        ├──► copies on the other members: a quorum of all members holds it, or the load fails
//!                                        └──► copies on replicas that join
//! ```
//!
//! A node that does not answer when its first rows come is skipped for the tablet's next member. One that is lost later has
//! rows that nobody else has: the load fails, and has to be repeated.

mod partitions;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::future::{join_all, try_join_all};
use tarn_catalog::{Catalog, Overwrite, Relation, Table, TabletWrite};
use tarn_proto::storage::{Copies, LoadSpec, RowsetWriter, StoreError, StorePool, TabletStore};
use tarn_proto::wire::RowsetSummary;
use tarn_proto::{ErrorKind, NodeId, PartitionId, RowsetId, TableId, TabletId, TxnId};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};

use crate::altered;
use crate::catalog::ProposeError;
use crate::replicas::Place;
use crate::route::{Routing, RowRouter};
use crate::{CatalogClient, Error, Target};
pub use partitions::MAX_CREATED_PARTITIONS;
use writers::{NodeWriter, ToNode, Writers};

/// Times that a batch is routed anew after partitions were created for it, or prepared to be replaced. One of each is
/// enough unless somebody drops them meanwhile.
const ROUTE_ATTEMPTS: usize = 5;

/// How long nodes that are silent are waited for, if a quorum needs them: those that live tell it every second, and a
/// coordinator that has just started has not heard them yet.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// Longest wait for nodes to forget the rows of a load that is given up. What they do not in this time they do later.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks for a heartbeat.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One transaction's way to its tablets. Tasks that produce rows share it, each with its own [`RowRouter`].
pub struct TabletSink {
    catalog: Arc<dyn CatalogClient>,
    stores: StorePool,
    table: TableId,
    /// What the rows look like, with the table's schema when the load was planned.
    spec: LoadSpec,
    txn: TxnId,
    /// Set before the first router is made, unless rows are added to whatever partition they belong to.
    target: OnceLock<Target>,
    /// Differs for each attempt, so that a node drops what an earlier attempt left.
    load_id: String,
    writers: Mutex<Writers>,
    /// Nodes that may hold rows of it, primaries and others, also when their writer has ended.
    written: parking_lot::Mutex<BTreeSet<NodeId>>,
    /// No writer is opened any more.
    stopped: AtomicBool,
    /// Why the first node failed, and the table: every producer is told, and nothing more is sent.
    failure: OnceLock<(String, StoreError)>,
    /// Partitions created so far. Held while some are: producers that miss the same ones create and count them once.
    created: Mutex<usize>,
    rows: AtomicU64,
    routers: AtomicU64,
}

impl TabletSink {
    /// A sink for `txn`, which loads `table` with what `spec` says.
    pub fn new(catalog: Arc<dyn CatalogClient>, stores: StorePool, table: TableId, spec: LoadSpec, txn: TxnId) -> Self {
        Self {
            catalog,
            stores,
            table,
            spec,
            txn,
            target: OnceLock::new(),
            load_id: uuid::Uuid::new_v4().to_string(),
            writers: Mutex::default(),
            written: parking_lot::Mutex::default(),
            stopped: AtomicBool::new(false),
            failure: OnceLock::new(),
            created: Mutex::default(),
            rows: AtomicU64::new(0),
            routers: AtomicU64::new(0),
        }
    }

    /// A router for one producer, over the table as it is now.
    pub fn router(&self) -> Result<RowRouter, Error> {
        let turn = self.txn.get().wrapping_add(self.routers.fetch_add(1, Ordering::Relaxed));
        let catalog = self.catalog.catalog();
        let (table, overwrite) = (self.current_table(&catalog)?, self.overwrite(&catalog));
        Ok(RowRouter::within(table, self.target().reach, overwrite.as_ref()).beginning_at(turn))
    }

    /// Says where rows go and what they replace, before the first router is made, and prepares the partitions that are
    /// replaced in any case. A second call changes nothing.
    pub async fn aim(&self, target: Target) -> Result<(), Error> {
        let _ = self.target.set(target);
        self.prepare_reach().await
    }

    /// What has to be done when all rows are written and before they are committed: partitions that were added to a table
    /// that is replaced as a whole are replaced, too.
    pub async fn complete(&self) -> Result<(), Error> {
        self.prepare_reach().await
    }

    /// Sends a batch of the schema's columns in declared types to its tablets, creating partitions where the table's
    /// partition expression asks for it. Waits while storage nodes are behind.
    pub async fn write(&self, router: &mut RowRouter, batch: &RecordBatch, first_row: u64) -> Result<(), Error> {
        for _ in 0..ROUTE_ATTEMPTS {
            match router.route(batch, first_row)? {
                Routing::Done(routed) => {
                    for (tablet, rows) in routed {
                        self.send(tablet, rows).await?;
                    }
                    self.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                    return Ok(());
                }
                Routing::Missing(bounds) => self.create_partitions(bounds).await?,
                Routing::Unprepared(partitions) => self.prepare(partitions.into_iter().collect()).await?,
            }
            let catalog = self.catalog.catalog();
            router.refresh(self.current_table(&catalog)?, self.overwrite(&catalog).as_ref());
        }
        Err(Error::PartitionGone { table: self.current_table(&self.catalog.catalog())?.name.clone() })
    }

    /// Writes to every tablet of these partitions, without rows: for what a load does to rows that are there.
    pub async fn touch(&self, partitions: &BTreeSet<PartitionId>) -> Result<(), Error> {
        let table = self.current_table(&self.catalog.catalog())?;
        let empty = RecordBatch::new_empty(self.spec.schema.to_arrow());
        for id in partitions {
            let gone = || Error::PartitionGone { table: table.name.clone() };
            for tablet in &table.partition_by_id(*id).ok_or_else(gone)?.tablets {
                self.send(tablet.id, empty.clone()).await?;
            }
        }
        Ok(())
    }

    /// Waits until every row is durable on a quorum of its tablet's members, and returns what was written, rows in all first.
    pub async fn finish(&self) -> Result<(u64, Vec<TabletWrite>), Error> {
        let mut writers = std::mem::take(&mut *self.writers.lock().await);
        let catalog = self.catalog.catalog();
        let mut ending = Vec::with_capacity(writers.open.len());
        for (node, tablets) in writers.tablets() {
            let Some(writer) = writers.open.remove(&node) else { continue };
            let copies = self.copies(&catalog, node, tablets);
            let peers = copies.values().flat_map(|copies| copies.voters.iter().chain(&copies.others));
            self.written.lock().extend(peers.map(|peer| peer.node));
            ending.push(writer.finish(copies));
        }
        // The first failure drops the other tasks: they need not go on.
        let summaries = try_join_all(ending).await?;
        let write = |summary: RowsetSummary| TabletWrite {
            tablet: TabletId(summary.tablet_id),
            rowset: RowsetId(summary.rowset_id),
            rows: summary.rows,
            bytes: summary.bytes,
            holders: summary.holders.into_iter().map(NodeId).collect(),
        };
        let mut writes: Vec<TabletWrite> = summaries.into_iter().flatten().map(write).collect();
        writes.sort_by_key(|w| w.tablet);
        self.check_copies(&writes)?;
        Ok((self.rows.load(Ordering::Relaxed), writes))
    }

    /// Who gets copies of what `primary` has written. What was dropped meanwhile needs none: the commit is refused.
    fn copies(&self, catalog: &Catalog, primary: NodeId, tablets: Vec<TabletId>) -> BTreeMap<TabletId, Copies> {
        let copies = tablets.into_iter().filter_map(|tablet| {
            let place = Place::of(catalog, tablet)?;
            Some((tablet, place.copies(catalog, primary, |node| self.catalog.is_alive(node))))
        });
        copies.collect()
    }

    /// Whether a quorum of each tablet's members, as they are now, holds what was written to it. The commit looks again.
    fn check_copies(&self, writes: &[TabletWrite]) -> Result<(), Error> {
        let catalog = self.catalog.catalog();
        // What is in a storage volume outlives the node that wrote it.
        if self.current_table(&catalog).is_ok_and(|table| table.volume.is_some()) {
            return Ok(());
        }
        for write in writes {
            let Some(place) = Place::of(&catalog, write.tablet) else { continue };
            let (held, needed) = (place.held(&write.holders), place.tablet.quorum());
            if held < needed {
                let table = self.current_table(&catalog)?.name.clone();
                let missing = place.members_text(&catalog, |node| !write.holders.contains(&node));
                return Err(Error::TooFewCopies { table, tablet: write.tablet, held, needed, missing });
            }
        }
        Ok(())
    }

    /// Stops writing. What is durable on a node stays: the load may be committed.
    pub async fn stop(&self) {
        let mut writers = self.writers.lock().await;
        self.stopped.store(true, Ordering::Relaxed);
        writers.open.clear();
    }

    /// Tells every node that got rows to forget them. Only for a load that the catalog calls aborted: rows of one that is
    /// committed must stay.
    pub async fn forget(&self) {
        let nodes = std::mem::take(&mut *self.written.lock());
        let catalog = self.catalog.catalog();
        // All at once, and only for a while: one that does not answer must not keep the others, nor who waits for this.
        let forgotten = nodes.into_iter().filter_map(|node| catalog.nodes.get(&node)).map(|node| {
            let store = self.stores.get(node.id, &node.address);
            tarn_proto::task::spawn("load-forget", forget_on(store, self.txn, node.id))
        });
        let _ = timeout(FORGOTTEN_WITHIN, join_all(forgotten)).await;
    }

    /// Commits what was written, in the tablets that the table has by then. The outer error is one after which nothing was
    /// proposed.
    pub(crate) async fn commit(&self, writes: Vec<TabletWrite>) -> Result<Result<(), ProposeError>, Error> {
        altered::commit(&*self.catalog, &self.stores, self.table, self.txn, writes).await
    }

    /// The table as it is now, but with the columns that the load's rows have.
    fn current_table(&self, catalog: &Catalog) -> Result<Arc<Table>, Error> {
        match catalog.relations.get(&self.table) {
            // Columns that rows are routed by are neither dropped nor change their values.
            Some(Relation::Table(table)) => Ok(table.as_planned(&self.spec.schema, self.txn)),
            _ => Err(Error::TableGone(self.table)),
        }
    }

    fn target(&self) -> Target {
        self.target.get().cloned().unwrap_or_default()
    }

    /// What the transaction replaces so far; `None` if it only adds.
    fn overwrite(&self, catalog: &Catalog) -> Option<Overwrite> {
        self.target().replacing?;
        Some(catalog.transactions.get(&self.txn).and_then(|txn| txn.overwrite.clone()).unwrap_or_default())
    }

    async fn send(&self, tablet: TabletId, rows: RecordBatch) -> Result<(), Error> {
        let (node, queue) = self.writer(tablet).await?;
        if queue.send(ToNode::Rows(tablet, rows)).await.is_ok() {
            return Ok(());
        }
        // The writer has stopped: its own reason is better than ours. Other producers wait for it, too.
        let mut writers = self.writers.lock().await;
        if let Some(writer) = writers.open.remove(&node) {
            let table = writer.table.clone();
            if let Some(source) = writer.failure().await {
                let _ = self.failure.set((table, source));
            }
        }
        Err(self.failed().unwrap_or(Error::UnexpectedAnswer("write")))
    }

    fn failed(&self) -> Option<Error> {
        self.failure.get().map(|(table, source)| Error::Store { table: table.clone(), source: source.clone() })
    }

    /// The queue of the tablet's primary, which is chosen when its first rows come.
    async fn writer(&self, tablet: TabletId) -> Result<(NodeId, mpsc::Sender<ToNode>), Error> {
        let mut writers = self.writers.lock().await;
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Source("the load has ended".to_owned(), ErrorKind::Cancelled));
        }
        if let Some(error) = self.failed() {
            return Err(error);
        }
        if let Some(chosen) = writers.of(tablet) {
            return Ok(chosen);
        }
        let catalog = self.catalog.catalog();
        let table = self.current_table(&catalog)?;
        let gone = || Error::PartitionGone { table: table.name.clone() };
        let place = Place::of(&catalog, tablet).ok_or_else(gone)?;
        self.heard(&catalog, &table, place).await?;
        let mut refusal = None;
        for node in place.primaries(|node| self.catalog.is_alive(node)) {
            if let Some(writer) = writers.open.get(&node) {
                let queue = writer.queue.clone();
                writers.primaries.insert(tablet, node);
                return Ok((node, queue));
            }
            let opened = match writers.skipped.get(&node) {
                Some(error) => Err(error.clone()),
                None => self.open(&catalog, node).await,
            };
            match opened {
                Ok(writer) => {
                    let writer = NodeWriter::start(writer, table.name.clone());
                    let queue = writer.queue.clone();
                    writers.open.insert(node, writer);
                    writers.primaries.insert(tablet, node);
                    return Ok((node, queue));
                }
                Err(error) if error.kind.is_retryable() => {
                    tracing::debug!(txn = %self.txn, %node, %error, "another replica is the primary of this load");
                    writers.skipped.insert(node, error.clone());
                    refusal.get_or_insert(error);
                }
                Err(source) => return Err(Error::Store { table: table.name.clone(), source }),
            }
        }
        Err(match refusal {
            Some(source) => Error::Store { table: table.name.clone(), source },
            None => Error::UnexpectedAnswer("write"),
        })
    }

    async fn open(&self, catalog: &Catalog, node: NodeId) -> Result<Box<dyn RowsetWriter>, StoreError> {
        let address = catalog.nodes.get(&node).map_or("", |node| node.address.as_str());
        self.written.lock().insert(node);
        writers::open(&self.stores, (node, address), self.txn, &self.load_id, &self.spec).await
    }

    /// Waits until enough members of a tablet have been heard for the load to be acknowledged.
    async fn heard(&self, catalog: &Catalog, table: &Table, place: Place<'_>) -> Result<(), Error> {
        let deadline = Instant::now() + HEARD_WITHIN;
        let is_alive = |node| self.catalog.is_alive(node);
        while !place.can_be_loaded(is_alive) {
            if Instant::now() >= deadline {
                return Err(Error::NoQuorum {
                    table: table.name.clone(),
                    tablet: place.tablet.id,
                    members: place.tablet.members().count(),
                    needed: place.tablet.quorum(),
                    silent: place.members_text(catalog, |node| !is_alive(node)),
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// Lets a node forget what a transaction wrote there.
async fn forget_on(store: Result<Arc<dyn TabletStore>, StoreError>, txn: TxnId, node: NodeId) {
    let forgotten = match store {
        Ok(store) => store.abort(txn).await,
        Err(error) => Err(error),
    };
    if let Err(reason) = forgotten {
        tracing::info!(%txn, %node, %reason, "rows of an aborted load stay on a storage node for now");
    }
}
