//! A load's writers: one for each storage node that is the primary of some of its tablets.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use arrow::array::RecordBatch;
use tarn_proto::storage::{Copies, LoadSpec, RowsetWriter, StoreError, StorePool};
use tarn_proto::wire::RowsetSummary;
use tarn_proto::{ErrorKind, NodeId, TabletId, TxnId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Error;

/// Batches waiting for one storage node: overlaps routing with writing, and bounds memory to a few batches a node.
const NODE_QUEUE: usize = 8;

/// Longest wait for a node that is to be a primary: while it is silent another member can be. Nodes that have just died are
/// taken for living ones for some seconds.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// The writers of a load that are open, and who is the primary of which tablet. Opened when the first row for a node arrives.
#[derive(Default)]
pub(super) struct Writers {
    pub open: HashMap<NodeId, NodeWriter>,
    /// A tablet's primary stays: the rows of a load are one rowset.
    pub primaries: BTreeMap<TabletId, NodeId>,
    /// Nodes that did not answer when they were to be primaries.
    pub skipped: HashMap<NodeId, StoreError>,
}

impl Writers {
    /// The queue of a tablet's primary, if that has been chosen and its writer has not failed.
    pub fn of(&self, tablet: TabletId) -> Option<(NodeId, mpsc::Sender<ToNode>)> {
        let node = *self.primaries.get(&tablet)?;
        self.open.get(&node).map(|writer| (node, writer.queue.clone()))
    }

    /// Who writes what: by primary, its tablets.
    pub fn tablets(&self) -> BTreeMap<NodeId, Vec<TabletId>> {
        let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
        for (tablet, node) in &self.primaries {
            nodes.entry(*node).or_default().push(*tablet);
        }
        nodes
    }
}

/// A storage node's writer, in a task of its own.
pub(super) struct NodeWriter {
    pub queue: mpsc::Sender<ToNode>,
    task: Drain,
    /// The table's name, for errors.
    pub table: String,
}

/// What a node's writer gets. A queue that closes without [`ToNode::End`] belongs to a load that was given up.
pub(super) enum ToNode {
    Rows(TabletId, RecordBatch),
    /// There is no more, and who gets copies: only now the node may keep the rows.
    End(BTreeMap<TabletId, Copies>),
}

/// The task behind a node's queue. It ends with the load that owns it.
struct Drain(JoinHandle<Result<Vec<RowsetSummary>, StoreError>>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NodeWriter {
    pub fn start(writer: Box<dyn RowsetWriter>, table: String) -> Self {
        let (queue, batches) = mpsc::channel(NODE_QUEUE);
        Self { queue, task: Drain(tarn_proto::task::spawn("tablet-sink", drain(writer, batches))), table }
    }

    /// Ends the writer and waits until its rows are durable on enough nodes.
    pub async fn finish(mut self, copies: BTreeMap<TabletId, Copies>) -> Result<Vec<RowsetSummary>, Error> {
        // If this is not taken the task has ended, and tells why.
        let _ = self.queue.send(ToNode::End(copies)).await;
        match (&mut self.task.0).await {
            Ok(written) => written.map_err(|source| Error::Store { table: self.table, source: repeatable(source) }),
            Err(_) => Err(Error::UnexpectedAnswer("write")),
        }
    }

    /// Why a writer that takes no more has stopped.
    pub async fn failure(mut self) -> Option<StoreError> {
        (&mut self.task.0).await.ok()?.err().map(repeatable)
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
            ToNode::End(copies) => return writer.finish(&copies).await,
        }
    }
    // Given up: a dropped writer takes back what it has written.
    Ok(Vec::new())
}

/// A node that lacks a tablet has lost it, or is another one at the same address by now, which the catalog will tell: the
/// load can be repeated. So can one whose partition was dropped: it finds another, or is told.
fn repeatable(error: StoreError) -> StoreError {
    match error.kind {
        ErrorKind::NotFound => StoreError { kind: ErrorKind::Unavailable, ..error },
        _ => error,
    }
}

/// Opens the write side of a transaction on a node that answers.
pub(super) async fn open(
    stores: &StorePool,
    (node, address): (NodeId, &str),
    txn: TxnId,
    load_id: &str,
    spec: &LoadSpec,
) -> Result<Box<dyn RowsetWriter>, StoreError> {
    let store = stores.get(node, address)?;
    let opened = timeout(OPEN_WITHIN, async {
        // A stream to a node that is away breaks when the first rows are lost: ask it something first.
        store.pending().await?;
        store.write(txn, load_id, spec).await
    });
    opened.await.unwrap_or_else(|_| {
        Err(StoreError {
            kind: ErrorKind::Unavailable,
            address: address.to_owned(),
            message: format!("it has not answered within {} s, see SHOW STORAGE NODES", OPEN_WITHIN.as_secs()),
        })
    })
}
