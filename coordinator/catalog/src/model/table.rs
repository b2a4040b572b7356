//! Tables and views.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tarn_proto::time::TimeUnit;
use tarn_proto::{ColumnId, DatabaseId, GroupId, PartitionId, TableId, TableSchema, VolumeId};

use super::{Partition, SchemaHistory, SchemaJob, Swapped, Tablet};

/// What a column takes when a load does not name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultValue {
    /// A constant, as its SQL text without quotes.
    Constant(String),
    /// The load's start time.
    CurrentTimestamp,
    /// The next of the table's increasing numbers. One column of a table has it at most.
    AutoIncrement,
}

/// What the catalog knows of a column beside its schema entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnInfo {
    /// The default, if declared.
    pub default: Option<DefaultValue>,
    /// The comment, or empty.
    pub comment: String,
}

/// An expression that a row's partition is computed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionExpr {
    /// The column's value.
    Column(ColumnId),
    /// The start of the unit that the column's time lies in.
    DateTrunc(TimeUnit, ColumnId),
    /// The start of the slice of `n` units, counted from 0001-01-01 00:00:00, that the column's time lies in.
    TimeSlice(u32, TimeUnit, ColumnId),
}

impl PartitionExpr {
    /// The column it reads.
    pub const fn column(&self) -> ColumnId {
        match self {
            Self::Column(c) | Self::DateTrunc(_, c) | Self::TimeSlice(_, _, c) => *c,
        }
    }
}

/// How a table's rows are divided into partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioning {
    /// One partition, named as the table, with [`super::Bounds::All`].
    None,
    /// Declared ranges of one or more columns; partitions have [`super::Bounds::Range`].
    Range(Vec<ColumnId>),
    /// Computed from the row, created on load. A single `DateTrunc` or `TimeSlice` gives [`super::Bounds::Range`];
    /// anything else gives [`super::Bounds::List`] over the expressions' values.
    Expression(Vec<PartitionExpr>),
    /// Declared values of one or more columns; partitions have [`super::Bounds::List`].
    List(Vec<ColumnId>),
}

/// How a partition's rows are divided into tablets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Bucket columns in the declared order. Empty: rows are spread evenly, by no rule.
    pub columns: Vec<ColumnId>,
    /// Buckets of partitions created from now on.
    pub buckets: u32,
    /// [`tarn_proto::bucket::HASH_VERSION`] at creation.
    pub hash_version: u32,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its id, never reused.
    pub id: TableId,
    /// Its database.
    pub database: DatabaseId,
    /// Its name.
    pub name: String,
    /// Model, columns and keys.
    pub schema: TableSchema,
    /// Defaults and comments by column.
    pub columns: BTreeMap<ColumnId, ColumnInfo>,
    /// Whether the sort key was declared by `ORDER BY` (else it is the keys).
    pub explicit_sort_key: bool,
    /// Rows to partitions.
    pub partitioning: Partitioning,
    /// Rows to buckets.
    pub distribution: Distribution,
    /// Copies of each tablet, 1 to 5.
    pub replication: u32,
    /// The group whose nodes its buckets share.
    pub colocation: Option<GroupId>,
    /// The storage volume that its tablets are on; `None`: on the nodes' disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
    /// Properties as declared, names in lower case.
    pub properties: BTreeMap<String, String>,
    /// The comment, or empty.
    pub comment: String,
    /// Partitions by id: what queries read.
    pub partitions: OrdMap<PartitionId, Arc<Partition>>,
    /// Temporary partitions by id, which are loaded by name to be put in the place of others. Their names are none of
    /// `partitions`; their bounds overlap no other temporary one.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub temporary: OrdMap<PartitionId, Arc<Partition>>,
    /// What open and committed transactions will put in the place of partitions ([`super::Overwrite`]), by id.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub shadows: OrdMap<PartitionId, Arc<Partition>>,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// What became of its columns since.
    #[serde(default, skip_serializing_if = "SchemaHistory::is_empty")]
    pub history: SchemaHistory,
    /// The change of its columns or indexes that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Arc<SchemaJob>>,
    /// The tablets that the last such change has replaced, while open transactions may name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<Arc<Swapped>>,
}

impl Table {
    /// The partition with this name, compared without case.
    pub fn partition(&self, name: &str) -> Option<&Arc<Partition>> {
        self.partitions.values().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The temporary partition with this name, compared without case.
    pub fn temporary_partition(&self, name: &str) -> Option<&Arc<Partition>> {
        self.temporary.values().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The partition with this id, also one that queries do not read.
    pub fn partition_by_id(&self, id: PartitionId) -> Option<&Arc<Partition>> {
        self.partitions.get(&id).or_else(|| self.temporary.get(&id)).or_else(|| self.shadows.get(&id))
    }

    /// Those that queries read, then temporary ones, then those that wait to take the place of others.
    pub fn all_partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.partitions.values().chain(self.temporary.values()).chain(self.shadows.values())
    }

    /// Every tablet of every partition, with its partition and its bucket in it.
    pub fn tablets(&self) -> impl Iterator<Item = (PartitionId, u32, &Tablet)> {
        self.all_partitions().flat_map(|p| p.tablets.iter().zip(0..).map(|(tablet, bucket)| (p.id, bucket, tablet)))
    }
}

/// A named query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its id, from the same counter as tables.
    pub id: TableId,
    /// Its database.
    pub database: DatabaseId,
    /// Its name.
    pub name: String,
    /// Column names, or empty to take the query's.
    pub columns: Vec<String>,
    /// The query's text. Unqualified names in it are of `database`.
    pub query: String,
    /// The comment, or empty.
    pub comment: String,
}
