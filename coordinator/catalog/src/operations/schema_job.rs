//! Changes of columns that take time: the tablets that a job fills, and the step in which they take the place of those that
//! are there.
//!
//! ```text
//!  AlterTable   the table gets a job; its schema stays
//!  Prepare      each partition gets a shadow for each of its tablets, on the nodes of that tablet's members; again whenever
//!               partitions or replicas have come or gone. Storage nodes fill them with what is visible
//!  Freeze       no load of the table can be committed: soon all that is committed is visible, and shadows catch up with it.
//!               Whoever wants to commit waits. Thaw, if it takes too long
//!  Finish       the shadows are the table's tablets
//! ```
//!
//! A shadow that has been filled up to version `v` holds the rows of its tablet at `v`, and the version of a partition that
//! queries read changes by committed transactions alone. So when shadows hold the visible version and no committed one
//! waits, all that was ever acknowledged is in them; what is committed later names the tablets that are there then. That is
//! checked in the step itself: freezing only makes the moment come.
//!
//! Transactions that began before the swap may have rows in tablets that are gone from the partitions. These stay
//! ([`Swapped`]) until the last of them has ended; each has its rows converted, and commits those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use tarn_proto::{Index, PartitionId, SchemaVersion, TableId, TabletId, TxnId};

use super::Outcome;
use crate::command::{Filled, JobStep, Response};
use crate::model::{Rewrite, SchemaChange, SchemaJob, SchemaWork, Swapped};
use crate::{Catalog, Error, Partition, Replica, ReplicaState, Table, Tablet, TabletOwner, TransactionState};

impl Catalog {
    pub(super) fn step_schema_job(&mut self, table: TableId, job: u64, step: &JobStep, now_ms: u64) -> Outcome {
        let table = self.existing_table(table)?;
        let Some(running) = table.job.clone().filter(|running| running.id == job) else {
            return Err(Error::SchemaJobGone { table: table.name.clone() });
        };
        match step {
            JobStep::Prepare => self.prepare_schema_job(&table, &running)?,
            JobStep::Progress { done, all } => {
                self.change_job(table.id, |job| job.progress = Some((*done, *all)))?;
            }
            JobStep::Freeze => self.freeze(table.id, Some(now_ms))?,
            JobStep::Thaw => self.freeze(table.id, None)?,
            JobStep::Finish { filled } => match &running.work {
                SchemaWork::Build { .. } => self.end_job(table.id, &running, table.schema.version, None, now_ms)?,
                SchemaWork::Rewrite(rewrite) => {
                    self.swap_tablets(&table, rewrite, filled)?;
                    self.end_job(table.id, &running, rewrite.to.version, None, now_ms)?;
                }
            },
            JobStep::Cancel { reason } => self.cancel_schema_job(&table, &running, reason, now_ms)?,
        }
        Ok(Response::Done)
    }

    pub(super) fn release_swapped(&mut self, table: TableId) -> Outcome {
        let table = self.existing_table(table)?;
        let Some(swapped) = &table.swapped else { return Ok(Response::Done) };
        if self.has_open(table.id, swapped.at) {
            let reason = "a transaction is open that began before its last one".to_owned();
            return Err(Error::SchemaJobNotReady { table: table.name.clone(), reason });
        }
        self.table_mut(table.id)?.swapped = None;
        for tablets in swapped.partitions.values() {
            self.drop_each(tablets);
        }
        Ok(Response::Done)
    }

    /// Whether a transaction of the table is open that began before another.
    fn has_open(&self, table: TableId, before: TxnId) -> bool {
        let mut earlier = self.transactions.values().take_while(|txn| txn.id < before);
        earlier.any(|txn| txn.table == table && txn.state == TransactionState::Prepare)
    }

    fn change_job(&mut self, table: TableId, change: impl FnOnce(&mut SchemaJob)) -> Result<(), Error> {
        if let Some(job) = &mut self.table_mut(table)?.job {
            change(Arc::make_mut(job));
        }
        Ok(())
    }

    fn freeze(&mut self, table: TableId, since_ms: Option<u64>) -> Result<(), Error> {
        self.change_job(table, |job| {
            if let Some(rewrite) = job.rewrite_mut() {
                rewrite.frozen_ms = since_ms.map(|now_ms| rewrite.frozen_ms.unwrap_or(now_ms));
            }
        })
    }

