//! What statements about the cluster's nodes and replicas say.

use crate::name::{Ident, ObjectName, Position};
use crate::table::Property;

/// A storage node as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// `host:port`.
    pub address: String,
    /// Where it stands.
    pub at: Position,
}

/// `ALTER SYSTEM ..`, `CANCEL DECOMMISSION ..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterSystem {
    /// `ALTER SYSTEM DECOMMISSION {STORAGE NODE | BACKEND} "host:port", ..`
    Decommission {
        /// At least one.
        nodes: Vec<NodeAddress>,
    },
    /// `CANCEL DECOMMISSION {STORAGE NODE | BACKEND} "host:port", ..`
    CancelDecommission {
        /// At least one.
        nodes: Vec<NodeAddress>,
    },
    /// `ALTER SYSTEM MODIFY {STORAGE NODE | BACKEND} "host:port" SET ("labels.location" = "rack:r1")`
    Modify {
        /// The node.
        node: NodeAddress,
        /// What is set.
        properties: Vec<Property>,
    },
}

/// `ADMIN SHOW REPLICA STATUS FROM table [PARTITION (..)] [WHERE STATUS [!]= "status"]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowReplicaStatus {
    /// The table.
    pub table: ObjectName,
    /// Its partitions, or empty for all.
    pub partitions: Vec<Ident>,
    /// The status that is wanted, or (`false`) that is not.
    pub status: Option<(String, bool)>,
}
