//! Tables whose buckets lie on the same nodes.

use serde::{Deserialize, Serialize};
use tarn_proto::{DataType, GroupId, NodeId};

/// A colocation group. Bucket `i` of every partition of every table in it should be on the nodes `sequence[i]`: joins on the
/// bucket columns then find both sides on one node. It is there as long as a table is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColocationGroup {
    /// Its id, never reused.
    pub id: GroupId,
    /// Its name, unique in the cluster, compared with case: tables of several databases may share a group.
    pub name: String,
    /// Types of the bucket columns, in their order.
    pub types: Vec<DataType>,
    /// Copies of each tablet.
    pub replication: u32,
    /// Nodes of each bucket, each bucket's distinct.
    pub sequence: Vec<Vec<NodeId>>,
}
