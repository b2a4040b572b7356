//! What the catalog holds.

mod colocation;
mod history;
mod location;
mod node;
mod partition;
mod replica;
mod schema_job;
mod table;
mod transaction;
pub mod value;
mod volume;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};
use tarn_proto::{DatabaseId, GroupId, NodeId, PartitionId, TableId, TabletId, TxnId, VolumeId};

pub use colocation::ColocationGroup;
pub use history::{SchemaChange, SchemaHistory};
pub use location::{LOCATION, LocationPattern, Locations};
pub use node::{Node, Role};
pub use partition::{Bounds, Partition};
pub use replica::{Replica, ReplicaState, Tablet};
pub use schema_job::{Rewrite, SCHEMA_JOB_TIMEOUT_MS, SchemaJob, SchemaWork, Swapped};
pub use table::{ColumnInfo, DefaultValue, Distribution, PartitionExpr, Partitioning, Table, View};
pub use transaction::{GENERATED_LABEL, Overwrite, Replacement, TabletWrite, Transaction, TransactionState};
pub use value::Value;
pub use volume::{StorageVolume, VolumeKind};

use crate::command::{RequestId, Response};

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its id, never reused.
    pub id: DatabaseId,
    /// Its name, unique, compared with case.
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
}

/// What a name in a database stands for. Tables and views share one name space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// Stored rows.
    Table(Arc<Table>),
    /// A named query.
    View(Arc<View>),
}

impl Relation {
    /// Its id.
    pub fn id(&self) -> TableId {
        match self {
            Self::Table(table) => table.id,
            Self::View(view) => view.id,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Table(table) => &table.name,
            Self::View(view) => &view.name,
        }
    }
}

/// Where a tablet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabletOwner {
    /// Its table.
    pub table: TableId,
    /// Its partition.
    pub partition: PartitionId,
    /// Its bucket in the partition, from 0.
    pub bucket: u32,
}

/// The whole catalog. `Clone` is O(1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Set once by the first command; names the cluster.
    pub cluster_id: Option<Arc<str>>,
    /// The last id given to anything but coordinators. Ids are unique over all kinds.
    pub last_id: u64,
    /// Databases by id.
    pub databases: OrdMap<DatabaseId, Arc<Database>>,
    /// Database ids by name.
    pub database_names: OrdMap<Arc<str>, DatabaseId>,
    /// Tables and views by id.
    pub relations: OrdMap<TableId, Relation>,
    /// Tables and views by database and name.
    pub relation_names: OrdMap<(DatabaseId, Arc<str>), TableId>,
    /// Owners of all tablets, those that jobs have replaced among them ([`Table::swapped`]).
    pub tablets: OrdMap<TabletId, TabletOwner>,
    /// Tablets whose table or partition is gone but whose files may still be on these nodes.
    pub dropped_tablets: OrdMap<TabletId, Vec<NodeId>>,
    /// Replicas that are none of their tablet's any more but whose files may still be on the node.
    pub dropped_replicas: OrdSet<(TabletId, NodeId)>,
    /// Colocation groups, each with at least one table.
    pub colocation_groups: OrdMap<GroupId, Arc<ColocationGroup>>,
    /// Storage and compute nodes, and coordinators that have registered.
    pub nodes: OrdMap<NodeId, Arc<Node>>,
    /// Transactions, finished ones too until their label expires.
    pub transactions: OrdMap<TxnId, Arc<Transaction>>,
    /// Transaction by database and label.
    pub labels: OrdMap<(DatabaseId, Arc<str>), TxnId>,
    /// Transactions that are committed and not visible yet, in commit order.
    pub committed: Vector<TxnId>,
    /// Responses to the last commands, so that a command repeated after a lost answer is not applied twice.
    pub requests: OrdMap<RequestId, Response>,
    /// Keys of `requests`, oldest first.
    pub request_order: Vector<RequestId>,
    /// Storage volumes by id.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub volumes: OrdMap<VolumeId, Arc<StorageVolume>>,
    /// Where new tables go that do not say it; `None`: to the nodes' disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_volume: Option<VolumeId>,
    /// Tablets whose table or partition is gone but whose objects may still be in a volume.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub dropped_on_volumes: OrdMap<TabletId, VolumeId>,
    /// Next value of the AUTO_INCREMENT columns that have given one.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub increments: OrdMap<TableId, i64>,
}
