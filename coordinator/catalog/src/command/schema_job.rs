//! Steps of a change of columns that takes time.

use serde::{Deserialize, Serialize};
use tarn_proto::{NodeId, TabletId, Version};

/// One step of a job. What the catalog does not see, the rows, is told by who asks: the leader, of what storage nodes say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStep {
    /// Gives every partition the tablets to be filled that it lacks, anew where those it is filled from are on other nodes
    /// than they were. Idempotent.
    Prepare,
    /// How far it has come, for who asks.
    Progress {
        /// Tablets that are done.
        done: u32,
        /// All of them.
        all: u32,
    },
    /// No load of the table can be committed from now on. Idempotent.
    Freeze,
    /// Loads can be committed again. Idempotent.
    Thaw,
    /// Puts the tablets in the place of those that they were filled from, and gives the table its new schema. Refused unless
    /// every partition has, at its visible version, a quorum of each tablet's replicas, and no committed load of the table
    /// waits to become visible. Of a job that builds, only the end is noted.
    Finish {
        /// The tablets of all partitions.
        filled: Vec<Filled>,
    },
    /// Gives it up: the table stays as it is.
    Cancel {
        /// Why, as `SHOW ALTER TABLE COLUMN` says it.
        reason: String,
    },
}

/// A tablet that has been filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// The tablet.
    pub tablet: TabletId,
    /// The version of its partition that it holds.
    pub version: Version,
    /// The nodes whose replicas do.
    pub nodes: Vec<NodeId>,
    /// Its rows.
    pub rows: u64,
    /// Bytes of their segments.
    pub bytes: u64,
}
