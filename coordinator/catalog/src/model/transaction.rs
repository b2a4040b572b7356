//! Load transactions. Its state is a type: data that exists only in one state stands in that state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tarn_proto::{DatabaseId, NodeId, PartitionId, RowsetId, TableId, TabletId, TxnId, Version};

/// How the labels begin that Tarn gives to loads without one; a UUID follows.
pub const GENERATED_LABEL: &str = "insert_";

/// What a load wrote to one tablet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabletWrite {
    /// The tablet.
    pub tablet: TabletId,
    /// The rowset.
    pub rowset: RowsetId,
    /// Its rows.
    pub rows: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Nodes that hold it durably.
    pub holders: Vec<NodeId>,
}

/// One load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its id, never reused.
    pub id: TxnId,
    /// The database that its label is unique in.
    pub database: DatabaseId,
    /// Names the load; repeating it returns the first outcome.
    pub label: String,
    /// The table it loads.
    pub table: TableId,
    /// The coordinator that runs it, and the start of that process it belongs to, with what tells its attempts apart.
    pub owner: (NodeId, String),
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When the leader may abort it if it has not committed, in milliseconds since 1970.
    pub expires_ms: u64,
    /// What it replaces, if it does not add to what is there. Only while it is open or committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<Overwrite>,
    /// Where it is.
    pub state: TransactionState,
}

/// The partitions that a transaction replaces in the step that makes it visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwrite {
    /// It replaces every partition of the table: one that is added meanwhile refuses the commit.
    pub whole: bool,
    /// By the id of the partition that is replaced.
    pub replacements: BTreeMap<PartitionId, Replacement>,
}

/// What takes a partition's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// The partition among [`super::Table::shadows`] that does.
    pub with: PartitionId,
    /// The version that the rows were computed from, if they were: a later one refuses the commit.
    pub read: Option<Version>,
}

impl Transaction {
    /// Whether its label was not the client's, who can only repeat it after an error that named it.
    pub fn has_generated_label(&self) -> bool {
        let dashes = [8, 13, 18, 23];
        let uuid = |(at, byte): (usize, u8)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        let rest = self.label.strip_prefix(GENERATED_LABEL);
        rest.is_some_and(|rest| rest.len() == 36 && rest.bytes().enumerate().all(uuid))
    }
}

/// Where a transaction is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransactionState {
    /// Rows are being written; nothing of it is visible.
    Prepare,
    /// Durable and ordered; becomes visible when its storage nodes have published it.
    Committed {
        /// What it wrote.
        writes: Vec<TabletWrite>,
        /// The version it took of each partition it touched.
        versions: BTreeMap<PartitionId, Version>,
        /// When, in milliseconds since 1970.
        committed_ms: u64,
    },
    /// Queries see it.
    Visible {
        /// Rows it loaded.
        rows: u64,
        /// The version it took of each partition it touched.
        versions: BTreeMap<PartitionId, Version>,
        /// When, in milliseconds since 1970.
        visible_ms: u64,
    },
    /// It left nothing.
    Aborted {
        /// Why.
        reason: String,
        /// When, in milliseconds since 1970.
        aborted_ms: u64,
    },
}

impl TransactionState {
    /// StarRocks' word for it: `PREPARE`, `COMMITTED`, `VISIBLE` or `ABORTED`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE",
            Self::Committed { .. } => "COMMITTED",
            Self::Visible { .. } => "VISIBLE",
            Self::Aborted { .. } => "ABORTED",
        }
    }
}