    fn prepare_schema_job(&mut self, table: &Table, job: &SchemaJob) -> Result<(), Error> {
        let Some(rewrite) = job.rewrite() else { return Ok(()) };
        let mut shadows = OrdMap::new();
        let mut kept = BTreeSet::new();
        for partition in table.all_partitions() {
            let now = rewrite.shadows.get(&partition.id);
            let mut of_partition = Vec::with_capacity(partition.tablets.len());
            for (bucket, base) in partition.tablets.iter().enumerate() {
                let shadow = now.and_then(|shadows| shadows.get(bucket)).filter(|shadow| is_beside(shadow, base));
                of_partition.push(match shadow {
                    Some(shadow) => {
                        kept.insert(shadow.id);
                        shadow.clone()
                    }
                    None => {
                        let id = TabletId(self.next_id());
                        Tablet::new(id, base.members().map(|replica| replica.node))
                    }
                });
            }
            shadows.insert(partition.id, of_partition);
        }
        let given_up: Vec<Tablet> =
            rewrite.shadows.values().flatten().filter(|shadow| !kept.contains(&shadow.id)).cloned().collect();
        self.change_job(table.id, |job| {
            if let Some(rewrite) = job.rewrite_mut() {
                rewrite.shadows = shadows;
            }
        })?;
        self.drop_each(&given_up);
        Ok(())
    }

    /// Puts shadows in the place of the tablets that they were filled from.
    fn swap_tablets(&mut self, table: &Table, rewrite: &Rewrite, filled: &[Filled]) -> Result<(), Error> {
        let not_ready = |reason: String| Error::SchemaJobNotReady { table: table.name.clone(), reason };
        if let Some(waiting) = self.committed_transactions().find(|txn| txn.table == table.id) {
            return Err(not_ready(format!("transaction {} is committed and not visible yet", waiting.id)));
        }
        if table.swapped.is_some() {
            return Err(not_ready("transactions are open that began before the last change".to_owned()));
        }
        let filled: BTreeMap<TabletId, &Filled> = filled.iter().map(|filled| (filled.tablet, filled)).collect();
        let mut new: BTreeMap<PartitionId, Vec<Tablet>> = BTreeMap::new();
        for partition in table.all_partitions() {
            let shadows = rewrite.shadows.get(&partition.id).map(Vec::as_slice).unwrap_or_default();
            let tablets = taken_over(partition, shadows, &filled)
                .map_err(|reason| not_ready(format!("partition `{}` {reason}", partition.name)))?;
            new.insert(partition.id, tablets);
        }
        let at = TxnId(self.next_id());
        let old: OrdMap<PartitionId, Vec<Tablet>> =
            table.all_partitions().map(|partition| (partition.id, partition.tablets.clone())).collect();
        for (partition, tablets) in &new {
            for (bucket, tablet) in (0..).zip(tablets) {
                let owner = TabletOwner { table: table.id, partition: *partition, bucket };
                self.tablets.insert(tablet.id, owner);
            }
        }
        let open = self.has_open(table.id, at);
        let changed = self.table_mut(table.id)?;
        for partitions in [&mut changed.partitions, &mut changed.temporary, &mut changed.shadows] {
            for (id, tablets) in &new {
                let Some(partition) = partitions.get_mut(id) else { continue };
                let partition = Arc::make_mut(partition);
                partition.rows = tablets.iter().map(|tablet| tablet.rows).sum();
                partition.bytes = tablets.iter().map(|tablet| tablet.bytes).sum();
                // They were counted.
                partition.inexact_rows = false;
                partition.tablets.clone_from(tablets);
            }
        }
        let from = std::mem::replace(&mut changed.schema, rewrite.to.clone());
        changed.columns.clone_from(&rewrite.columns);
        changed.explicit_sort_key = rewrite.explicit_sort_key;
        if open {
            changed.swapped = Some(Arc::new(Swapped { at, from, partitions: old }));
        } else {
            old.values().for_each(|tablets| self.drop_each(tablets));
        }
        Ok(())
    }

    fn cancel_schema_job(&mut self, table: &Table, job: &SchemaJob, reason: &str, now_ms: u64) -> Result<(), Error> {
        let version = match &job.work {
            SchemaWork::Rewrite(rewrite) => {
                rewrite.shadows.values().for_each(|shadows| self.drop_each(shadows));
                rewrite.to.version
            }
            SchemaWork::Build { before } => {
                let schema = &mut self.table_mut(table.id)?.schema;
                // The same statement may have dropped columns.
                let there = |index: &&Index| schema.index_of(index.column).is_some();
                schema.indexes = before.iter().filter(there).cloned().collect();
                schema.version = SchemaVersion(schema.version.get() + 1);
                schema.version
            }
        };
        self.end_job(table.id, job, version, Some(reason.to_owned()), now_ms)
    }

