//! Why a load fails.

use tarn_proto::storage::StoreError;
use tarn_proto::{ErrorKind, TableId, TabletId, TxnId, Version};

use crate::catalog::ProposeError;
use crate::load::GENERATED_LABEL_RETENTION;

/// A failed load. Nothing of it is visible, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog refused, or could not be reached.
    #[error(transparent)]
    Catalog(#[from] ProposeError),
    /// The label is that of a load that still runs, so that what becomes of it is not known.
    #[error(
        "label `{label}` is in use by transaction {txn}, which is still running: repeat the load when it has ended"
    )]
    LabelInUse {
        /// The label.
        label: String,
        /// The load that has it.
        txn: TxnId,
    },
    /// A storage node refused, or could not be reached.
    #[error("cannot load table `{table}`")]
    Store {
        /// The table.
        table: String,
        /// What the storage node said.
        #[source]
        source: StoreError,
    },
    /// Too few of a tablet's replicas are on nodes that live.
    #[error(
        "cannot load table `{table}`: {tablet} has {members} replicas, of which {needed} must take a load, and too many \
         storage nodes are away: {silent}; start them, see SHOW STORAGE NODES"
    )]
    NoQuorum {
        /// The table.
        table: String,
        /// The tablet.
        tablet: TabletId,
        /// Its members.
        members: usize,
        /// So many of them must take a load.
        needed: usize,
        /// Those that are away.
        silent: String,
    },
    /// Too few of a tablet's replicas hold what was written.
    #[error(
        "cannot load table `{table}`: {held} replicas of {tablet} took the rows, {needed} are needed; those that did not \
         are on {missing}: repeat the load, see SHOW STORAGE NODES"
    )]
    TooFewCopies {
        /// The table.
        table: String,
        /// The tablet.
        tablet: TabletId,
        /// Members that hold it.
        held: usize,
        /// Members that have to.
        needed: usize,
        /// Those that do not.
        missing: String,
    },
    /// Too few of a tablet's replicas have a committed version.
    #[error(
        "version {version} of {tablet} of table `{table}` is on {have} replicas, {needed} are needed for it to be seen: {told}"
    )]
    Unpublished {
        /// The table.
        table: String,
        /// The tablet.
        tablet: TabletId,
        /// The version.
        version: Version,
        /// Members that have it.
        have: usize,
        /// Members that have to.
        needed: usize,
        /// What each replica said.
        told: String,
        /// What has to be done.
        kind: ErrorKind,
    },
    /// The table was dropped while it was loaded.
    #[error("table {0} was dropped while it was being loaded")]
    TableGone(TableId),
    /// A row is wrong.
    #[error("{0}")]
    Row(#[from] crate::coerce::RowError),
    /// No partition takes a row.
    #[error("no partition of table `{table}` takes row {row}, whose partition key is ({key}): add one by {remedy}")]
    NoPartition {
        /// The table.
        table: String,
        /// The row in the load, from 1.
        row: u64,
        /// The row's key.
        key: String,
        /// The statement that adds it.
        remedy: String,
    },
    /// A row belongs to none of the partitions that the statement names.
    #[error(
        "row {row}, whose partition key is ({key}), belongs to none of the partitions ({partitions}) of table `{table}` \
         that the statement loads"
    )]
    OutsidePartitions {
        /// The table.
        table: String,
        /// The row in the load, from 1.
        row: u64,
        /// The row's key.
        key: String,
        /// The partitions.
        partitions: String,
    },
    /// A partition went away between routing rows to it and sending them.
    #[error("a partition of table `{table}` was dropped or replaced while it was being loaded: repeat the load")]
    PartitionGone {
        /// The table.
        table: String,
    },
    /// One load would create too many partitions.
    #[error(
        "the load would create more than {limit} partitions in table `{table}`: load less at once, or use a coarser \
         partition expression"
    )]
    TooManyPartitions {
        /// The table.
        table: String,
        /// The limit.
        limit: usize,
    },
    /// The source of the rows failed.
    #[error("{0}")]
    Source(String, ErrorKind),
    /// Arrow kernels failed on well-typed input.
    #[error("cannot process rows")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The commit did not go through, and never will.
    #[error("transaction {txn} could not be committed in time and was given up: nothing of it stays, repeat the load")]
    NotCommitted {
        /// The transaction.
        txn: TxnId,
    },
    /// Neither the commit nor the abort after it was answered: either may have happened.
    #[error(
        "the catalog's leader does not answer, so it is not known whether the load was committed; to find out without \
         loading twice, repeat it under its label `{label}`{}",
        within(*generated)
    )]
    Unclear {
        /// The label.
        label: String,
        /// Whether the label was made for the load, and is forgotten soon.
        generated: bool,
    },
    /// The catalog answered something that does not belong to the request.
    #[error("unexpected answer of the catalog to {0}")]
    UnexpectedAnswer(&'static str),
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Catalog(e) => e.kind,
            Self::Store { source, .. } => source.kind,
            Self::Row(_)
            | Self::NoPartition { .. }
            | Self::OutsidePartitions { .. }
            | Self::PartitionGone { .. }
            | Self::TooManyPartitions { .. } => ErrorKind::Invalid,
            Self::Source(_, kind) | Self::Unpublished { kind, .. } => *kind,
            Self::TableGone(_) => ErrorKind::NotFound,
            Self::Arrow(_) | Self::UnexpectedAnswer(_) => ErrorKind::Internal,
            Self::LabelInUse { .. } | Self::NotCommitted { .. } | Self::NoQuorum { .. } | Self::TooFewCopies { .. } => {
                ErrorKind::Unavailable
            }
            // Not to be repeated as it is: without a label that would load it twice.
            Self::Unclear { .. } => ErrorKind::Cancelled,
        }
    }
}

fn within(generated: bool) -> String {
    match generated {
        true => format!(" (WITH LABEL) within {} minutes", GENERATED_LABEL_RETENTION.as_secs() / 60),
        false => String::new(),
    }
}
