//! Load transactions.
//!
//! ```text
//!            commit                    make visible
//!  Prepare ----------> Committed -------------------> Visible      expired after the labels' retention
//!     |  abort, expire
//!     +----------------------------------------------> Aborted     as Visible; its label is free at once
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tarn_proto::{DatabaseId, NodeId, PartitionId, TableId, TabletId, TxnId, Version};

use super::{Outcome, check_name};
use crate::command::Response;
use crate::{Catalog, Error, Partition, Relation, Table, TabletWrite, Transaction, TransactionState};

/// The reason of transactions that [`Catalog::expire_transactions`] aborts.
const TIMED_OUT: &str = "timed out before it was committed";

/// Longest label in characters, as in StarRocks: labels are kept for days.
const MAX_LABEL: usize = 128;

impl Catalog {
    pub(super) fn begin_transaction(
        &mut self,
        database: DatabaseId,
        label: &str,
        table: TableId,
        owner: &(NodeId, String),
        timeout_ms: u64,
        now_ms: u64,
    ) -> Outcome {
        self.existing_database(database)?;
        check_name("label", label)?;
        let characters = label.chars().count();
        if characters > MAX_LABEL {
            return Err(Error::Invalid(format!(
                "the label has {characters} characters, at most {MAX_LABEL} are allowed"
            )));
        }
        // Before the table: a load that was done is answered as done also when its table is gone since.
        if let Some(earlier) = self.transaction_by_label(database, label)
            && !matches!(earlier.state, TransactionState::Aborted { .. })
        {
            return Ok(Response::LabelUsed { txn: earlier.id, state: earlier.state.clone() });
        }
        if self.existing_table(table)?.database != database {
            return Err(Error::Invalid(format!("table {table} is in another database than the label")));
        }
        let id = TxnId(self.next_id());
        let transaction = Transaction {
            id,
            database,
            label: label.to_owned(),
            table,
            owner: owner.clone(),
            began_ms: now_ms,
            expires_ms: now_ms.saturating_add(timeout_ms),
            overwrite: None,
            state: TransactionState::Prepare,
        };
        self.transactions.insert(id, Arc::new(transaction));
        self.labels.insert((database, Arc::from(label)), id);
        Ok(Response::Begun(id))
    }

    pub(super) fn commit_transaction(&mut self, txn: TxnId, writes: &[TabletWrite], now_ms: u64) -> Outcome {
        let transaction = self.existing_transaction(txn)?;
        match &transaction.state {
            TransactionState::Prepare => {}
            TransactionState::Committed { versions, .. } | TransactionState::Visible { versions, .. } => {
                return Ok(Response::Committed { versions: versions.clone() });
            }
            TransactionState::Aborted { .. } => return Err(refused(&transaction, "committed")),
        }
        let Some(Relation::Table(table)) = self.relations.get(&transaction.table).cloned() else {
            return Err(Error::TabletGone { txn });
        };
        check_unaltered(&table, txn, writes)?;
        let mut partitions = BTreeSet::new();
        let mut rowsets = BTreeSet::new();
        for write in writes {
            let owner = self.tablets.get(&write.tablet).ok_or(Error::TabletGone { txn })?;
            if owner.table != transaction.table {
                return Err(Error::Invalid(format!("transaction {txn} wrote to {} of another table", write.tablet)));
            }
            if !rowsets.insert((write.tablet, write.rowset)) {
                return Err(Error::Invalid(format!(
                    "transaction {txn} names {} of {} twice",
                    write.rowset, write.tablet
                )));
            }
            partitions.insert(owner.partition);
        }
        self.check_held(txn, writes)?;
        self.check_replaced(&transaction, &table, &partitions)?;
        let mut versions = BTreeMap::new();
        for id in partitions {
            let partition = self.partition_mut(transaction.table, id).ok_or(Error::TabletGone { txn })?;
            partition.committed_version = partition.committed_version.next();
            versions.insert(id, partition.committed_version);
        }
        let state =
            TransactionState::Committed { writes: writes.to_vec(), versions: versions.clone(), committed_ms: now_ms };
        self.set_state(&transaction, state);
        self.committed.push_back(txn);
        Ok(Response::Committed { versions })
    }

