//! A storage node as the rest of the cluster sees it: [`TabletStore`].
//!
//! A storage node implements it in its own process (the embedded server calls it directly); [`GrpcTabletStore`] reaches
//! one on another machine. [`StorePool`] hands out whichever fits.

mod grpc;
mod pool;

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;

pub use grpc::GrpcTabletStore;
pub use pool::StorePool;

use crate::query_id::QueryId;
use crate::wire::{Manifest, RowsetSummary, TabletReport};
use crate::{ErrorKind, RowsetId, TableSchema, TabletId, TxnId, Version};

/// A storage node's refusal or failure.
#[derive(Debug, Clone, thiserror::Error)]
#[error("storage node {address}: {message}")]
pub struct StoreError {
    /// What the caller must do.
    pub kind: ErrorKind,
    /// `host:port` of the node, or `in process`.
    pub address: String,
    /// What is wrong, with tablet, rowset or file by name.
    pub message: String,
}

/// Result of a call to a storage node.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A tablet's part of a transaction that is being published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishTablet {
    /// The tablet.
    pub tablet: TabletId,
    /// The version that the transaction takes of the tablet's partition.
    pub version: Version,
    /// Whether the transaction wrote rows to this tablet. If so and the rowset is not there, publishing fails.
    pub has_rowset: bool,
}

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentKey {
    /// The tablet.
    pub tablet: TabletId,
    /// The rowset in the tablet.
    pub rowset: RowsetId,
    /// The segment in the rowset, from 0.
    pub segment: u32,
}

/// Operations of one storage node. All are idempotent but [`TabletStore::write`], which starts anew.
#[async_trait]
pub trait TabletStore: Send + Sync + 'static {
    /// Creates tablets that do not exist yet, at [`Version::FIRST`].
    async fn create_tablets(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()>;

    /// Forgets tablets; their files go in the background.
    async fn drop_tablets(&self, tablets: &[TabletId]) -> Result<()>;

    /// Opens the write side of a transaction on this node. `load_id` names this attempt, and `schema` is that of the table
    /// when the load was planned: its rows have these columns, whatever becomes of the table meanwhile. A tablet keeps the
    /// newest schema that it has seen.
    async fn write(&self, txn: TxnId, load_id: &str, schema: &TableSchema) -> Result<Box<dyn RowsetWriter>>;

    /// Makes a committed transaction part of the tablets' versions, durably. A tablet must be at the version before.
    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<()>;

    /// Forgets what a transaction wrote and did not publish.
    async fn abort(&self, txn: TxnId) -> Result<()>;

    /// The rowsets that make up each tablet at each version, in order of the request.
    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>>;

    /// Byte ranges of a segment, in order of the request, each verified against the file's block checksums.
    async fn read_ranges(&self, segment: SegmentKey, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>>;

    /// The same store, whose calls say that they are made for a query. `None` if its calls leave no process.
    fn for_query(&self, _: &QueryId) -> Option<Arc<dyn TabletStore>> {
        None
    }

    /// All tablets of the node.
    async fn tablets(&self) -> Result<Vec<TabletReport>>;

    /// Transactions with rowsets on the node that are neither published nor aborted.
    async fn pending(&self) -> Result<Vec<TxnId>> {
        Ok(Vec::new())
    }
}

/// The write side of one transaction on one storage node.
#[async_trait]
pub trait RowsetWriter: Send {
    /// Adds rows to a tablet, in any order. The batch's columns are the load's schema's, in declared order and declared
    /// arrow types. Waits while the node's write buffers are full.
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> Result<()>;

    /// Sorts and writes what is left and returns one rowset for each tablet that got rows, all durable.
    async fn finish(self: Box<Self>) -> Result<Vec<RowsetSummary>>;
}
