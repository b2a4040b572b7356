//! Temporary partitions: loaded by name, read by nobody, until they take the place of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use tarn_proto::TableId;

use super::Outcome;
use super::dealer::Dealer;
use super::partition::{Layout, unknown};
use crate::command::{PartitionSpec, Placement, Response};
use crate::{Bounds, Catalog, Error, Partition, Partitioning, Relation, Table, Value};

impl Catalog {
    pub(super) fn add_temporary_partitions(
        &mut self,
        table: TableId,
        specs: &[PartitionSpec],
        placement: &Placement,
        now_ms: u64,
    ) -> Outcome {
        let table = self.existing_table(table)?;
        if table.partitioning == Partitioning::None {
            return Err(Error::Invalid(format!(
                "table `{}` is not partitioned, so that it has no temporary partitions",
                table.name
            )));
        }
        let mut layout = Layout::temporary(&table);
        let mut dealer = Dealer::new(self, placement, &table)?;
        let mut ids = Vec::with_capacity(specs.len());
        for spec in specs {
            let bounds = layout.check_new(spec)?;
            let buckets = table.distribution.buckets;
            let partition = self.new_partition(table.id, &spec.name, bounds, buckets, &mut dealer, now_ms)?;
            ids.push(partition.id);
            layout.insert(&partition);
            self.table_mut(table.id)?.temporary.insert(partition.id, Arc::new(partition));
        }
        Ok(Response::Partitions(ids))
    }

    /// Drops all of a table's temporary partitions.
    pub(super) fn drop_temporary_partitions(&mut self, table: TableId) -> Result<(), Error> {
        let dropped = std::mem::take(&mut self.table_mut(table)?.temporary);
        for partition in dropped.values() {
            self.drop_tablets(partition);
        }
        Ok(())
    }

    pub(super) fn replace_partitions(
        &mut self,
        table: TableId,
        names: &[String],
        temporary: &[String],
        strict_range: bool,
        temporary_names: bool,
    ) -> Outcome {
        let table = self.existing_table(table)?;
        check_distinct(names)?;
        check_distinct(temporary)?;
        let find = |name: &String| table.partition(name).cloned().ok_or_else(|| unknown(&table, name));
        let old: Vec<Arc<Partition>> = names.iter().map(find).collect::<Result<_, _>>()?;
        let find =
            |name: &String| table.temporary_partition(name).cloned().ok_or_else(|| unknown_temporary(&table, name));
        let new: Vec<Arc<Partition>> = temporary.iter().map(find).collect::<Result<_, _>>()?;
        if old.is_empty() || new.is_empty() {
            return Err(Error::Invalid("REPLACE PARTITION names no partition".to_owned()));
        }
        if strict_range && cover(&old) != cover(&new) {
            let (partitions, temporary) = (names.join(", "), temporary.join(", "));
            return Err(Error::BoundsDiffer { table: table.name.clone(), partitions, temporary });
        }
        let mut changed = Table::clone(&table);
        for partition in &old {
            changed.partitions.remove(&partition.id);
        }
        for partition in &new {
            changed.temporary.remove(&partition.id);
        }
        // New ones do not overlap one another: they were temporary partitions of one table.
        let left = Layout::new(&changed);
        for partition in &new {
            if let Some(other) = left.overlapping(&partition.bounds) {
                let (partition, other) = (partition.name.clone(), other.to_owned());
                return Err(Error::PartitionOverlap { table: table.name.clone(), partition, other });
            }
        }
        let keep_names = old.len() == new.len() && !temporary_names;
        for (i, partition) in new.iter().enumerate() {
            let name = if keep_names { &old[i].name } else { &partition.name };
            let partition = Partition { name: name.clone(), ..Partition::clone(partition) };
            changed.partitions.insert(partition.id, Arc::new(partition));
        }
        self.relations.insert(table.id, Relation::Table(Arc::new(changed)));
        for partition in &old {
            self.drop_tablets(partition);
        }
        Ok(Response::Done)
    }
}

pub(super) fn unknown_temporary(table: &Table, partition: &str) -> Error {
    Error::UnknownTemporaryPartition { table: table.name.clone(), partition: partition.to_owned() }
}

pub(super) fn check_distinct(names: &[String]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.to_ascii_lowercase())) {
        Some(name) => Err(Error::Invalid(format!("partition `{name}` is named twice"))),
        None => Ok(()),
    }
}

type Bound = Option<Vec<Value>>;

/// The keys that partitions hold together: equal for equal sets of keys.
#[derive(PartialEq, Eq)]
struct Keys {
    all: bool,
    /// In order, apart from one another.
    ranges: Vec<(Bound, Bound)>,
    values: BTreeSet<Vec<Value>>,
}

fn cover(partitions: &[Arc<Partition>]) -> Keys {
    let mut keys = Keys { all: false, ranges: Vec::new(), values: BTreeSet::new() };
    for partition in partitions {
        match &partition.bounds {
            Bounds::All => keys.all = true,
            Bounds::Range { lower, upper } => keys.ranges.push((lower.clone(), upper.clone())),
            Bounds::List(values) => keys.values.extend(values.iter().cloned()),
        }
    }
    // No lower bound is `None`, which sorts first.
    keys.ranges.sort();
    let mut merged: Vec<(Bound, Bound)> = Vec::new();
    for (lower, upper) in keys.ranges {
        match merged.last_mut() {
            Some((_, end)) if end.is_some() && *end == lower => *end = upper,
            _ => merged.push((lower, upper)),
        }
    }
    Keys { ranges: merged, ..keys }
}