    /// Remembers a job that has ended.
    fn end_job(
        &mut self,
        table: TableId,
        job: &SchemaJob,
        version: SchemaVersion,
        cancelled: Option<String>,
        now_ms: u64,
    ) -> Result<(), Error> {
        let table = self.table_mut(table)?;
        table.job = None;
        let (id, created_ms) = (job.id, job.created_ms);
        table.history.record(SchemaChange { id, version, created_ms, at_ms: now_ms, cancelled });
        Ok(())
    }

    /// Drops what a job has made of a partition that is dropped, and what a job before it has left of it.
    pub(super) fn drop_derived(&mut self, table: TableId, partition: PartitionId) {
        let Ok(table) = self.table_mut(table) else { return };
        let mut dropped = Vec::new();
        if let Some(rewrite) = table.job.as_mut().and_then(|job| Arc::make_mut(job).rewrite_mut()) {
            dropped.extend(rewrite.shadows.remove(&partition).into_iter().flatten());
        }
        if let Some(swapped) = &mut table.swapped {
            dropped.extend(Arc::make_mut(swapped).partitions.remove(&partition).into_iter().flatten());
        }
        self.drop_each(&dropped);
    }

    /// Drops what jobs have made and left of a table that is dropped.
    pub(super) fn drop_all_derived(&mut self, table: &Table) {
        let shadows = table.job.iter().filter_map(|job| job.rewrite()).flat_map(|rewrite| rewrite.shadows.values());
        let swapped = table.swapped.iter().flat_map(|swapped| swapped.partitions.values());
        let dropped: Vec<Tablet> = shadows.chain(swapped).flatten().cloned().collect();
        self.drop_each(&dropped);
    }
}

impl Table {
    /// Whether the job's tablets are not those that its partitions and replicas ask for.
    pub fn lacks_shadows(&self) -> bool {
        let Some(rewrite) = self.job.as_ref().and_then(|job| job.rewrite()) else { return false };
        let fits = |partition: &Partition| {
            let shadows = rewrite.shadows.get(&partition.id).map(Vec::as_slice).unwrap_or_default();
            shadows.len() == partition.tablets.len()
                && partition.tablets.iter().zip(shadows).all(|(base, shadow)| is_beside(shadow, base))
        };
        rewrite.shadows.len() != self.all_partitions().count() || !self.all_partitions().all(|p| fits(p))
    }
}

/// Whether a shadow is on the nodes of its tablet's members, and so can be filled there and take its place.
fn is_beside(shadow: &Tablet, base: &Tablet) -> bool {
    let nodes = |replicas: &mut dyn Iterator<Item = &Replica>| replicas.map(|r| r.node).collect::<BTreeSet<_>>();
    nodes(&mut shadow.members()) == nodes(&mut base.members())
}

/// The tablets that a partition gets, or what keeps it from them.
fn taken_over(
    partition: &Partition,
    shadows: &[Tablet],
    filled: &BTreeMap<TabletId, &Filled>,
) -> Result<Vec<Tablet>, String> {
    if shadows.len() != partition.tablets.len() {
        return Err("has no tablets to be filled".to_owned());
    }
    let taken_over = |(base, shadow): (&Tablet, &Tablet)| {
        if !is_beside(shadow, base) {
            return Err(format!("has replicas of {} elsewhere than of {}", base.id, shadow.id));
        }
        let filled = filled.get(&shadow.id).filter(|filled| filled.version == partition.visible_version);
        let Some(filled) = filled else {
            return Err(format!("has nothing at {} in {}", partition.visible_version, shadow.id));
        };
        let state = |node| if filled.nodes.contains(&node) { ReplicaState::Current } else { ReplicaState::Behind };
        let replicas = base.members().map(|member| Replica { node: member.node, state: state(member.node) }).collect();
        let (rows, bytes) = (filled.rows, filled.bytes);
        let tablet = Tablet { replicas, rows, bytes, ..shadow.clone() };
        if tablet.readable().count() < tablet.quorum() {
            return Err(format!("has {} filled on too few nodes", shadow.id));
        }
        Ok(tablet)
    };
    partition.tablets.iter().zip(shadows).map(taken_over).collect()
}
