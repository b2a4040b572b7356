//! Tablets and their replicas.

use serde::{Deserialize, Serialize};
use tarn_proto::{NodeId, TabletId};

/// What a replica is to its tablet.
///
/// ```text
///              ReplicasCaughtUp, MakeVisible
///  Joining ------------------------------------> Current <------> Behind
///     | takes the place of `replaces`, whose         missed a version; has caught up
///     | files are then dropped
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaState {
    /// Had every visible version at the last publish. It is read.
    Current,
    /// Missed a version. It counts in the quorum's denominator, is not read, and catches up from its peers.
    Behind,
    /// Being filled. It gets loads and publishes as the others do, neither votes nor is read.
    Joining {
        /// The member whose place it takes when it is filled; none if the tablet gets one more.
        replaces: Option<NodeId>,
    },
}

impl ReplicaState {
    /// `CURRENT`, `BEHIND` or `JOINING`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "CURRENT",
            Self::Behind => "BEHIND",
            Self::Joining { .. } => "JOINING",
        }
    }
}

/// One copy of a tablet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// The storage node that has it.
    pub node: NodeId,
    /// What it is to the tablet.
    pub state: ReplicaState,
}

impl Replica {
    /// A replica that has every visible version.
    pub const fn current(node: NodeId) -> Self {
        Self { node, state: ReplicaState::Current }
    }

    /// Whether it counts in the quorum's denominator.
    pub const fn is_member(&self) -> bool {
        !matches!(self.state, ReplicaState::Joining { .. })
    }
}

/// One hash bucket of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablet {
    /// Its id, never reused.
    pub id: TabletId,
    /// Its copies, on distinct nodes: the first member is the one that loads write to if it is well.
    pub replicas: Vec<Replica>,
    /// Rows at the partition's visible version.
    pub rows: u64,
    /// Bytes of segments at the partition's visible version, of one copy.
    pub bytes: u64,
    /// Counts the owners of a tablet whose files lie on a storage volume, from 1: what an earlier owner writes is refused.
    pub epoch: u64,
}

impl Tablet {
    /// An empty tablet with a replica on each of these nodes.
    pub fn new(id: TabletId, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self { id, replicas: nodes.into_iter().map(Replica::current).collect(), rows: 0, bytes: 0, epoch: 1 }
    }

    /// Nodes of all replicas, in order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().map(|replica| replica.node)
    }

    /// Replicas that count in the quorum's denominator, in order.
    pub fn members(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.is_member())
    }

    /// How many members a version must be on before it may be seen, and a load before it is acknowledged: more than half.
    pub fn quorum(&self) -> usize {
        self.members().count() / 2 + 1
    }

    /// Replicas that may be read, in order.
    pub fn readable(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.state == ReplicaState::Current)
    }

    /// The replica on a node.
    pub fn replica(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }
}