    /// Refuses what would be lost with fewer nodes than a tablet may lose. Its replicas may be others than the load found.
    fn check_held(&self, txn: TxnId, writes: &[TabletWrite]) -> Result<(), Error> {
        for write in writes {
            let Some((owner, tablet)) = self.tablet(write.tablet) else { return Err(Error::TabletGone { txn }) };
            let table = self.table_by_id(owner.table);
            if table.is_some_and(|table| table.volume.is_some()) && !write.holders.is_empty() {
                // It is in the volume, whoever owns the tablet now.
                continue;
            }
            let held = tablet.members().filter(|member| write.holders.contains(&member.node)).count();
            if held < tablet.quorum() {
                let replicas = tablet.members().count();
                return Err(Error::WriteLost { txn, tablet: write.tablet, held, replicas });
            }
        }
        Ok(())
    }

    pub(super) fn make_visible(&mut self, txn: TxnId, changed: &[(TabletId, NodeId, bool)], now_ms: u64) -> Outcome {
        let transaction = self.existing_transaction(txn)?;
        let (writes, versions) = match &transaction.state {
            TransactionState::Committed { writes, versions, .. } => (writes, versions),
            TransactionState::Visible { .. } => return Ok(Response::Done),
            TransactionState::Prepare | TransactionState::Aborted { .. } => {
                return Err(refused(&transaction, "made visible"));
            }
        };
        for (&id, &version) in versions {
            // A partition that was dropped since has no readers.
            let Some(partition) = self.partition_mut(transaction.table, id) else { continue };
            advance(txn, partition, version, now_ms)?;
        }
        let changed = self.changed_in(versions, changed);
        for &(tablet, node, current) in &changed {
            self.note_published(tablet, node, current);
        }
        self.check_published(txn, transaction.table, versions)?;
        self.join_published(&changed);
        let mut rows = 0u64;
        for write in writes {
            rows = rows.saturating_add(write.rows);
            let Some(owner) = self.tablets.get(&write.tablet).copied() else { continue };
            let Some(partition) = self.partition_mut(owner.table, owner.partition) else { continue };
            partition.rows = partition.rows.saturating_add(write.rows);
            partition.bytes = partition.bytes.saturating_add(write.bytes);
            // What has neither rows nor bytes deletes by a predicate: how many is known to the storage nodes.
            partition.inexact_rows |= write.rows == 0 && write.bytes == 0;
            if let Some(tablet) = partition.tablets.get_mut(owner.bucket as usize) {
                tablet.rows = tablet.rows.saturating_add(write.rows);
                tablet.bytes = tablet.bytes.saturating_add(write.bytes);
            }
        }
        if let Some(overwrite) = &transaction.overwrite {
            self.put_in_place(transaction.table, overwrite);
        }
        let state = TransactionState::Visible { rows, versions: versions.clone(), visible_ms: now_ms };
        self.set_state(&transaction, state);
        self.committed.retain(|waiting| *waiting != txn);
        Ok(Response::Done)
    }

    /// What is said of tablets in these partitions.
    fn changed_in(
        &self,
        versions: &BTreeMap<PartitionId, Version>,
        changed: &[(TabletId, NodeId, bool)],
    ) -> Vec<(TabletId, NodeId, bool)> {
        let owner = |tablet| self.tablets.get(tablet).map(|owner| owner.partition);
        changed.iter().filter(|(id, ..)| owner(id).is_some_and(|p| versions.contains_key(&p))).copied().collect()
    }

    /// Refuses to show a version that too few replicas have.
    fn check_published(&self, txn: TxnId, table: TableId, of: &BTreeMap<PartitionId, Version>) -> Result<(), Error> {
        let Some(table) = self.table_by_id(table) else { return Ok(()) };
        for tablet in of.keys().filter_map(|id| table.partition_by_id(*id)).flat_map(|p| &p.tablets) {
            let current = tablet.readable().count();
            if current < tablet.quorum() {
                let replicas = tablet.members().count();
                return Err(Error::NoQuorum { txn, tablet: tablet.id, current, replicas });
            }
        }
        Ok(())
    }

