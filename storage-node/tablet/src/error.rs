//! What goes wrong in the engine, and what its caller must do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use arrow::error::ArrowError;
use tarn_proto::segment::Misfit;
use tarn_proto::storage::IndexKey;
use tarn_proto::{ErrorKind, RowsetId, TabletId, TxnId, Version, encoding};
use vortex::error::VortexError;

use crate::disk::DiskLimits;

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
    /// A clone has put another file in the place of the one asked for.
    #[error(
        "segment {segment} of rowset {rowset} of tablet {tablet} has become another file since its manifest was read: \
         get the manifest again"
    )]
    OtherFile {
        /// The tablet.
        tablet: TabletId,
        /// The rowset asked for.
        rowset: RowsetId,
        /// The segment asked for.
        segment: u32,
    },
    /// Somebody else owns a tablet on a storage volume.
    #[error(
        "tablet {tablet} has another owner: this node had it in epoch {epoch}, and epoch {by} has begun; repeat the statement"
    )]
    Fenced {
        /// The tablet.
        tablet: TabletId,
        /// Under which epoch it was owned here.
        epoch: u64,
        /// The owner's.
        by: u64,
    },
    /// A tablet on a storage volume has to be opened again.
    #[error("tablet {tablet} is not open on this node now ({reason}): repeat the statement in some seconds")]
    Closed {
        /// The tablet.
        tablet: TabletId,
        /// Why.
        reason: String,
    },
    /// The storage volume did not do what was asked.
    #[error("the storage volume of tablet {tablet} cannot be used")]
    Volume {
        /// The tablet.
        tablet: TabletId,
        /// Why not.
        #[source]
        source: tarn_proto::volume::Error,
    },
    /// A load into a storage volume took so long that files of it may be taken for orphans.
    #[error(
        "the load into tablet {tablet} took longer than {} s, half of `volume_orphan_secs`: load in smaller parts, or give \
         the storage nodes more",
        longest.as_secs()
    )]
    TooLong {
        /// The tablet.
        tablet: TabletId,
        /// The longest load.
        longest: Duration,
    },
    /// An object of a storage volume is not what was written.
    #[error("damaged object {object}: {what}; restore the object")]
    VolumeObject {
        /// The object.
        object: String,
        /// What does not fit.
        what: String,
    },
    /// A storage volume holds less of a tablet than was visible.
    #[error(
        "the storage volume has tablet {tablet} up to version {found}, and version {visible} is visible: objects are lost, \
         restore them"
    )]
    LostInVolume {
        /// The tablet.
        tablet: TabletId,
        /// What is there.
        found: Version,
        /// What was.
        visible: Version,
    },
    /// A segment has no such index, or its file is lost.
    #[error("segment {segment} of rowset {rowset} of tablet {tablet} has no {} index of column {}", index.kind.name(), index.column)]
    UnknownIndex {
        /// The tablet.
        tablet: TabletId,
        /// The rowset.
        rowset: RowsetId,
        /// The segment.
        segment: u32,
        /// What was asked for.
        index: IndexKey,
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
    /// A load that was planned for another kind of table.
    #[error("transaction {txn} cannot be written: {what}")]
    Planned {
        /// The transaction.
        txn: TxnId,
        /// What does not fit.
        what: &'static str,
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
    /// Files that another replica was to send.
    #[error("cannot copy rowset {rowset} of tablet {tablet} from {source_node}: {what}")]
    Copy {
        /// The tablet.
        tablet: TabletId,
        /// The rowset.
        rowset: RowsetId,
        /// Who was asked for it.
        source_node: String,
        /// What went wrong.
        what: String,
    },
    /// What another replica says that it has.
    #[error("cannot read what {source_node} tells of tablet {tablet}: {what}; do both nodes run the same version?")]
    Offered {
        /// The tablet.
        tablet: TabletId,
        /// Who was asked.
        source_node: String,
        /// What does not fit.
        what: String,
    },
    /// A replica that cannot catch up now.
    #[error("the replica of tablet {tablet} cannot come to version {version} now: {reason}")]
    Behind {
        /// The tablet.
        tablet: TabletId,
        /// Where it was to come.
        version: Version,
        /// Why not.
        reason: String,
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
    /// The disk would be fuller than it may be.
    #[error(
        "the disk of this storage node's data directory {} is {percent} % full, {} are left, and {} more are wanted: above \
         {} %, or with less than {} left, loads and compactions are refused. Free space, add storage nodes, or change \
         `disk_refuse_percent` and `disk_reserve_bytes`",
        data.display(), gib(*left), gib(*wanted), limits.refuse_percent, gib(limits.reserve_bytes)
    )]
    DiskFull {
        /// The data directory.
        data: PathBuf,
        /// How full the disk is.
        percent: u8,
        /// Bytes that are left.
        left: u64,
        /// Bytes that were to be written; 0 if that is not known.
        wanted: u64,
        /// When it counts as full.
        limits: DiskLimits,
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
    /// Nothing to look into.
    #[error("there is no segment (*.vortex) in {}", .0.display())]
    NoSegment(PathBuf),
    /// Compactions are asked for where none is done.
    #[error("this storage node does not compact: set `compaction_threads` to 1 or more and restart it")]
    CompactionOff,
    /// A value that the schema which rows are converted to does not take.
    #[error("{misfit} (in tablet {tablet})")]
    Misfit {
        /// The tablet that the rows are in.
        tablet: TabletId,
        /// The value.
        misfit: Misfit,
    },
    /// A load that is more than rows, into a tablet that has been replaced meanwhile.
    #[error(
        "what transaction {txn} wrote to tablet {tablet} was planned before the table was altered and changes rows that are \
         there: run the statement again"
    )]
    Unconvertible {
        /// The tablet.
        tablet: TabletId,
        /// The transaction.
        txn: TxnId,
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
            Self::Misfit { .. }
            | Self::Rows { .. }
            | Self::Range { .. }
            | Self::Planned { .. }
            | Self::CompactionOff => ErrorKind::Invalid,
            Self::UnknownTablet(_)
            | Self::UnknownSegment { .. }
            | Self::OtherFile { .. }
            | Self::UnknownIndex { .. }
            | Self::MissingRowset { .. }
            | Self::NoSegment(_)
            | Self::Superseded { .. } => ErrorKind::NotFound,
            Self::Published { .. } => ErrorKind::AlreadyExists,
            Self::Volume { source, .. } => source.kind(),
            Self::Unconvertible { .. }
            | Self::NotNext { .. }
            | Self::Fenced { .. }
            | Self::Closed { .. }
            | Self::FutureVersion { .. }
            | Self::Unreadable { .. }
            | Self::Copy { .. }
            | Self::Behind { .. } => ErrorKind::Unavailable,
            Self::Replaced { .. } | Self::Stopped(_) => ErrorKind::Cancelled,
            Self::ReadOnly { .. } | Self::DiskFull { .. } | Self::TooLong { .. } => ErrorKind::Exhausted,
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                ErrorKind::Exhausted
            }
            Self::VersionTaken { .. }
            | Self::Failed(_)
            | Self::Offered { .. }
            | Self::Damaged { .. }
            | Self::VolumeObject { .. }
            | Self::LostInVolume { .. }
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

    /// Whether a replica lacks what a publish builds on and has to get it from another one.
    pub(crate) const fn is_behind(&self) -> bool {
        matches!(
            self,
            Self::UnknownTablet(_)
                | Self::NotNext { .. }
                | Self::MissingRowset { .. }
                | Self::Behind { .. }
                | Self::Fenced { .. }
                | Self::Closed { .. }
                | Self::Volume { .. }
        )
    }

    /// The rowset whose files are not what was written, if that is what is wrong.
    pub(crate) const fn damaged_rowset(&self) -> Option<RowsetId> {
        match self {
            Self::Damaged { rowset, .. } | Self::Decode { rowset, .. } => Some(*rowset),
            _ => None,
        }
    }

    /// Whether the disk did not take a write, which makes the tablet read-only.
    pub(crate) const fn is_write_failure(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Meta { .. })
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
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
