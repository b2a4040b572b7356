//! Partitions of a table that exists.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use tarn_proto::{PartitionId, TableId};

use super::bounds::{Cover, normalize};
use super::dealer::Dealer;
use super::temporary::{check_distinct, unknown_temporary};
use super::{Outcome, check_name};
use crate::command::{PartitionSpec, Placement, Response};
use crate::{Bounds, Catalog, Error, Partition, Partitioning, Table};

type Partitions = OrdMap<PartitionId, Arc<Partition>>;

/// Names and bounds of a table's partitions while some are added.
pub(super) struct Layout<'a> {
    table: &'a Table,
    names: BTreeMap<String, PartitionId>,
    cover: Cover<PartitionId>,
    partitions: BTreeMap<PartitionId, (String, Bounds)>,
}

impl<'a> Layout<'a> {
    /// The partitions that queries read. A name that a temporary one has is taken, too.
    pub(super) fn new(table: &'a Table) -> Self {
        Self::of(table, &table.partitions, &table.temporary)
    }

    /// The temporary partitions.
    pub(super) fn temporary(table: &'a Table) -> Self {
        Self::of(table, &table.temporary, &table.partitions)
    }

    fn of(table: &'a Table, partitions: &Partitions, others: &Partitions) -> Self {
        let names = others.values().map(|other| (other.name.to_ascii_lowercase(), other.id)).collect();
        let mut layout = Self { table, names, cover: Cover::new(), partitions: BTreeMap::new() };
        for partition in partitions.values() {
            layout.insert(partition);
        }
        layout
    }

    /// The name of a partition that shares a key with `bounds`.
    pub(super) fn overlapping(&self, bounds: &Bounds) -> Option<&str> {
        let other = self.cover.overlapping(bounds)?;
        self.partitions.get(&other).map(|(name, _)| name.as_str())
    }

    pub(super) fn insert(&mut self, partition: &Partition) {
        self.names.insert(partition.name.to_ascii_lowercase(), partition.id);
        self.cover.insert(&partition.bounds, partition.id);
        self.partitions.insert(partition.id, (partition.name.clone(), partition.bounds.clone()));
    }

    fn exists(&self, name: &str) -> Error {
        Error::PartitionExists { table: self.table.name.clone(), partition: name.to_owned() }
    }

    /// Checks a partition to be added. `Ok(Err(id))` tells the one that has the same bounds already, `Ok(Ok(bounds))`
    /// that it can be added.
    fn check_bounds(&self, spec: &PartitionSpec) -> Result<Result<Bounds, PartitionId>, Error> {
        check_name("partition", &spec.name)?;
        let bounds = normalize(&self.table.partitioning, &spec.name, &spec.bounds)?;
        let Some(other) = self.cover.overlapping(&bounds) else { return Ok(Ok(bounds)) };
        match self.partitions.get(&other) {
            Some((_, others)) if *others == bounds => Ok(Err(other)),
            found => Err(Error::PartitionOverlap {
                table: self.table.name.clone(),
                partition: spec.name.clone(),
                other: found.map(|(name, _)| name.clone()).unwrap_or_default(),
            }),
        }
    }

    /// Bounds for a partition that must be new.
    pub(super) fn check_new(&self, spec: &PartitionSpec) -> Result<Bounds, Error> {
        if self.names.contains_key(&spec.name.to_ascii_lowercase()) {
            return Err(self.exists(&spec.name));
        }
        match self.check_bounds(spec)? {
            Ok(bounds) => Ok(bounds),
            Err(other) => Err(Error::PartitionOverlap {
                table: self.table.name.clone(),
                partition: spec.name.clone(),
                other: self.partitions.get(&other).map(|(name, _)| name.clone()).unwrap_or_default(),
            }),
        }
    }

    /// `name`, or where it is taken and rows create partitions, `name_2`, `name_3`, ...
    fn free_name(&self, name: &str) -> Result<String, Error> {
        let taken = |name: &str| self.names.contains_key(&name.to_ascii_lowercase());
        if !taken(name) {
            return Ok(name.to_owned());
        }
        if !matches!(self.table.partitioning, Partitioning::Expression(_)) {
            return Err(self.exists(name));
        }
        // There are fewer names taken than numbers tried.
        let numbered = (2..self.names.len() + 3).map(|n| format!("{name}_{n}")).find(|name| !taken(name));
        numbered.ok_or_else(|| self.exists(name))
    }
}

impl Catalog {
    pub(super) fn add_partitions(
        &mut self,
        table: TableId,
        specs: &[PartitionSpec],
        fail_if_exists: bool,
        placement: &Placement,
        now_ms: u64,
    ) -> Outcome {
        let table = self.existing_table(table)?;
        let mut layout = Layout::new(&table);
        let mut dealer = None;
        let mut ids = Vec::with_capacity(specs.len());
        for spec in specs {
            let (name, bounds) = if fail_if_exists {
                (spec.name.clone(), layout.check_new(spec)?)
            } else {
                match layout.check_bounds(spec)? {
                    Ok(bounds) => (layout.free_name(&spec.name)?, bounds),
                    Err(existing) => {
                        ids.push(existing);
                        continue;
                    }
                }
            };
            let dealer = match &mut dealer {
                Some(dealer) => dealer,
                // Made for the first partition that is new: none is needed to answer existing ones.
                none => none.insert(Dealer::new(self, placement, &table)?),
            };
            let buckets = table.distribution.buckets;
            let partition = self.new_partition(table.id, &name, bounds, buckets, dealer, now_ms)?;
            ids.push(partition.id);
            layout.insert(&partition);
            self.table_mut(table.id)?.partitions.insert(partition.id, Arc::new(partition));
        }
        Ok(Response::Partitions(ids))
    }

    pub(super) fn drop_partitions(
        &mut self,
        table: TableId,
        names: &[String],
        temporary: bool,
        if_exists: bool,
    ) -> Outcome {
        let table = self.existing_table(table)?;
        check_distinct(names)?;
        for name in names {
            let found = if temporary { table.temporary_partition(name) } else { table.partition(name) };
            let Some(partition) = found else {
                match (if_exists, temporary) {
                    (true, _) => continue,
                    (false, true) => return Err(unknown_temporary(&table, name)),
                    (false, false) => return Err(unknown(&table, name)),
                }
            };
            if table.partitioning == Partitioning::None {
                return Err(Error::Invalid(format!(
                    "table `{}` is not partitioned: to empty it, use TRUNCATE TABLE",
                    table.name
                )));
            }
            let changed = self.table_mut(table.id)?;
            let of_kind = if temporary { &mut changed.temporary } else { &mut changed.partitions };
            of_kind.remove(&partition.id);
            self.drop_tablets(partition);
        }
        Ok(Response::Done)
    }

    pub(super) fn rename_partition(&mut self, table: TableId, name: &str, new_name: &str) -> Outcome {
        check_name("partition", new_name)?;
        let table = self.table_mut(table)?;
        let id = table.partition(name).ok_or_else(|| unknown(table, name))?.id;
        if table.partition(new_name).or_else(|| table.temporary_partition(new_name)).is_some_and(|other| other.id != id)
        {
            return Err(Error::PartitionExists { table: table.name.clone(), partition: new_name.to_owned() });
        }
        if let Some(partition) = table.partitions.get_mut(&id) {
            Arc::make_mut(partition).name = new_name.to_owned();
        }
        Ok(Response::Done)
    }
}

pub(super) fn unknown(table: &Table, partition: &str) -> Error {
    Error::UnknownPartition { table: table.name.clone(), partition: partition.to_owned() }
}
