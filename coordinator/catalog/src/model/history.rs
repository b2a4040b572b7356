//! What became of a table's columns.

use serde::{Deserialize, Serialize};
use tarn_proto::{ColumnId, SchemaVersion, TableSchema};

/// Changes that are remembered of a table: enough to see what was done lately, few enough to cost nothing.
const REMEMBERED_CHANGES: usize = 32;

/// A change of a table's columns that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Unique in the cluster.
    pub id: u64,
    /// The schema that it led to, or would have.
    pub version: SchemaVersion,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why it was given up, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
}

/// The changes of a table's columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaHistory {
    /// The greatest id that a column had when one was added or dropped; what the table has now may be above.
    last_column: Option<ColumnId>,
    /// The last ones, oldest first.
    pub changes: Vec<SchemaChange>,
}

impl SchemaHistory {
    /// Whether nothing has changed yet.
    pub const fn is_empty(&self) -> bool {
        self.last_column.is_none() && self.changes.is_empty()
    }

    /// An id for a new column of the table, whose schema this is: one that none of its columns ever had.
    pub(crate) fn next_column(&mut self, schema: &TableSchema) -> ColumnId {
        let greatest = schema.columns.iter().map(|column| column.id).chain(self.last_column).max();
        self.last_column = greatest;
        ColumnId(greatest.map_or(1, |id| id.get() + 1))
    }

    /// Remembers a change, and forgets the oldest if there are many.
    pub(crate) fn record(&mut self, change: SchemaChange) {
        self.changes.push(change);
        if self.changes.len() > REMEMBERED_CHANGES {
            self.changes.remove(0);
        }
    }
}
