//! Why a load fails.

use tarn_proto::storage::StoreError;
use tarn_proto::{ErrorKind, NodeId, TableId, TxnId};

use crate::catalog::ProposeError;

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
    /// A tablet is placed on a node that the catalog does not know.
    #[error("storage node {0} holds a tablet but is not registered")]
    UnknownNode(NodeId),
    /// The table was dropped while it was loaded.
    #[error("table {0} was dropped while it was being loaded")]
    TableGone(TableId),
    /// A row is wrong.
    #[error("{0}")]
    Row(#[from] crate::coerce::RowError),
    /// No partition takes a row.
    #[error("no partition of table `{table}` takes row {row}, whose partition key is ({key}): add a partition for it")]
    NoPartition {
        /// The table.
        table: String,
        /// The row in the load, from 1.
        row: u64,
        /// The row's key.
        key: String,
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
    /// It is committed and will become visible, but not within the wait.
    #[error("transaction {txn} is committed but not visible yet: a storage node is slow or away; do not load it again")]
    NotVisibleYet {
        /// The transaction.
        txn: TxnId,
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
            Self::Row(_) | Self::NoPartition { .. } | Self::TooManyPartitions { .. } => ErrorKind::Invalid,
            Self::Source(_, kind) => *kind,
            Self::TableGone(_) => ErrorKind::NotFound,
            Self::UnknownNode(_) | Self::Arrow(_) | Self::UnexpectedAnswer(_) => ErrorKind::Internal,
            Self::LabelInUse { .. } | Self::NotVisibleYet { .. } => ErrorKind::Unavailable,
        }
    }
}
