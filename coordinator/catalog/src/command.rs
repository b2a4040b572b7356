//! What may be asked of the catalog, and what it answers. This is the content of the Raft log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tarn_proto::{ColumnId, DatabaseId, NodeId, PartitionId, TableId, TableSchema, TabletId, TxnId, Version};

use crate::Error;
use crate::model::{Bounds, ColumnInfo, Distribution, Partitioning, Role, TabletWrite, TransactionState};

/// Format version of encoded commands and responses.
pub const ENCODING: u8 = 1;

/// The greatest id of a coordinator. Coordinators' ids come from configuration, so other nodes' start above.
pub const MAX_COORDINATOR_ID: NodeId = NodeId(1000);

/// Names one attempt to change the catalog. A command that arrives twice under one id is applied once.
pub type RequestId = u128;

/// A change and its request id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Drawn at random by the proposer, kept through its retries.
    pub request_id: RequestId,
    /// The change.
    pub operation: Operation,
}

/// What `apply` may know beside state and command; equal on every coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The leader's clock when it took the command, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Storage nodes that new tablets are dealt to in turn, chosen by the proposer among those alive and not draining.
pub type Placement = Vec<NodeId>;

/// A table to be created. Ids of columns are given by the proposer, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TableSpec {
    pub name: String,
    pub schema: TableSchema,
    pub columns: BTreeMap<ColumnId, ColumnInfo>,
    pub explicit_sort_key: bool,
    pub partitioning: Partitioning,
    pub distribution: Distribution,
    pub properties: BTreeMap<String, String>,
    pub comment: String,
    pub partitions: Vec<PartitionSpec>,
}

/// A partition to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PartitionSpec {
    pub name: String,
    pub bounds: Bounds,
}

/// A change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Operation {
    /// Names the cluster; the first name stays. Answers `ClusterId`.
    InitializeCluster {
        cluster_id: String,
    },
    /// Answers `Node`. A node that is registered under the id it asks for keeps it, also at a new address. Else it gets
    /// the id that its address and role had (unless tablets are registered under that), the id asked for if it is free, or
    /// a new one. Coordinators always get the id they ask for; ids up to [`MAX_COORDINATOR_ID`] are theirs alone. Another
    /// node that was registered at the address has none from then on.
    RegisterNode {
        role: Role,
        address: String,
        node_id: Option<NodeId>,
    },
    SetDraining {
        node: NodeId,
        draining: bool,
    },
    /// Refused while the node holds tablets.
    RemoveNode {
        node: NodeId,
    },
    /// Answers `Database`.
    CreateDatabase {
        name: String,
        if_not_exists: bool,
    },
    /// Drops the tables in it, too.
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    RenameDatabase {
        name: String,
        new_name: String,
    },
    /// Answers `Table`.
    CreateTable {
        database: DatabaseId,
        table: Box<TableSpec>,
        if_not_exists: bool,
        placement: Placement,
    },
    /// With `only`, another table of this name counts as none: what drops a table that it made itself must not hit one
    /// that somebody has put in its place.
    DropTable {
        database: DatabaseId,
        name: String,
        if_exists: bool,
        only: Option<TableId>,
    },
    RenameTable {
        database: DatabaseId,
        name: String,
        new_name: String,
    },
    /// Gives `new` the name `name` in its database, and drops `old`, which has it, at once. Refused when another table or
    /// view has the name. Idempotent.
    ReplaceTable {
        old: Option<TableId>,
        new: TableId,
        name: String,
    },
    /// Replaces the named partitions (all, if none is named) by empty ones with new tablets.
    TruncateTable {
        table: TableId,
        partitions: Vec<String>,
        placement: Placement,
    },
    /// Answers `Partitions`, in order; a partition that exists with equal bounds is answered, not created again, unless
    /// `fail_if_exists`. Where rows choose partitions by expression, and unless `fail_if_exists`, a name that another
    /// partition has gets a number appended: names of values that differ only by case or punctuation may be equal.
    AddPartitions {
        table: TableId,
        partitions: Vec<PartitionSpec>,
        fail_if_exists: bool,
        placement: Placement,
    },
    DropPartition {
        table: TableId,
        name: String,
        if_exists: bool,
    },
    RenamePartition {
        table: TableId,
        name: String,
        new_name: String,
    },
    /// Answers `Table`.
    CreateView {
        database: DatabaseId,
        name: String,
        columns: Vec<String>,
        query: String,
        comment: String,
        or_replace: bool,
        if_not_exists: bool,
    },
    DropView {
        database: DatabaseId,
        name: String,
        if_exists: bool,
    },
    /// Answers `Begun`, or `LabelUsed` when the label has a transaction that is not aborted.
    BeginTransaction {
        database: DatabaseId,
        label: String,
        table: TableId,
        owner: (NodeId, String),
        timeout_ms: u64,
    },
    /// Takes the next version of every partition written. Idempotent. Answers `Committed`.
    CommitTransaction {
        txn: TxnId,
        writes: Vec<TabletWrite>,
    },
    /// The storage nodes have published a committed transaction. Refused unless each of its partitions is at the version
    /// before; partitions dropped meanwhile do not count. Idempotent.
    MakeVisible {
        txn: TxnId,
    },
    /// Idempotent; refused once committed.
    AbortTransaction {
        txn: TxnId,
        reason: String,
    },
    /// Aborts transactions past their time and forgets finished ones older than the retention of their label: nobody
    /// repeats a generated one for long.
    ExpireTransactions {
        label_retention_ms: u64,
        generated_retention_ms: u64,
    },
    /// Forgets dropped tablets whose files are gone.
    ForgetTablets {
        tablets: Vec<TabletId>,
    },
}

/// The catalog's answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Response {
    Done,
    ClusterId(String),
    Node(NodeId),
    Database(DatabaseId),
    Table(TableId),
    Partitions(Vec<PartitionId>),
    Begun(TxnId),
    LabelUsed {
        txn: TxnId,
        state: TransactionState,
    },
    Committed {
        versions: BTreeMap<PartitionId, Version>,
    },
    /// The catalog is unchanged.
    Refused(Error),
}

impl Command {
    /// The versioned encoding.
    pub fn encode(&self) -> Vec<u8> {
        tarn_proto::encoding::encode(ENCODING, self)
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, tarn_proto::encoding::Error> {
        tarn_proto::encoding::decode("catalog command", ENCODING, bytes)
    }
}

impl Response {
    /// The versioned encoding.
    pub fn encode(&self) -> Vec<u8> {
        tarn_proto::encoding::encode(ENCODING, self)
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, tarn_proto::encoding::Error> {
        tarn_proto::encoding::decode("catalog response", ENCODING, bytes)
    }
}
