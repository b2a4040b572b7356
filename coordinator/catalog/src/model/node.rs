//! Registered processes.

use std::fmt;

use serde::{Deserialize, Serialize};
use tarn_proto::NodeId;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Holds the catalog, serves clients.
    Coordinator,
    /// Holds tablets.
    Storage,
    /// Runs queries.
    Compute,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "coordinator",
            Self::Storage => "storage node",
            Self::Compute => "compute node",
        })
    }
}

/// A registered storage or compute node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id, never reused.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// `host:port` of its gRPC server; empty when another node has registered there since.
    pub address: String,
    /// Set by an operator: finishes its work and gets none. A storage node's tablets move to others.
    pub draining: bool,
    /// Where it stands, such as `rack:r1`: replicas of a tablet are spread over locations. Set by an operator.
    pub location: Option<String>,
    /// When it registered first, in milliseconds since 1970.
    pub registered_ms: u64,
}
