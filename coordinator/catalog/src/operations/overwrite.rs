//! Transactions that replace partitions.
//!
//! ```text
//!  PrepareOverwrite   each partition gets a shadow: hidden, empty, with its bounds and buckets; the load writes that
//!  CommitTransaction  refused if a partition is gone, overwritten by a committed transaction, or loaded since it was read;
//!                     from now on no other transaction that wrote to the partition can commit: its rows would be lost
//!  MakeVisible        the shadows take the partitions' places, in the step that makes their rows visible
//!  AbortTransaction   the shadows go
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tarn_proto::{PartitionId, TableId, TxnId, Version};

use super::Outcome;
use super::dealer::Dealer;
use super::transaction::refused;
use crate::command::{Placement, Response};
use crate::{Catalog, Error, Overwrite, Partition, Replacement, Table, Transaction, TransactionState};

impl Catalog {
    pub(super) fn prepare_overwrite(
        &mut self,
        txn: TxnId,
        table: TableId,
        whole: bool,
        partitions: &BTreeMap<PartitionId, Option<Version>>,
        placement: &Placement,
        now_ms: u64,
    ) -> Outcome {
        let transaction = self.existing_transaction(txn)?;
        if transaction.state != TransactionState::Prepare {
            return Err(refused(&transaction, "made to overwrite partitions"));
        }
        if transaction.table != table {
            return Err(Error::Invalid(format!("transaction {txn} is of another table than {table}")));
        }
        let table = self.existing_table(table)?;
        let mut overwrite = transaction.overwrite.clone().unwrap_or_default();
        overwrite.whole |= whole;
        let mut dealer = None;
        let mut shadows = Vec::with_capacity(partitions.len());
        for (&id, &read) in partitions {
            if let Some(replacement) = overwrite.replacements.get(&id) {
                shadows.push(replacement.with);
                continue;
            }
            let old = match table.partitions.get(&id).or_else(|| table.temporary.get(&id)) {
                Some(old) => old,
                // Of a table that is overwritten as a whole, what is gone is not missed, unless rows come from it.
                None if whole && read.is_none() => continue,
                None => return Err(Error::OverwrittenPartitionGone { table: table.name.clone(), txn }),
            };
            let dealer = match &mut dealer {
                Some(dealer) => dealer,
                none => none.insert(Dealer::new(self, placement, &table)?),
            };
            let buckets = old.tablets.len() as u32;
            let shadow = self.new_partition(table.id, &old.name, old.bounds.clone(), buckets, dealer, now_ms)?;
            shadows.push(shadow.id);
            overwrite.replacements.insert(id, Replacement { with: shadow.id, read });
            self.table_mut(table.id)?.shadows.insert(shadow.id, Arc::new(shadow));
        }
        let transaction = Transaction { overwrite: Some(overwrite), ..Transaction::clone(&transaction) };
        self.transactions.insert(txn, Arc::new(transaction));
        Ok(Response::Partitions(shadows))
    }

    /// Refuses the commit of a transaction whose rows, or others', would be lost by an overwrite: its own or another's.
    pub(super) fn check_replaced(
        &self,
        transaction: &Transaction,
        table: &Table,
        written: &BTreeSet<PartitionId>,
    ) -> Result<(), Error> {
        let txn = transaction.id;
        let touched: BTreeSet<PartitionId> = match &transaction.overwrite {
            Some(overwrite) => overwrite.replacements.keys().copied().collect(),
            None => written.clone(),
        };
        let waiting = self.committed_transactions().filter(|other| other.table == transaction.table);
        for other in waiting {
            let replaced = other.overwrite.iter().flat_map(|overwrite| overwrite.replacements.keys());
            if let Some(partition) = replaced.copied().find(|id| touched.contains(id)) {
                let partition = table.partition_by_id(partition).map(|p| p.name.clone()).unwrap_or_default();
                return Err(Error::PartitionOverwritten { table: table.name.clone(), partition, txn, by: other.id });
            }
        }
        match &transaction.overwrite {
            Some(overwrite) => check_overwrite(txn, overwrite, table, written),
            None if written.iter().any(|id| table.shadows.contains_key(id)) => {
                Err(Error::Invalid(format!("transaction {txn} wrote to a partition that another one prepares")))
            }
            None => Ok(()),
        }
    }

    /// Puts what a transaction wrote in the place of what it replaces. What is gone meanwhile needs no replacement.
    pub(super) fn put_in_place(&mut self, table: TableId, overwrite: &Overwrite) {
        let mut dropped = Vec::new();
        if let Ok(table) = self.table_mut(table) {
            for (old, replacement) in &overwrite.replacements {
                let Some(shadow) = table.shadows.remove(&replacement.with) else { continue };
                let place =
                    if table.partitions.contains_key(old) { &mut table.partitions } else { &mut table.temporary };
                match place.remove(old) {
                    Some(old) => {
                        let new = Partition { name: old.name.clone(), ..Partition::clone(&shadow) };
                        place.insert(new.id, Arc::new(new));
                        dropped.push(old);
                    }
                    None => dropped.push(shadow),
                }
            }
        }
        for partition in &dropped {
            self.drop_tablets(partition);
        }
    }

    /// Drops what an aborted transaction prepared.
    pub(super) fn drop_shadows(&mut self, transaction: &Transaction) {
        let Some(overwrite) = &transaction.overwrite else { return };
        let mut dropped = Vec::new();
        if let Ok(table) = self.table_mut(transaction.table) {
            dropped.extend(overwrite.replacements.values().filter_map(|r| table.shadows.remove(&r.with)));
        }
        for partition in &dropped {
            self.drop_tablets(partition);
        }
    }
}

/// Checks the partitions that a transaction overwrites as they are now.
fn check_overwrite(
    txn: TxnId,
    overwrite: &Overwrite,
    table: &Table,
    written: &BTreeSet<PartitionId>,
) -> Result<(), Error> {
    let shadows: BTreeSet<PartitionId> = overwrite.replacements.values().map(|r| r.with).collect();
    if !written.is_subset(&shadows) {
        return Err(Error::Invalid(format!("transaction {txn} wrote to a partition that it does not overwrite")));
    }
    for (id, replacement) in &overwrite.replacements {
        let Some(old) = table.partitions.get(id).or_else(|| table.temporary.get(id)) else {
            // Of a table that is overwritten as a whole, nothing is missed that has no new rows either, and gave none.
            if overwrite.whole && replacement.read.is_none() && !written.contains(&replacement.with) {
                continue;
            }
            return Err(Error::OverwrittenPartitionGone { table: table.name.clone(), txn });
        };
        if replacement.read.is_some_and(|read| read != old.committed_version) {
            let (table, partition) = (table.name.clone(), old.name.clone());
            return Err(Error::ReadPartitionLoaded { table, partition, txn });
        }
    }
    let added = table.partitions.values().find(|p| !overwrite.replacements.contains_key(&p.id));
    match added.filter(|_| overwrite.whole) {
        Some(added) => {
            let (table, partition) = (table.name.clone(), added.name.clone());
            Err(Error::PartitionAddedMeanwhile { table, partition, txn })
        }
        None => Ok(()),
    }
}
