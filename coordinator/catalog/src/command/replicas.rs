//! What changes of replicas are made of.

use serde::{Deserialize, Serialize};
use tarn_proto::{NodeId, TabletId, Version};

/// Names a replica.
pub type ReplicaKey = (TabletId, NodeId);

/// A replica to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AddReplica {
    pub tablet: TabletId,
    pub node: NodeId,
    /// The member whose place it takes when it is filled.
    pub replaces: Option<NodeId>,
}

/// A replica that holds every version up to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CaughtUp {
    pub tablet: TabletId,
    pub node: NodeId,
    pub version: Version,
}

/// The nodes of one bucket of a colocation group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BucketNodes {
    /// From 0.
    pub bucket: u32,
    /// Where it should have been until now.
    pub before: Vec<NodeId>,
    /// Where it should be.
    pub nodes: Vec<NodeId>,
}