    pub(super) fn abort_transaction(&mut self, txn: TxnId, reason: &str, now_ms: u64) -> Outcome {
        let transaction = self.existing_transaction(txn)?;
        match &transaction.state {
            TransactionState::Prepare => {
                let state = TransactionState::Aborted { reason: reason.to_owned(), aborted_ms: now_ms };
                self.drop_shadows(&transaction);
                self.set_state(&transaction, state);
                Ok(Response::Done)
            }
            TransactionState::Aborted { .. } => Ok(Response::Done),
            TransactionState::Committed { .. } | TransactionState::Visible { .. } => {
                Err(refused(&transaction, "aborted"))
            }
        }
    }

    pub(super) fn expire_transactions(
        &mut self,
        label_retention_ms: u64,
        generated_retention_ms: u64,
        now_ms: u64,
    ) -> Response {
        let all: Vec<Arc<Transaction>> = self.transactions.values().cloned().collect();
        for transaction in all {
            let ended_ms = match transaction.state {
                TransactionState::Prepare if transaction.expires_ms <= now_ms => {
                    let state = TransactionState::Aborted { reason: TIMED_OUT.to_owned(), aborted_ms: now_ms };
                    self.drop_shadows(&transaction);
                    self.set_state(&transaction, state);
                    continue;
                }
                TransactionState::Prepare | TransactionState::Committed { .. } => continue,
                TransactionState::Visible { visible_ms, .. } => visible_ms,
                TransactionState::Aborted { aborted_ms, .. } => aborted_ms,
            };
            let retention_ms =
                if transaction.has_generated_label() { generated_retention_ms } else { label_retention_ms };
            if now_ms.saturating_sub(ended_ms) > retention_ms {
                self.transactions.remove(&transaction.id);
                let label = (transaction.database, Arc::from(transaction.label.as_str()));
                // The label of an aborted load may have been used anew.
                if self.labels.get(&label) == Some(&transaction.id) {
                    self.labels.remove(&label);
                }
            }
        }
        Response::Done
    }

    pub(super) fn existing_transaction(&self, txn: TxnId) -> Result<Arc<Transaction>, Error> {
        self.transactions.get(&txn).cloned().ok_or(Error::UnknownTransaction(txn))
    }

    fn set_state(&mut self, transaction: &Transaction, state: TransactionState) {
        // What is over has nothing to replace any more.
        let overwrite = transaction.overwrite.clone().filter(|_| matches!(state, TransactionState::Committed { .. }));
        self.transactions.insert(transaction.id, Arc::new(Transaction { state, overwrite, ..transaction.clone() }));
    }

    pub(super) fn partition_mut(&mut self, table: TableId, partition: PartitionId) -> Option<&mut Partition> {
        let Table { partitions, temporary, shadows, .. } = self.table_mut(table).ok()?;
        let maps = [partitions, temporary, shadows];
        maps.into_iter().find_map(|map| map.get_mut(&partition)).map(Arc::make_mut)
    }
}

/// Refuses a commit while a change of the table's columns is about to end, and of rows in tablets that one has replaced.
fn check_unaltered(table: &Table, txn: TxnId, writes: &[TabletWrite]) -> Result<(), Error> {
    if table.is_frozen() {
        return Err(Error::TableFrozen { table: table.name.clone(), txn });
    }
    let swapped = table.swapped.as_ref();
    match swapped.is_some_and(|swapped| writes.iter().any(|write| swapped.place(write.tablet).is_some())) {
        true => Err(Error::TabletsSwapped { table: table.name.clone(), txn }),
        false => Ok(()),
    }
}

/// Makes `version` of a partition visible, if it is the next.
fn advance(txn: TxnId, partition: &mut Partition, version: Version, now_ms: u64) -> Result<(), Error> {
    if partition.visible_version.next() != version {
        return Err(Error::NotNextVersion {
            txn,
            partition: partition.id,
            version,
            visible: partition.visible_version,
        });
    }
    partition.visible_version = version;
    partition.visible_ms = now_ms;
    Ok(())
}

pub(super) fn refused(transaction: &Transaction, action: &str) -> Error {
    Error::TransactionState {
        txn: transaction.id,
        state: transaction.state.name().to_owned(),
        action: action.to_owned(),
    }
}
