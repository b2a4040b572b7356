//! What became of a table's columns.

use serde::{Deserialize, Serialize};
use tarn_proto::{ColumnId, SchemaVersion, TableSchema};

/// Changes that are remembered of a table: enough to see what was done lately, few enough to cost nothing.
const REMEMBERED_CHANGES: usize = 32;

/// A finished change of a table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Unique in the cluster.
    pub id: u64,
    /// The schema that it led to.
    pub version: SchemaVersion,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
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
