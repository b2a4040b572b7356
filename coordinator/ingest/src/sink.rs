//! The tablet sink: rows of one transaction to the storage nodes that hold their tablets.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Catalog, Operation, Overwrite, Relation, Table, TabletWrite};
use tarn_proto::storage::{RowsetWriter, StoreError, StorePool};
use tarn_proto::wire::RowsetSummary;
use tarn_proto::{ErrorKind, NodeId, PartitionId, RowsetId, TableId, TableSchema, TabletId, TxnId, Version};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::route::{Reach, Routing, RowRouter, partition_name};
use crate::{CatalogClient, Error, Target};

/// Partitions that one load may create (StarRocks' `auto_partition_max_creation_number_per_load`).
pub const MAX_CREATED_PARTITIONS: usize = 4096;

/// Batches waiting for one storage node: overlaps routing with writing, and bounds memory to a few batches a node.
const NODE_QUEUE: usize = 8;

/// Times that a batch is routed anew after partitions were created for it, or prepared to be replaced. One of each is
/// enough unless somebody drops them meanwhile.
const ROUTE_ATTEMPTS: usize = 5;

/// One transaction's way to its tablets. Tasks that produce rows share it, each with its own [`RowRouter`].
pub struct TabletSink {
    catalog: Arc<dyn CatalogClient>,
    stores: StorePool,
    table: TableId,
    /// What the rows look like: the table's schema when the load was planned.
    schema: TableSchema,
    txn: TxnId,
    /// Set before the first router is made, unless rows are added to whatever partition they belong to.
    target: OnceLock<Target>,
    /// Differs for each attempt, so that a node drops what an earlier attempt left.
    load_id: String,
    /// Opened when the first row for the node arrives.
    writers: Mutex<HashMap<NodeId, NodeWriter>>,
    /// Nodes that may hold rows of it, also when their writer has ended.
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

struct NodeWriter {
    queue: mpsc::Sender<ToNode>,
    task: Drain,
    /// Its name, for errors.
    table: String,
}

/// What a node's writer gets. A queue that closes without [`ToNode::End`] belongs to a load that was given up.
enum ToNode {
    Rows(TabletId, RecordBatch),
    /// There is no more: only now the node may keep the rows.
    End,
}

/// The task behind a node's queue. It ends with the load that owns it.
struct Drain(JoinHandle<Result<Vec<RowsetSummary>, StoreError>>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TabletSink {
    /// A sink for `txn`, which loads `table` with rows of `schema`.
    pub fn new(
        catalog: Arc<dyn CatalogClient>,
        stores: StorePool,
        table: TableId,
        schema: TableSchema,
        txn: TxnId,
    ) -> Self {
        Self {
            catalog,
            stores,
            table,
            schema,
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

    /// Waits until every row is durable and returns what was written, rows in all first.
    pub async fn finish(&self) -> Result<(u64, Vec<TabletWrite>), Error> {
        let writers = std::mem::take(&mut *self.writers.lock().await);
        let ending = writers.into_values().map(|NodeWriter { queue, task, table }| async move {
            // If this is not taken the task has ended, and tells why.
            let _ = queue.send(ToNode::End).await;
            joined(task, table).await
        });
        // The first failure drops the other tasks: they need not go on.
        let summaries = futures::future::try_join_all(ending).await?;
        let write = |summary: RowsetSummary| TabletWrite {
            tablet: TabletId(summary.tablet_id),
            rowset: RowsetId(summary.rowset_id),
            rows: summary.rows,
            bytes: summary.bytes,
        };
        let mut writes: Vec<TabletWrite> = summaries.into_iter().flatten().map(write).collect();
        writes.sort_by_key(|w| w.tablet);
        Ok((self.rows.load(Ordering::Relaxed), writes))
    }

    /// Stops writing. What is durable on a node stays: the load may be committed.
    pub async fn stop(&self) {
        let mut writers = self.writers.lock().await;
        self.stopped.store(true, Ordering::Relaxed);
        writers.clear();
    }

    /// Tells every node that got rows to forget them. Only for a load that the catalog calls aborted: rows of one that is
    /// committed must stay.
    pub async fn forget(&self) {
        let nodes = std::mem::take(&mut *self.written.lock());
        let catalog = self.catalog.catalog();
        for node in nodes {
            let Some(info) = catalog.nodes.get(&node) else { continue };
            let Ok(store) = self.stores.get(node, &info.address) else { continue };
            if let Err(reason) = store.abort(self.txn).await {
                tracing::warn!(txn = %self.txn, %node, %reason, "rows of an aborted load stay on a storage node");
            }
        }
    }

    /// The table as it is now, but with the columns that the load's rows have.
    fn current_table(&self, catalog: &Catalog) -> Result<Arc<Table>, Error> {
        match catalog.relations.get(&self.table) {
            Some(Relation::Table(table)) if table.schema.version == self.schema.version => Ok(table.clone()),
            // Columns that rows are routed by are neither dropped nor change their values.
            Some(Relation::Table(table)) => Ok(Arc::new(Table { schema: self.schema.clone(), ..Table::clone(table) })),
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

    /// Prepares every partition that is replaced whether it gets rows or not.
    async fn prepare_reach(&self) -> Result<(), Error> {
        let target = self.target();
        if target.replacing.as_ref().is_none_or(|replacing| replacing.dynamic) {
            return Ok(());
        }
        self.prepare(match target.reach {
            Reach::All => {
                let table = self.current_table(&self.catalog.catalog())?;
                // One that was read and is gone by now refuses the commit.
                let read = target.replacing.and_then(|replacing| replacing.read);
                let read = read.iter().flat_map(|read| read.partitions.keys());
                table.partitions.keys().chain(read).copied().collect()
            }
            Reach::Only(partitions) => partitions,
        })
        .await
    }

    /// Gives partitions what will take their place.
    async fn prepare(&self, mut partitions: BTreeSet<PartitionId>) -> Result<(), Error> {
        let Target { reach, replacing: Some(replacing) } = self.target() else { return Ok(()) };
        // One producer at a time, as those that miss the same ones need them once.
        let _alone = self.created.lock().await;
        let overwrite = self.overwrite(&self.catalog.catalog()).unwrap_or_default();
        partitions.retain(|id| !overwrite.replacements.contains_key(id));
        let whole = !replacing.dynamic && reach == Reach::All;
        if partitions.is_empty() && (overwrite.whole || !whole) {
            return Ok(());
        }
        let partitions = match &replacing.read {
            None => partitions.into_iter().map(|id| (id, None)).collect(),
            Some(read) => {
                let table = self.current_table(&self.catalog.catalog())?;
                let version = |id| read_version(read, &table, &reach, id).map(|version| (id, version));
                partitions.into_iter().map(version).collect::<Result<_, _>>()?
            }
        };
        let operation = Operation::PrepareOverwrite {
            txn: self.txn,
            table: self.table,
            whole,
            partitions,
            placement: self.catalog.placement(),
        };
        self.catalog.propose(operation).await?;
        Ok(())
    }

    async fn create_partitions(&self, mut bounds: Vec<Bounds>) -> Result<(), Error> {
        let mut created = self.created.lock().await;
        let table = self.current_table(&self.catalog.catalog())?;
        // Another producer, or another load, may have been faster.
        bounds.retain(|bounds| !table.partitions.values().any(|p| p.bounds == *bounds));
        if bounds.is_empty() {
            return Ok(());
        }
        *created += bounds.len();
        if *created > MAX_CREATED_PARTITIONS {
            return Err(Error::TooManyPartitions { table: table.name.clone(), limit: MAX_CREATED_PARTITIONS });
        }
        let mut partitions: Vec<PartitionSpec> = Vec::with_capacity(bounds.len());
        for bounds in bounds {
            let taken = |name: &str| {
                let other = table.partition(name).is_some_and(|p| p.bounds != bounds);
                other || partitions.iter().any(|p| p.name.eq_ignore_ascii_case(name))
            };
            let name = partition_name(&table.partitioning, &bounds, taken);
            partitions.push(PartitionSpec { name, bounds });
        }
        let operation = Operation::AddPartitions {
            table: self.table,
            partitions,
            fail_if_exists: false,
            placement: self.catalog.placement(),
        };
        self.catalog.propose(operation).await?;
        Ok(())
    }

    async fn send(&self, tablet: TabletId, rows: RecordBatch) -> Result<(), Error> {
        let catalog = self.catalog.catalog();
        let table = self.current_table(&catalog)?;
        let node =
            replica_of(&catalog, &table, tablet).ok_or_else(|| Error::PartitionGone { table: table.name.clone() })?;
        let queue = self.writer(&catalog, &table, node).await?;
        if queue.send(ToNode::Rows(tablet, rows)).await.is_ok() {
            return Ok(());
        }
        // The writer has stopped: its own reason is better than ours. Other producers wait for it, too.
        let mut writers = self.writers.lock().await;
        if let Some(NodeWriter { mut task, table, .. }) = writers.remove(&node)
            && let Ok(Err(source)) = (&mut task.0).await
        {
            let _ = self.failure.set((table, source));
        }
        Err(self.failed().unwrap_or(Error::UnexpectedAnswer("write")))
    }

    fn failed(&self) -> Option<Error> {
        self.failure.get().map(|(table, source)| Error::Store { table: table.clone(), source: source.clone() })
    }

    async fn writer(&self, catalog: &Catalog, table: &Table, node: NodeId) -> Result<mpsc::Sender<ToNode>, Error> {
        let mut writers = self.writers.lock().await;
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Source("the load has ended".to_owned(), ErrorKind::Cancelled));
        }
        if let Some(error) = self.failed() {
            return Err(error);
        }
        if let Some(writer) = writers.get(&node) {
            return Ok(writer.queue.clone());
        }
        let address = &catalog.nodes.get(&node).ok_or(Error::UnknownNode(node))?.address;
        let failed = |source| Error::Store { table: table.name.clone(), source };
        let store = self.stores.get(node, address).map_err(failed)?;
        self.written.lock().insert(node);
        let writer = store.write(self.txn, &self.load_id, &self.schema).await.map_err(failed)?;
        let (queue, batches) = mpsc::channel(NODE_QUEUE);
        let task = Drain(tarn_proto::task::spawn("tablet-sink", drain(writer, batches)));
        writers.insert(node, NodeWriter { queue: queue.clone(), task, table: table.name.clone() });
        Ok(queue)
    }
}

/// Writes what arrives until every producer is done, then waits for durability.
async fn drain(
    mut writer: Box<dyn RowsetWriter>,
    mut queue: mpsc::Receiver<ToNode>,
) -> Result<Vec<RowsetSummary>, StoreError> {
    while let Some(message) = queue.recv().await {
        match message {
            ToNode::Rows(tablet, rows) => writer.write(tablet, rows).await?,
            ToNode::End => return writer.finish().await,
        }
    }
    // Given up: a dropped writer takes back what it has written.
    Ok(Vec::new())
}

/// What became of the writer of a node, for a load of `table`.
async fn joined(mut task: Drain, table: String) -> Result<Vec<RowsetSummary>, Error> {
    match (&mut task.0).await {
        Ok(written) => written.map_err(|source| Error::Store { table, source }),
        Err(_) => Err(Error::UnexpectedAnswer("write")),
    }
}

/// The version of a partition that rows which were computed from `read`, the table at an earlier moment, must find when
/// they replace it. `table` is the table now.
fn read_version(read: &Table, table: &Table, reach: &Reach, id: PartitionId) -> Result<Option<Version>, Error> {
    if let Some(partition) = read.partitions.get(&id) {
        return Ok(Some(partition.visible_version));
    }
    if *reach != Reach::All && read.temporary.contains_key(&id) {
        // Chosen by name, and no query has read it.
        return Ok(None);
    }
    // It was not there. It may have been added, and then nobody may have loaded it; or it stands in the place of one that
    // was read, whose rows have gone with it and must not come back.
    let bounds = table.partition_by_id(id).map(|partition| &partition.bounds);
    match read.partitions.values().any(|old| bounds.is_some_and(|new| new.overlaps(&old.bounds))) {
        true => Err(Error::PartitionGone { table: table.name.clone() }),
        false => Ok(Some(Version::FIRST)),
    }
}

/// The node that writes a tablet.
fn replica_of(catalog: &Catalog, table: &Table, tablet: TabletId) -> Option<NodeId> {
    let owner = catalog.tablets.get(&tablet)?;
    let partition = table.partition_by_id(owner.partition)?;
    partition.tablets.get(owner.bucket as usize)?.replicas.first().copied()
}
