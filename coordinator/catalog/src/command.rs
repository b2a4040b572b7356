//! What may be asked of the catalog, and what it answers. This is the content of the Raft log.

mod alteration;
mod placement;
mod replicas;
mod schema_job;
mod volume;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tarn_proto::{
    ColumnId, DatabaseId, GroupId, NodeId, PartitionId, SchemaVersion, TableId, TableSchema, TabletId, TxnId, Version,
};

pub use alteration::{Alteration, NewColumn, Place};
pub use placement::Placement;
pub use replicas::{AddReplica, BucketNodes, CaughtUp, ReplicaKey};
pub use schema_job::{Filled, JobStep};
pub use volume::{OwnerMove, VolumeChange, VolumeSpec};

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
    pub replication: u32,
    /// The name of its colocation group, which is made if there is none of this name.
    pub colocate_with: Option<String>,
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
    /// Says where a storage node stands, such as `rack:r1`.
    SetNodeLocation {
        node: NodeId,
        location: Option<String>,
    },
    /// Refused while the node holds tablets.
    RemoveNode {
        node: NodeId,
    },
    /// Makes a storage volume. Refused if one has the name, and with a definition that cannot be used.
    CreateVolume {
        volume: VolumeSpec,
        if_not_exists: bool,
    },
    AlterVolume {
        name: String,
        change: VolumeChange,
    },
    /// Refused while a table is on it.
    DropVolume {
        name: String,
        if_exists: bool,
    },
    /// Where tables go from now on that do not say it; without a name to the nodes' disks.
    SetDefaultVolume {
        name: Option<String>,
    },
    /// Gives tablets on storage volumes other owners. A move from another epoch than the tablet is in does nothing.
    MoveOwners {
        moves: Vec<OwnerMove>,
    },
    /// Lets a table have the partitions of another one, which holds a copy of its rows and goes: they may be elsewhere.
    /// Refused unless the table has the partitions, at the versions, that were copied, and the columns.
    TakePartitions {
        table: TableId,
        from: TableId,
        versions: BTreeMap<PartitionId, Version>,
    },
    /// Forgets dropped tablets whose objects are gone from their volume.
    ForgetPurged {
        tablets: Vec<TabletId>,
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
    /// Drops partitions, or temporary ones, all or none. With `if_exists` those that are there.
    DropPartitions {
        table: TableId,
        names: Vec<String>,
        temporary: bool,
        if_exists: bool,
    },
    RenamePartition {
        table: TableId,
        name: String,
        new_name: String,
    },
    /// Answers `Partitions`. Queries do not read them, loads write them by name. Refused when a partition or temporary
    /// partition has one of the names, or a temporary one shares keys.
    AddTemporaryPartitions {
        table: TableId,
        partitions: Vec<PartitionSpec>,
        placement: Placement,
    },
    /// Drops partitions, and makes temporary ones partitions, at once. With `strict_range` both must hold the same keys.
    /// As many as there were keep their names in order, unless `temporary_names`; else the temporary ones keep theirs.
    ReplacePartitions {
        table: TableId,
        partitions: Vec<String>,
        temporary: Vec<String>,
        strict_range: bool,
        temporary_names: bool,
    },
    /// Drops partitions by their ids, if they are there, and makes others unless their names or keys are taken. Answers
    /// `Partitions`: the new ones. Without `buckets` they have the table's. Refused unless the table has the properties that
    /// this was computed from.
    MaintainPartitions {
        table: TableId,
        add: Vec<PartitionSpec>,
        drop: Vec<PartitionId>,
        buckets: Option<u32>,
        placement: Placement,
        properties: BTreeMap<String, String>,
    },
    /// Sets properties that a table may change, names in lower case; an empty value removes one. Refused unless the table
    /// has the properties `before` that the change was checked with.
    SetTableProperties {
        table: TableId,
        properties: BTreeMap<String, String>,
        before: BTreeMap<String, String>,
    },
    /// Changes columns and indexes, in order and all or none. Refused unless the schema is the one that the changes were
    /// computed from, and while an earlier change has not ended. What takes time is a job from then on
    /// ([`crate::SchemaJob`]), which is given up after `timeout_ms`.
    AlterTable {
        table: TableId,
        schema_version: SchemaVersion,
        alterations: Vec<Alteration>,
        timeout_ms: u64,
    },
    /// Takes a step of a table's job, which must be this one.
    StepSchemaJob {
        table: TableId,
        job: u64,
        step: JobStep,
    },
    /// Drops the tablets that a job has replaced. Refused while a transaction is open that began before. Idempotent.
    ReleaseSwapped {
        table: TableId,
    },
    /// Answers `Increments`: so many numbers, from the first on, that the table's AUTO_INCREMENT column gives nobody else.
    TakeIncrements {
        table: TableId,
        count: u64,
    },
    /// Gives two tables of a database each other's name.
    SwapTables {
        one: TableId,
        other: TableId,
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
    /// Makes an open transaction replace partitions instead of adding to them: each gets a hidden one with its bounds and
    /// buckets for the transaction to write, which takes its place in the step that makes the transaction visible, and
    /// goes when that is aborted. With the version that the rows are computed from, if they are. With `whole`, those that
    /// are gone are left out, and none may be added before the commit. Idempotent. Answers `Partitions`: the hidden ones.
    PrepareOverwrite {
        txn: TxnId,
        table: TableId,
        whole: bool,
        partitions: BTreeMap<PartitionId, Option<Version>>,
        placement: Placement,
    },
    /// Takes the next version of every partition written. Refused for partitions that are dropped, or that a committed
    /// transaction overwrites. Idempotent. Answers `Committed`.
    CommitTransaction {
        txn: TxnId,
        writes: Vec<TabletWrite>,
    },
    /// The storage nodes have published a committed transaction. `changed` names the replicas that are at its version now
    /// and were not current (`true`), and those that were current and are not (`false`). Refused unless each of its
    /// partitions is at the version before, and a quorum of each tablet at its version; partitions dropped meanwhile do not
    /// count. Idempotent.
    MakeVisible {
        txn: TxnId,
        changed: Vec<(TabletId, NodeId, bool)>,
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
    /// Begins to fill replicas. Each is done or refused by itself: one on a node that has one already, that drains, or that
    /// stands where another replica does (if nodes stand at enough other locations) is refused. Idempotent. Answers
    /// `Replicas`.
    AddReplicas {
        replicas: Vec<AddReplica>,
    },
    /// Gives up replicas: those that are being filled, and members that are more than the table asks for. A member is kept
    /// if those left would be no quorum of current ones, or too few would hold what is committed. Idempotent. Answers
    /// `Replicas`.
    RemoveReplicas {
        replicas: Vec<ReplicaKey>,
    },
    /// Replicas hold every version up to one. Those that lack nothing committed become current. One that joins and has what
    /// is visible becomes a member that is behind, where this costs no copy of what is committed. Others stay as they are.
    /// Idempotent. Answers `Replicas`.
    ReplicasCaughtUp {
        replicas: Vec<CaughtUp>,
    },
    /// Replicas are damaged, gone or lack visible versions: they are read no more until they have caught up. The last
    /// current one of a tablet stays so. Idempotent. Answers `Replicas`.
    ReplicasBehind {
        replicas: Vec<ReplicaKey>,
    },
    /// Forgets removed replicas whose files are gone.
    ForgetReplicas {
        replicas: Vec<ReplicaKey>,
    },
    /// How many copies the table's tablets should have. Refused for tables in a colocation group.
    SetReplication {
        table: TableId,
        replication: u32,
    },
    /// Puts a table into the group of this name, which is made of its buckets if there is none, or takes it out of its own.
    /// The buckets of a table without partitions are dealt to `placement`.
    SetColocation {
        table: TableId,
        group: Option<String>,
        placement: Placement,
    },
    /// Says where buckets of a colocation group should be. Refused unless each of them is where the change was computed from.
    MoveBuckets {
        group: GroupId,
        buckets: Vec<BucketNodes>,
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
    Increments {
        first: i64,
    },
    /// What was not done of a change of replicas, and why.
    Replicas {
        refused: Vec<(ReplicaKey, Error)>,
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
