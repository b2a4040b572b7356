//! Which partitions a load writes, and what becomes of the rows that are there.

use std::sync::Arc;

use tarn_catalog::Table;

use crate::route::Reach;

/// Where a load's rows go. By default they are added to whatever partitions they belong to.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The partitions that they may go to.
    pub reach: Reach,
    /// Whether they replace the rows that are there; `None` if they are added.
    pub replacing: Option<Replacing>,
}

/// How a load replaces rows. Queries see all of them replaced at once, when the load becomes visible.
#[derive(Clone, Debug)]
pub struct Replacing {
    /// Partitions without a row of the load stay as they are. Else all within reach are replaced.
    pub dynamic: bool,
    /// The table as the rows' source reads it, if it does. Whoever loads it meanwhile makes the commit fail: the rows
    /// would be computed without his, and replace them.
    pub read: Option<Arc<Table>>,
}
