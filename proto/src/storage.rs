//! A storage node as the rest of the cluster sees it: [`TabletStore`].
//!
//! A storage node implements it in its own process (the embedded server calls it directly); [`GrpcTabletStore`] reaches
//! one on another machine. [`StorePool`] hands out whichever fits.

mod compaction;
mod convert;
mod grpc;
mod leader;
mod open;
mod pool;
mod replicas;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;

pub use compaction::CompactionScope;
pub use convert::{Conversion, ConvertTablet, Converted, Progress, Wanted};
pub use grpc::GrpcTabletStore;
pub use leader::leader_of;
pub use open::OpenTablet;
pub use pool::StorePool;
pub use replicas::{CatchUp, Copies, Peer, RowsChecksum, Unpublished};
pub use spec::{Change, Comparison, Condition, DeletePredicate, LoadSpec, PartialUpdate, UpdateMode, WireDeleteError};

use crate::query_id::QueryId;
use crate::volume::Volume;
use crate::wire::{CompactionReport, Manifest, RowsetSummary, TabletReport};
use crate::{ColumnId, ErrorKind, IndexKind, RowsetId, TableSchema, TabletId, Term, TxnId, Version};

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
    /// Whether the transaction wrote rows to this tablet. If so and the rowset is not there, it is not published here.
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

/// The bytes of a segment file, on whichever node they are. After a clone a rowset's id may stand for other files of the same
/// rows, so that an id alone does not tell what a manifest is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// The segment.
    pub segment: SegmentKey,
    /// CRC32C of the file.
    pub checksum: u32,
}

/// An index of a segment, in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey {
    /// What it is on.
    pub column: ColumnId,
    /// What it is made of.
    pub kind: IndexKind,
}

/// The bytes of the file of a segment's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexFileKey {
    /// The index.
    pub index: IndexKey,
    /// CRC32C of the file.
    pub checksum: u32,
}

