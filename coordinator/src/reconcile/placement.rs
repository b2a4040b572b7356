//! Where replicas should be. Pure: a catalog and what is known of its nodes go in, changes of replicas come out.
//!
//! ```text
//!  sites       storage nodes with what lies on them, and which of them may get more
//!  cycle       the nodes that new tablets are dealt to
//!  terms       what a table asks of its nodes' locations
//!  repair      tablets of no group: replicas on nodes that are lost, drained or crowded, too few and too many
//!  colocation  groups: first where their buckets should be, then their tablets
//!  balance     moves from full nodes to empty ones, a few at a time, while nothing needs repair
//! ```
//!
//! A plan is no promise: the catalog checks each change again when it is applied, and refuses what would be unsafe. Nothing
//! is kept between two plans, so a new leader goes on where the last one stopped.
//!
//! Nodes whose disks fill up get what no other node can take; full ones nothing.
//!
//! What moves cannot go back and forth: tablets and bytes count where they will be when the moves under way are done, and a
//! move is planned only if it makes the sum of the squares of the nodes' loads less.

mod balance;
mod colocation;
mod cycle;
mod repair;
mod sites;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tarn_catalog::Catalog;
use tarn_catalog::command::{AddReplica, BucketNodes, ReplicaKey};
use tarn_proto::{GroupId, NodeId};

pub use cycle::cycle;
use sites::Sites;
pub use sites::placed_tables;

/// Whether a node answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It was heard lately.
    Alive,
    /// It is silent, but may come back: its replicas are waited for.
    #[default]
    Silent,
    /// It has been silent for so long that its replicas are made elsewhere.
    Lost,
}

/// What is known of a storage node beside the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Whether it answers.
    pub life: Life,
    /// Size of its disk in bytes. 0: not known.
    pub disk_total: u64,
    /// Whether its disk takes more.
    pub disk: Disk,
}

/// Whether a disk takes more replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// It has room.
    #[default]
    Roomy,
    /// It fills up: it gets what no other node can take.
    Low,
    /// It takes nothing.
    Full,
}

/// What is known of the cluster beside the catalog. A node that is not in it is silent.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Storage nodes.
    pub nodes: BTreeMap<NodeId, NodeHealth>,
    /// Replicas that their node cannot mend.
    pub damaged: BTreeSet<ReplicaKey>,
}

/// How much is under way at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most replicas that are being filled on a node, for whatever reason.
    pub joining_per_node: usize,
    /// Most replicas that are moved to or from a node to balance. No more than `joining_per_node`.
    pub moves_per_node: usize,
    /// Disk use is not balanced while nodes hold fewer bytes than this on average.
    pub balanced_bytes: u64,
    /// Whether nodes are balanced at all.
    pub balance: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { joining_per_node: 16, moves_per_node: 4, balanced_bytes: 1 << 30, balance: true }
    }
}

/// Changes that bring the cluster nearer to where replicas should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Replicas to be given up. They go before any is added.
    pub remove: Vec<ReplicaKey>,
    /// Replicas to be filled.
    pub add: Vec<AddReplica>,
    /// Buckets of colocation groups to be moved.
    pub buckets: BTreeMap<GroupId, Vec<BucketNodes>>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty() && self.buckets.is_empty()
    }
}

/// What to do next. Costs a look at every tablet.
pub fn plan(catalog: &Catalog, health: &Health, limits: &Limits) -> Plan {
    let mut plan = Plan::default();
    let mut sites = Sites::new(catalog, health, limits);
    colocation::place_groups(catalog, &mut sites, &mut plan);
    repair::repair(catalog, health, limits, &mut sites, &mut plan);
    if limits.balance && plan.is_empty() {
        balance::balance(catalog, limits, &mut sites, &mut plan);
    }
    plan
}
