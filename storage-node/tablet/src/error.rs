//! What goes wrong in the engine, and what its caller must do about it.

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;
use tarn_proto::{ErrorKind, RowsetId, TabletId, TxnId, Version, encoding};
use vortex::error::VortexError;

/// An engine error. Names the tablet, rowset or file it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such tablet on this node.
    #[error("tablet {0} is not on this node")]
    UnknownTablet(TabletId),
    /// No such rowset or segment in the tablet.
    #[error("tablet {tablet} has no segment {segment} in rowset {rowset}")]
    UnknownSegment {
        /// The tablet.
        tablet: TabletId,
        /// The rowset asked for.
        rowset: RowsetId,
        /// The segment asked for.
        segment: u32,
    },
    /// Rows that do not fit the table, or a sort key that cannot be sorted by.
    #[error("tablet {tablet} refuses the rows")]
    Rows {
        /// The tablet.
        tablet: TabletId,
        /// What does not fit.
        #[source]
        source: ArrowError,
    },
    /// A publish came before the one it builds on.
    #[error("tablet {tablet} is at version {current}: {version} is not next, publish the versions between first")]
    NotNext {
        /// The tablet.
        tablet: TabletId,
        /// Its version.
        current: Version,
        /// The version to be published.
        version: Version,
    },
    /// The version belongs to another transaction.
    #[error("version {version} of tablet {tablet} is there already without rows of transaction {txn}")]
    VersionTaken {
        /// The tablet.
        tablet: TabletId,
        /// The version.
        version: Version,
        /// The transaction to be published.
        txn: TxnId,
    },
    /// A committed transaction's rows are not here.
    #[error("tablet {tablet} has no rowset of transaction {txn}: its rows are missing on this node")]
    MissingRowset {
        /// The tablet.
        tablet: TabletId,
        /// The transaction to be published.
        txn: TxnId,
    },
    /// A write for a transaction that is visible already.
    #[error("transaction {txn} is published in tablet {tablet} already and takes no more rows")]
    Published {
        /// The tablet.
        tablet: TabletId,
        /// The transaction.
        txn: TxnId,
    },
    /// The transaction was aborted or another attempt to write it began.
    #[error("attempt {load_id} to write transaction {txn} has been aborted or replaced by another")]
    Replaced {
        /// The transaction.
        txn: TxnId,
        /// The attempt.
        load_id: String,
    },
    /// An earlier error of the same load, which has been reported.
    #[error("the load of transaction {0} failed before")]
    Failed(TxnId),
    /// A manifest at a version that has not been published here.
    #[error("tablet {tablet} is at version {current}, {version} is not published yet")]
    FutureVersion {
        /// The tablet.
        tablet: TabletId,
        /// Its version.
        current: Version,
        /// The version asked for.
        version: Version,
    },
    /// A manifest at a version that needs rowsets which a compaction has superseded and which are gone.
    #[error("tablet {tablet} keeps versions from {oldest} on, {version} was compacted: read a newer version")]
    Superseded {
        /// The tablet.
        tablet: TabletId,
        /// The oldest version that can be read.
        oldest: Version,
        /// The version asked for.
        version: Version,
    },
    /// Bytes beyond the end of a segment.
    #[error("{file} of tablet {tablet} has {bytes} bytes, bytes {start}..{end} were asked for")]
    Range {
        /// The tablet.
        tablet: TabletId,
        /// The segment file.
        file: String,
        /// Its length.
        bytes: u64,
        /// First byte asked for.
        start: u64,
        /// End of the bytes asked for.
        end: u64,
    },
    /// Stored bytes are not what was written.
    #[error("damaged data: tablet {tablet}, rowset {rowset}, file {file}: {what}; restore the file or reload the data")]
    Damaged {
        /// The tablet.
        tablet: TabletId,
        /// The rowset.
        rowset: RowsetId,
        /// The file.
        file: String,
        /// What does not fit, with the block.
        what: String,
    },
    /// A stored delete vector that is not what was written.
    #[error(
        "damaged metadata: the delete vector of segment {segment}, rowset {rowset}, tablet {tablet}: {what}; restore the \
         node's metadata or reload the data"
    )]
    DeleteVector {
        /// The tablet.
        tablet: TabletId,
        /// The rowset.
        rowset: RowsetId,
        /// The segment.
        segment: u32,
        /// What does not fit.
        what: String,
    },
    /// The primary-key index cannot be used. It holds nothing that cannot be built anew.
    #[error("cannot {action} the primary-key index in {}", path.display())]
    Index {
        /// What was tried.
        action: &'static str,
        /// Its directory.
        path: PathBuf,
        /// Why not; none if it holds what was never written.
        #[source]
        source: Option<rocksdb::Error>,
    },
    /// A segment that cannot be read now, for a reason that is not in its bytes.
    #[error(
        "cannot read file {file} of tablet {tablet} now: look at the node's file system and its limit of open files"
    )]
    Unreadable {
        /// The tablet.
        tablet: TabletId,
        /// The file.
        file: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The tablet stopped writing after a failure.
    #[error("tablet {tablet} is read-only since a write failed ({reason}): repair the disk and restart this node")]
    ReadOnly {
        /// The tablet.
        tablet: TabletId,
        /// The first failure.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The data directory holds tablets and no metadata. An empty store in its place would make them orphans.
    #[error(
        "the tablets' metadata in {} is missing, and without it the files in {} are of no use: restore it, or empty the \
         data directory to start this node without data",
        meta.display(), data.display()
    )]
    MissingMeta {
        /// Where the metadata should be.
        meta: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// The metadata store refused.
    #[error("cannot {action} tablet metadata")]
    Meta {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: rocksdb::Error,
    },
    /// A metadata record that this build cannot read.
    #[error("cannot read tablet metadata")]
    Record(#[from] encoding::Error),
    /// A metadata key that this build does not know.
    #[error("unknown tablet metadata key {0:02x?}")]
    Key(Vec<u8>),
    /// The segment format refused.
    #[error("cannot write a segment of tablet {tablet}")]
    Encode {
        /// The tablet.
        tablet: TabletId,
        /// Why not.
        #[source]
        source: VortexError,
    },
    /// Verified bytes that the segment format does not understand.
    #[error(
        "cannot decode file {file} of tablet {tablet}, rowset {rowset}: it was written by a build with a defect, reload the \
         data"
    )]
    Decode {
        /// The tablet.
        tablet: TabletId,
        /// The rowset.
        rowset: RowsetId,
        /// The file.
        file: String,
        /// Why not.
        #[source]
        source: Box<VortexError>,
    },
    /// A compaction was told to stop, or its tablet was dropped.
    #[error("the compaction of tablet {0} was stopped; nothing has changed")]
    Stopped(TabletId),
    /// Work on the blocking pool panicked or was dropped at shutdown.
    #[error("cannot finish {0}: the node is stopping or has a defect, see its log")]
    Background(&'static str),
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rows { .. } | Self::Range { .. } => ErrorKind::Invalid,
            Self::UnknownTablet(_)
            | Self::UnknownSegment { .. }
            | Self::MissingRowset { .. }
            | Self::Superseded { .. } => ErrorKind::NotFound,
            Self::Published { .. } => ErrorKind::AlreadyExists,
            Self::NotNext { .. } | Self::FutureVersion { .. } | Self::Unreadable { .. } => ErrorKind::Unavailable,
            Self::Replaced { .. } | Self::Stopped(_) => ErrorKind::Cancelled,
            Self::ReadOnly { .. } => ErrorKind::Exhausted,
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                ErrorKind::Exhausted
            }
            Self::VersionTaken { .. }
            | Self::Failed(_)
            | Self::Damaged { .. }
            | Self::DeleteVector { .. }
            | Self::Index { .. }
            | Self::Io { .. }
            | Self::MissingMeta { .. }
            | Self::Meta { .. }
            | Self::Record(_)
            | Self::Key(_)
            | Self::Encode { .. }
            | Self::Decode { .. }
            | Self::Background(_) => ErrorKind::Internal,
        }
    }

    /// Whether the disk did not take a write, which makes the tablet read-only.
    pub(crate) const fn is_write_failure(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Meta { .. })
    }
}

/// Adds what was tried on which file to an I/O error.
pub(crate) trait IoContext<T> {
    /// Names the action and the path.
    fn doing(self, action: &'static str, path: impl Into<PathBuf>) -> crate::Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: impl Into<PathBuf>) -> crate::Result<T> {
        self.map_err(|source| Error::Io { action, path: path.into(), source })
    }
}
