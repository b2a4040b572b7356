//! Changes of a table's columns that take time, and what is left of one that is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tarn_proto::{ColumnId, Index, PartitionId, TableSchema, TabletId, TxnId};

use super::{ColumnInfo, Partition, Table, Tablet};

/// How long a change may take that does not say, in milliseconds: as long as in StarRocks, a day.
pub const SCHEMA_JOB_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// A change of a table's columns or indexes that has not ended. A table has one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaJob {
    /// Unique in the cluster.
    pub id: u64,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it is given up if it has not ended, in milliseconds since 1970.
    pub expires_ms: u64,
    /// What it does.
    pub work: SchemaWork,
    /// Tablets that were done when somebody looked last, and how many there were.
    pub progress: Option<(u32, u32)>,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaWork {
    /// The table has its new schema; storage nodes build what it asks of files that are there.
    Build {
        /// The indexes before, for who takes the change back.
        before: Vec<Index>,
    },
    /// All rows are written anew under another schema, in tablets that then take the place of those that are there.
    Rewrite(Rewrite),
}

/// What a table becomes when its rows are written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// Its schema. While the job runs that of the table itself does not change.
    pub to: TableSchema,
    /// Defaults and comments.
    pub columns: BTreeMap<ColumnId, ColumnInfo>,
    /// Whether its sort key is declared apart from the keys.
    pub explicit_sort_key: bool,
    /// The tablets that will take the place of each partition's, in bucket order: each on the nodes of the tablet that it
    /// is filled from. None of [`super::Catalog::tablets`]: nobody reads, writes, moves or repairs them yet.
    pub shadows: OrdMap<PartitionId, Vec<Tablet>>,
    /// Since when no load of the table can be committed, in milliseconds since 1970: the job is about to end.
    pub frozen_ms: Option<u64>,
}

impl SchemaJob {
    /// What is written anew, if rows are.
    pub const fn rewrite(&self) -> Option<&Rewrite> {
        match &self.work {
            SchemaWork::Rewrite(rewrite) => Some(rewrite),
            SchemaWork::Build { .. } => None,
        }
    }

    /// What is written anew, to be changed.
    pub(crate) const fn rewrite_mut(&mut self) -> Option<&mut Rewrite> {
        match &mut self.work {
            SchemaWork::Rewrite(rewrite) => Some(rewrite),
            SchemaWork::Build { .. } => None,
        }
    }

    /// StarRocks' word for where it is: `PENDING` until its tablets are there, then `RUNNING`, or `WAITING_TXN` while all
    /// are done and it can end as soon as loads have that began before an earlier change of the table.
    pub fn state(&self, table: &Table) -> &'static str {
        let all_done = self.progress.is_some_and(|(done, all)| done == all);
        match self.rewrite() {
            Some(_) if self.progress.is_none() => "PENDING",
            Some(_) if all_done && table.swapped.is_some() => "WAITING_TXN",
            _ => "RUNNING",
        }
    }
}

/// The tablets that a job has replaced, for transactions that began before and have rows in them. Such a load is committed
/// in the tablets that are there now, once storage nodes have written its rows for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// Transactions with lesser ids began before.
    pub at: TxnId,
    /// What the rows look like.
    pub from: TableSchema,
    /// By partition, in bucket order. A partition has as many tablets now.
    pub partitions: OrdMap<PartitionId, Vec<Tablet>>,
}

impl Table {
    /// Whether no load of it can be committed now, as a job is about to end.
    pub fn is_frozen(&self) -> bool {
        let rewrite = self.job.as_ref().and_then(|job| job.rewrite());
        rewrite.is_some_and(|rewrite| rewrite.frozen_ms.is_some())
    }

    /// The table as a load sees it that was planned with `schema` and is transaction `txn`: partitions as they are now, but
    /// columns and tablets as they were when it began.
    pub fn as_planned(self: &Arc<Self>, schema: &TableSchema, txn: TxnId) -> Arc<Self> {
        if self.schema.version == schema.version {
            return self.clone();
        }
        let mut table = Self { schema: schema.clone(), ..Self::clone(self) };
        if let Some(swapped) = self.swapped.as_ref().filter(|swapped| txn < swapped.at) {
            for partitions in [&mut table.partitions, &mut table.temporary, &mut table.shadows] {
                for (id, tablets) in &swapped.partitions {
                    if let Some(partition) = partitions.get_mut(id) {
                        let now = Partition::clone(partition);
                        *partition = Arc::new(Partition { tablets: tablets.clone(), ..now });
                    }
                }
            }
        }
        Arc::new(table)
    }

    /// The tablet that has taken another's place, if a job has replaced it and its partition is there.
    pub fn successor(&self, tablet: TabletId) -> Option<&Tablet> {
        let (partition, bucket) = self.swapped.as_ref()?.place(tablet)?;
        self.partition_by_id(partition)?.tablets.get(bucket)
    }
}

impl Swapped {
    /// Partition and bucket of a tablet.
    pub fn place(&self, tablet: TabletId) -> Option<(PartitionId, usize)> {
        self.partitions.iter().find_map(|(partition, tablets)| {
            let bucket = tablets.iter().position(|other| other.id == tablet)?;
            Some((*partition, bucket))
        })
    }
}
