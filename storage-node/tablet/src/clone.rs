//! How a replica of a tablet gets what others have: rowsets of loads as they are shipped, those that it missed, all of it.
//!
//! ```text
//!  ship     primary: sealed rowset ──► peer: Engine::replicate ── files ──► verified, durable ──► *pending*, as if sealed
//!  behind   Engine::catch_up_from: the source's rowsets ──► plan ──┬► `incremental`: fetch and publish each version's load
//!                                                             ├► `full`: fetch what we lack; one synced batch
//!                                                             └► `repair`: fetch the files of a damaged rowset
//! ```
//!
//! How the source is reached is the storage role's business: a [`Source`]. What arrives is believed for nothing but its
//! bytes: a segment must have the checksum of its record, sidecar and key file belong to the segment.
//!
//! Why the rows of replicas agree: a rowset's id stands for the same rows everywhere (a load's comes from its transaction,
//! a compaction's is random), and what publishing does follows from the rowsets alone, in the order of their versions. A
//! full clone takes the source's rowsets and delete vectors at one version, all at once under the commit lock, and forgets
//! versions before it.
//!
//! The source holds no locks for a clone. Superseded rowsets stay while they are read, as for queries; one that is gone all
//! the same, or was never durable, ends the attempt, and the next begins with what the source has then.

mod catch_up;
mod fetch;
mod full;
mod incoming;
mod incremental;
mod offer;
mod offered;
mod pace;
mod repair;

use std::sync::Arc;

use futures::stream::BoxStream;
use tarn_proto::storage::StoreError;
use tarn_proto::wire::{GetReplicaResponse, RowsetPiece};
use tarn_proto::{RowsetId, TabletId};

pub(crate) use fetch::check_keys;
pub(crate) use incoming::Incoming;
pub use offer::RowsetReader;
pub use pace::Pace;

use crate::record::RowsetRecord;

/// Another replica's node.
pub trait Source: Send + Sync {
    /// Its name in errors.
    fn name(&self) -> String;

    /// The tablet's replica there, as [`Engine::replica`](crate::Engine::replica) tells it.
    fn replica(&self, tablet: TabletId) -> impl Future<Output = Result<GetReplicaResponse, StoreError>> + Send;

    /// All files of a rowset, as [`Engine::read_rowset`](crate::Engine::read_rowset) reads them.
    fn rowset(
        &self,
        tablet: TabletId,
        rowset: RowsetId,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<RowsetPiece, StoreError>>, StoreError>> + Send;
}

/// Whether two records are of the same files, segment by segment.
fn same_files(a: &RowsetRecord, b: &RowsetRecord) -> bool {
    let files =
        |record: &RowsetRecord| record.segments.iter().map(|s| (s.rows, s.bytes, s.checksum)).collect::<Vec<_>>();
    a.txn == b.txn && files(a) == files(b)
}

/// A rowset that is fetched or kept.
type Named = (RowsetId, Arc<RowsetRecord>);
