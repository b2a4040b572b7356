//! What compacts tables.

use crate::name::{Ident, ObjectName};

/// `ALTER TABLE table [BASE | CUMULATIVE] COMPACT [partition | (partition, ..)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactTable {
    /// The table.
    pub table: ObjectName,
    /// Its partitions; all if there are none.
    pub partitions: Vec<Ident>,
    /// Whether only what came after the largest rowset is merged: `CUMULATIVE`.
    pub cumulative: bool,
}
