//! Why the catalog refuses a command. Part of the persisted response, so variants are only added.

use serde::{Deserialize, Serialize};
use tarn_proto::{ErrorKind, NodeId, PartitionId, TableId, TxnId, Version};

/// A refused command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("database `{0}` does not exist")]
    UnknownDatabase(String),
    #[error("database `{0}` exists already")]
    DatabaseExists(String),
    #[error("table `{0}` does not exist")]
    UnknownTable(String),
    #[error("table {0} has been dropped")]
    TableGone(TableId),
    #[error("table or view `{0}` exists already")]
    RelationExists(String),
    #[error("view `{0}` does not exist")]
    UnknownView(String),
    #[error("`{0}` is a view where a table is wanted: to drop it, use DROP VIEW")]
    IsView(String),
    #[error("`{0}` is a table where a view is wanted: to drop it, use DROP TABLE")]
    IsTable(String),
    #[error("partition `{partition}` of table `{table}` does not exist")]
    UnknownPartition { table: String, partition: String },
    #[error("partition `{partition}` of table `{table}` exists already")]
    PartitionExists { table: String, partition: String },
    #[error("partition `{partition}` overlaps partition `{other}` of table `{table}`")]
    PartitionOverlap { table: String, partition: String, other: String },
    #[error("no storage node is alive to place tablets on: start one, or wait for its heartbeat")]
    NoStorageNode,
    #[error("node {0} is not registered")]
    UnknownNode(NodeId),
    #[error("node {node} still holds {tablets} tablets: move or drop them first")]
    NodeHoldsTablets { node: NodeId, tablets: usize },
    #[error("transaction {0} does not exist or has expired")]
    UnknownTransaction(TxnId),
    #[error("transaction {txn} is {state}: it cannot be {action}")]
    TransactionState { txn: TxnId, state: String, action: String },
    #[error("transaction {txn} wrote to a tablet that has been dropped: load again")]
    TabletGone { txn: TxnId },
    #[error("invalid request: {0}")]
    Invalid(String),
    #[error("column `{column}` of table `{table}` does not exist")]
    UnknownColumn { table: String, column: String },
    #[error("table `{table}` was altered meanwhile: repeat the statement")]
    SchemaChanged { table: String },
    #[error("{0}")]
    Alter(String),
    #[error("the properties of table `{table}` have been changed meanwhile: repeat the statement")]
    PropertiesChanged { table: String },
    #[error("temporary partition `{partition}` of table `{table}` does not exist")]
    UnknownTemporaryPartition { table: String, partition: String },
    #[error(
        "partitions ({partitions}) and temporary partitions ({temporary}) of table `{table}` do not hold the same keys: \
         give them the same bounds, or set \"strict_range\" = \"false\""
    )]
    BoundsDiffer { table: String, partitions: String, temporary: String },
    #[error(
        "a partition of table `{table}` was dropped, truncated or replaced while transaction {txn} was overwriting it: \
         repeat the statement"
    )]
    OverwrittenPartitionGone { table: String, txn: TxnId },
    #[error(
        "partition `{partition}` of table `{table}` has been overwritten by transaction {by} while transaction {txn} was \
         writing to it: repeat the statement"
    )]
    PartitionOverwritten { table: String, partition: String, txn: TxnId, by: TxnId },
    #[error(
        "partition `{partition}` of table `{table}` was loaded while transaction {txn}, which reads it, was overwriting \
         it: repeat the statement"
    )]
    ReadPartitionLoaded { table: String, partition: String, txn: TxnId },
    #[error(
        "partition `{partition}` was added to table `{table}` while transaction {txn} was overwriting the whole table: \
         repeat the statement"
    )]
    PartitionAddedMeanwhile { table: String, partition: String, txn: TxnId },
    #[error(
        "transaction {txn} takes {version} of partition {partition}, which is at {visible}: the one before comes first"
    )]
    NotNextVersion { txn: TxnId, partition: PartitionId, version: Version, visible: Version },
}

impl Error {
    /// What the caller must do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownDatabase(_)
            | Self::UnknownTable(_)
            | Self::TableGone(_)
            | Self::UnknownView(_)
            | Self::UnknownPartition { .. }
            | Self::UnknownTemporaryPartition { .. }
            | Self::UnknownColumn { .. }
            | Self::UnknownNode(_)
            | Self::UnknownTransaction(_) => ErrorKind::NotFound,
            Self::DatabaseExists(_) | Self::RelationExists(_) | Self::PartitionExists { .. } => {
                ErrorKind::AlreadyExists
            }
            Self::NoStorageNode | Self::NotNextVersion { .. } | Self::SchemaChanged { .. } => ErrorKind::Unavailable,
            Self::IsView(_)
            | Self::IsTable(_)
            | Self::PartitionOverlap { .. }
            | Self::NodeHoldsTablets { .. }
            | Self::TransactionState { .. }
            | Self::TabletGone { .. }
            | Self::PropertiesChanged { .. }
            | Self::BoundsDiffer { .. }
            | Self::OverwrittenPartitionGone { .. }
            | Self::PartitionOverwritten { .. }
            | Self::ReadPartitionLoaded { .. }
            | Self::PartitionAddedMeanwhile { .. }
            | Self::Alter(_)
            | Self::Invalid(_) => ErrorKind::Invalid,
        }
    }
}
