//! Why a scan failed.

use datafusion::error::DataFusionError;
use tarn_proto::storage::StoreError;
use tarn_proto::{ErrorKind, TabletId};
use vortex::error::VortexError;

/// A failed scan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A storage node refused, failed or is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rowset of a manifest is gone: compaction replaced it after the manifest was cached. The manifest has been
    /// forgotten, so that the query succeeds when it is run again.
    #[error("{tablet} was compacted while it was read; run the query again")]
    Superseded {
        /// The tablet.
        tablet: TabletId,
        /// What the storage node said.
        #[source]
        source: StoreError,
    },
    /// A segment file that cannot be decoded.
    #[error("cannot read segment {segment} of {tablet}, rowset {rowset}")]
    Segment {
        /// The tablet.
        tablet: TabletId,
        /// The rowset in the tablet.
        rowset: tarn_proto::RowsetId,
        /// The segment in the rowset.
        segment: u32,
        /// The decoder's complaint.
        #[source]
        source: VortexError,
    },
    /// A manifest that contradicts itself or lacks a tablet.
    #[error("manifest of {tablet}: {reason}")]
    Manifest {
        /// The tablet.
        tablet: TabletId,
        /// What is wrong.
        reason: String,
    },
    /// The disk cache cannot be opened.
    #[error("cannot open the disk cache in `{directory}`")]
    DiskCache {
        /// Its directory.
        directory: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(e) => e.kind,
            Self::Superseded { .. } => ErrorKind::Unavailable,
            Self::Segment { .. } | Self::Manifest { .. } => ErrorKind::Internal,
            Self::DiskCache { .. } => ErrorKind::Exhausted,
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}
