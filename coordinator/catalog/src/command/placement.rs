//! Where new tablets go.

use serde::{Deserialize, Serialize};
use tarn_proto::NodeId;

/// The storage nodes that new tablets are dealt to, chosen by the proposer among those alive and not draining.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// In turn. A node may stand in it several times, to get more than others.
    pub cycle: Vec<NodeId>,
    /// Nodes whose disks fill up: they get what no node of the cycle can take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<NodeId>,
}

impl Placement {
    /// Whether there is no node at all.
    pub const fn is_empty(&self) -> bool {
        self.cycle.is_empty() && self.last.is_empty()
    }

    /// Every node, as often as it stands there.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.cycle.iter().chain(&self.last).copied()
    }
}

impl From<Vec<NodeId>> for Placement {
    fn from(cycle: Vec<NodeId>) -> Self {
        Self { cycle, last: Vec::new() }
    }
}

impl FromIterator<NodeId> for Placement {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        Vec::from_iter(nodes).into()
    }
}
