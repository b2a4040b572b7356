//! Newtype ids. Each prints with a short prefix (`t17`, `v3`), so that a log line tells what a number is.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $repr:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            /// The bare number, for wires and keys.
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl From<$repr> for $name {
            fn from(id: $repr) -> Self {
                Self(id)
            }
        }
    };
}

id!(/// A process of the cluster, whatever its role. Coordinators' ids come from configuration, others from the catalog.
    NodeId, u64, "n");
id!(/// A database.
    DatabaseId, u64, "db");
id!(/// A table.
    TableId, u64, "tbl");
id!(/// A partition of a table.
    PartitionId, u64, "p");
id!(/// One hash bucket of one partition: the unit of placement and replication.
    TabletId, u64, "t");
id!(/// A colocation group: tables whose buckets lie on the same nodes.
    GroupId, u64, "g");
id!(/// The rows that one load or compaction wrote to one tablet. Unique within its tablet.
    RowsetId, u64, "rs");
id!(/// A load transaction.
    TxnId, u64, "txn");
id!(/// A term of the coordinators' consensus, which has one leader at most. A later one is greater.
    Term, u64, "term");
id!(/// A storage volume.
    VolumeId, u64, "vol");
id!(/// A column of a table. Never reused, so that it binds stored data for ever.
    ColumnId, u32, "c");
id!(/// A schema of a table, counted from 1.
    SchemaVersion, u32, "s");
id!(/// A version of a partition. A new partition is at version 1, which is empty.
    Version, u64, "v");

impl Version {
    /// The version of a partition that nothing has been loaded into.
    pub const FIRST: Self = Self(1);

    /// The version after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