/// Operations of one storage node. All are idempotent but [`TabletStore::write`], which starts anew.
#[async_trait]
pub trait TabletStore: Send + Sync + 'static {
    /// Creates tablets that do not exist yet, at [`Version::FIRST`].
    async fn create_tablets(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()>;

    /// Owns tablets on a storage volume from now on: takes over those that are there, creates the others at
    /// [`Version::FIRST`]. Refused for those that somebody owns under a greater epoch.
    async fn open_tablets(&self, _: &TableSchema, volume: &Volume, _: &[OpenTablet]) -> Result<()> {
        Err(no_volumes(volume))
    }

    /// Removes the objects of tablets that are dropped and that nobody owns any more.
    async fn purge_tablets(&self, volume: &Volume, _: &[TabletId]) -> Result<()> {
        Err(no_volumes(volume))
    }

    /// Forgets tablets; their files go in the background. What is in a storage volume stays.
    async fn drop_tablets(&self, tablets: &[TabletId]) -> Result<()>;

    /// Opens the write side of a transaction on this node, for tablets that it is the primary of in this load: it ships
    /// their rows to the other replicas, see [`RowsetWriter::finish`]. `load_id` names this attempt. A transaction has one
    /// attempt, and a tablet one primary in it; a tablet keeps the newest schema that it has seen.
    async fn write(&self, txn: TxnId, load_id: &str, spec: &LoadSpec) -> Result<Box<dyn RowsetWriter>>;

    /// Makes a committed transaction part of the tablets' versions, durably. Tablets that are not at the version before, or
    /// lack the transaction's rowset, are answered and the others published: their replicas here have to catch up.
    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<Vec<Unpublished>>;

    /// Forgets what a transaction wrote and did not publish.
    async fn abort(&self, txn: TxnId) -> Result<()>;

    /// The rowsets that make up each tablet at each version, in order of the request.
    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>>;

    /// Byte ranges of a segment, in order of the request, each verified against the file's block checksums. `NotFound` if
    /// the segment is gone, or has become another file: the manifest that named it is stale.
    async fn read_ranges(&self, file: FileKey, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>>;

    /// Byte ranges of the file of a segment's index, in order of the request. Who reads verifies them: see [`crate::index`].
    /// `NotFound` if there is none, or another one than asked for, or the segment is another file.
    async fn read_index(&self, file: FileKey, _: IndexFileKey, _: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        let message = format!("this store of tablet {} keeps no indexes", file.segment.tablet);
        Err(StoreError { kind: ErrorKind::NotFound, address: "in process".to_owned(), message })
    }

    /// Brings replicas on this node to the versions asked for, or later ones, from those of other nodes, and repairs
    /// damaged ones. A tablet that is not here is created. The work goes on after the call, which answers soon with those
    /// that are where they should be, and their versions: ask for the others again. Repeating a call starts nothing twice.
    async fn catch_up(&self, replicas: &[CatchUp]) -> Result<Vec<(TabletId, Version)>> {
        Err(no_replication(replicas.first().map(|replica| replica.tablet)))
    }

    /// A checksum of a tablet's live rows at a version: equal on all replicas that hold the same rows, however they are
    /// spread over rowsets.
    async fn checksum(&self, tablet: TabletId, _: Version) -> Result<RowsChecksum> {
        Err(no_replication(Some(tablet)))
    }

    /// Merges the rowsets of tablets in the background, sooner than it would by itself. Tablets that are not here are
    /// skipped. The end shows in [`TabletStore::compactions`].
    async fn compact(&self, _: &[TabletId], _: CompactionScope) -> Result<()> {
        Ok(())
    }

    /// Compactions that wait because they were asked for, that run, and the last ones that ended, newest first.
    async fn compactions(&self) -> Result<Vec<CompactionReport>> {
        Ok(Vec::new())
    }

    /// Lets tablets here take a newer schema that needs no row to be written anew, without a load. What it asks of files that
    /// are there is built in the background. Tablets that are not here are left out.
    async fn adopt(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()> {
        let _ = schema;
        Err(no_conversion(tablets.first().copied()))
    }

    /// Writes rows of tablets anew under another schema, in other tablets here. The work goes on after the call, which
    /// answers soon, in order of the request: ask again for what is not done. Repeating a call starts nothing twice, and
    /// after a restart of the node starts it again.
    async fn convert(&self, conversion: &Conversion) -> Result<Vec<Converted>> {
        Err(no_conversion(conversion.tablets.first().map(|tablet| tablet.base)))
    }

    /// The same store, whose calls say that they are made for a query. `None` if its calls leave no process.
    fn for_query(&self, _: &QueryId) -> Option<Arc<dyn TabletStore>> {
        None
    }

    /// The same store, whose calls say that the leader of a term makes them. A node that has heard of a newer leader refuses
    /// those that create, fill or drop tablets. `None` if the store does not mind.
    fn led_in(&self, _: Term) -> Option<Arc<dyn TabletStore>> {
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

    /// Sorts and writes what is left, ships it to the tablets' other replicas in `copies`, and returns one rowset for each
    /// tablet that got rows, durable on [`RowsetSummary::holders`]: as many members as needed, and those that were about as
    /// fast. The rest go on in the background. With fewer members than needed it is a retryable error that names the
    /// tablet and the nodes. A tablet that is not in `copies` has no other replica.
    async fn finish(self: Box<Self>, copies: &BTreeMap<TabletId, Copies>) -> Result<Vec<RowsetSummary>>;
}

/// The refusal of a store that has no replicas.
fn no_replication(tablet: Option<TabletId>) -> StoreError {
    let message = match tablet {
        Some(tablet) => format!("this store of tablet {tablet} keeps no replicas"),
        None => "this store keeps no replicas".to_owned(),
    };
    StoreError { kind: ErrorKind::Invalid, address: "in process".to_owned(), message }
}

/// The refusal of a store that knows no volumes.
fn no_volumes(volume: &Volume) -> StoreError {
    let message = format!("this store keeps no tablets on storage volumes such as `{}`", volume.name);
    StoreError { kind: ErrorKind::Invalid, address: "in process".to_owned(), message }
}

/// The refusal of a store that keeps the schema of its tablets.
fn no_conversion(tablet: Option<TabletId>) -> StoreError {
    let message = match tablet {
        Some(tablet) => format!("this store of tablet {tablet} does not change schemas"),
        None => "this store does not change schemas".to_owned(),
    };
    StoreError { kind: ErrorKind::Invalid, address: "in process".to_owned(), message }
}
