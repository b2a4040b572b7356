//! Why the catalog refuses a command. Part of the persisted response, so variants are only added.

use serde::{Deserialize, Serialize};
use tarn_proto::{ErrorKind, NodeId, PartitionId, TableId, TabletId, TxnId, Version};

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
    #[error(
        "table replication num should be less than or equal to the number of available storage nodes. You can change this \
         default by setting the replication_num table properties. Current alive storage nodes are [{}]. table={table}, \
         properties.replication_num={replication}",
        listed(alive)
    )]
    NotEnoughStorageNodes { table: String, replication: u32, alive: Vec<NodeId> },
    #[error("node {0} is not registered")]
    UnknownNode(NodeId),
    #[error("tablet {0} does not exist")]
    UnknownTablet(TabletId),
    #[error("node {node} still holds {tablets} tablets: move or drop them first")]
    NodeHoldsTablets { node: NodeId, tablets: usize },
    #[error("buckets of colocation group `{group}` should still be on node {node}: wait until they have been moved")]
    NodeInGroup { node: NodeId, group: String },
    #[error("replica of {tablet} on node {node}: {why}")]
    Replica { tablet: TabletId, node: NodeId, why: String },
    #[error("{0}")]
    Colocate(String),
    #[error("Colocate tables must have same bucket num: {buckets} should be {group} (table `{table}`)")]
    ColocateBuckets { table: String, buckets: u64, group: u64 },
    #[error(
        "{held} of {replicas} replicas of {tablet} hold what transaction {txn} wrote to it, which is no majority: load again"
    )]
    WriteLost { txn: TxnId, tablet: TabletId, held: usize, replicas: usize },
    #[error("{current} of {replicas} replicas of {tablet} have published transaction {txn}, which is no majority")]
    NoQuorum { txn: TxnId, tablet: TabletId, current: usize, replicas: usize },
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
    #[error(
        "A schema change operation is in progress on the table `{table}`: wait until it ends (SHOW ALTER TABLE COLUMN), or \
         cancel it (CANCEL ALTER TABLE COLUMN FROM `{table}`)"
    )]
    SchemaJobRunning { table: String },
    #[error("the change of table `{table}` has ended or is another one by now")]
    SchemaJobGone { table: String },
    #[error("the change of table `{table}` cannot end now: {reason}")]
    SchemaJobNotReady { table: String, reason: String },
    #[error("table `{table}` is about to get other columns: commit transaction {txn} again in a moment")]
    TableFrozen { table: String, txn: TxnId },
    #[error("the tablets that transaction {txn} wrote have been replaced as table `{table}` was altered: load again")]
    TabletsSwapped { table: String, txn: TxnId },
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
    #[error(
        "table `{0}` was loaded or altered while it was being copied to another storage volume: repeat the statement"
    )]
    CopiedMeanwhile(String),
    #[error(
        "table `{table}` has temporary partitions, which are not moved to another storage volume: DROP TEMPORARY \
         PARTITIONS ({0}), or let them replace partitions, first", partitions.join(", ")
    )]
    TemporaryNotMoved { table: String, partitions: Vec<String> },
    #[error("storage volume `{0}` does not exist")]
    UnknownVolume(String),
    #[error("storage volume `{0}` exists already")]
    VolumeExists(String),
    #[error("storage volume `{volume}` is used by table `{tables}`: drop or move what is on it first")]
    VolumeUsed { volume: String, tables: String },
}

impl Error {
    /// What the caller must do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownDatabase(_)
            | Self::UnknownVolume(_)
            | Self::UnknownTable(_)
            | Self::TableGone(_)
            | Self::UnknownView(_)
            | Self::UnknownPartition { .. }
            | Self::UnknownTemporaryPartition { .. }
            | Self::UnknownColumn { .. }
            | Self::UnknownNode(_)
            | Self::UnknownTablet(_)
            | Self::UnknownTransaction(_) => ErrorKind::NotFound,
            Self::DatabaseExists(_)
            | Self::VolumeExists(_)
            | Self::RelationExists(_)
            | Self::PartitionExists { .. } => ErrorKind::AlreadyExists,
            Self::CopiedMeanwhile(_)
            | Self::NoStorageNode
            | Self::NotEnoughStorageNodes { .. }
            | Self::WriteLost { .. }
            | Self::NoQuorum { .. }
            | Self::NotNextVersion { .. }
            | Self::SchemaChanged { .. }
            | Self::SchemaJobNotReady { .. }
            | Self::TableFrozen { .. }
            | Self::TabletsSwapped { .. } => ErrorKind::Unavailable,
            Self::IsView(_)
            | Self::VolumeUsed { .. }
            | Self::IsTable(_)
            | Self::PartitionOverlap { .. }
            | Self::NodeHoldsTablets { .. }
            | Self::NodeInGroup { .. }
            | Self::Replica { .. }
            | Self::Colocate(_)
            | Self::ColocateBuckets { .. }
            | Self::TransactionState { .. }
            | Self::TabletGone { .. }
            | Self::PropertiesChanged { .. }
            | Self::TemporaryNotMoved { .. }
            | Self::BoundsDiffer { .. }
            | Self::OverwrittenPartitionGone { .. }
            | Self::PartitionOverwritten { .. }
            | Self::ReadPartitionLoaded { .. }
            | Self::PartitionAddedMeanwhile { .. }
            | Self::SchemaJobRunning { .. }
            | Self::SchemaJobGone { .. }
            | Self::Alter(_)
            | Self::Invalid(_) => ErrorKind::Invalid,
        }
    }
}

/// `1001, 1002`
fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| node.get().to_string()).collect::<Vec<_>>().join(", ")
}
