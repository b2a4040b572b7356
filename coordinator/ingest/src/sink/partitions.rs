//! Partitions that a load creates, or puts in the place of others.

use std::collections::BTreeSet;

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Operation, Table};
use tarn_proto::{PartitionId, Version};

use super::TabletSink;
use crate::route::{Reach, partition_name};
use crate::{Error, Target};

/// Partitions that one load may create (StarRocks' `auto_partition_max_creation_number_per_load`).
pub const MAX_CREATED_PARTITIONS: usize = 4096;

impl TabletSink {
    /// Prepares every partition that is replaced whether it gets rows or not.
    pub(super) async fn prepare_reach(&self) -> Result<(), Error> {
        let target = self.target();
        if target.replacing.as_ref().is_none_or(|replacing| replacing.dynamic) {
            return Ok(());
        }
        self.prepare(match target.reach {
            Reach::All => {
                let table = self.current_table(&self.catalog.catalog())?;
                // One that was read and is gone by now refuses the commit.
                let read = target.replacing.and_then(|replacing| replacing.read);
                let read = read.iter().flat_map(|read| read.partitions.keys());
                table.partitions.keys().chain(read).copied().collect()
            }
            Reach::Only(partitions) => partitions,
        })
        .await
    }

    /// Gives partitions what will take their place.
    pub(super) async fn prepare(&self, mut partitions: BTreeSet<PartitionId>) -> Result<(), Error> {
        let Target { reach, replacing: Some(replacing) } = self.target() else { return Ok(()) };
        // One producer at a time, as those that miss the same ones need them once.
        let _alone = self.created.lock().await;
        let overwrite = self.overwrite(&self.catalog.catalog()).unwrap_or_default();
        partitions.retain(|id| !overwrite.replacements.contains_key(id));
        let whole = !replacing.dynamic && reach == Reach::All;
        if partitions.is_empty() && (overwrite.whole || !whole) {
            return Ok(());
        }
        let partitions = match &replacing.read {
            None => partitions.into_iter().map(|id| (id, None)).collect(),
            Some(read) => {
                let table = self.current_table(&self.catalog.catalog())?;
                let version = |id| read_version(read, &table, &reach, id).map(|version| (id, version));
                partitions.into_iter().map(version).collect::<Result<_, _>>()?
            }
        };
        let operation = Operation::PrepareOverwrite {
            txn: self.txn,
            table: self.table,
            whole,
            partitions,
            placement: self.catalog.placement(),
        };
        self.catalog.propose(operation).await?;
        Ok(())
    }

    pub(super) async fn create_partitions(&self, mut bounds: Vec<Bounds>) -> Result<(), Error> {
        let mut created = self.created.lock().await;
        let table = self.current_table(&self.catalog.catalog())?;
        // Another producer, or another load, may have been faster.
        bounds.retain(|bounds| !table.partitions.values().any(|p| p.bounds == *bounds));
        if bounds.is_empty() {
            return Ok(());
        }
        *created += bounds.len();
        if *created > MAX_CREATED_PARTITIONS {
            return Err(Error::TooManyPartitions { table: table.name.clone(), limit: MAX_CREATED_PARTITIONS });
        }
        let mut partitions: Vec<PartitionSpec> = Vec::with_capacity(bounds.len());
        for bounds in bounds {
            let taken = |name: &str| {
                let other = table.partition(name).is_some_and(|p| p.bounds != bounds);
                other || partitions.iter().any(|p| p.name.eq_ignore_ascii_case(name))
            };
            let name = partition_name(&table.partitioning, &bounds, taken);
            partitions.push(PartitionSpec { name, bounds });
        }
        let operation = Operation::AddPartitions {
            table: self.table,
            partitions,
            fail_if_exists: false,
            placement: self.catalog.placement(),
        };
        self.catalog.propose(operation).await?;
        Ok(())
    }
}

/// The version of a partition that rows which were computed from `read`, the table at an earlier moment, must find when
/// they replace it. `table` is the table now.
fn read_version(read: &Table, table: &Table, reach: &Reach, id: PartitionId) -> Result<Option<Version>, Error> {
    if let Some(partition) = read.partitions.get(&id) {
        return Ok(Some(partition.visible_version));
    }
    if *reach != Reach::All && read.temporary.contains_key(&id) {
        // Chosen by name, and no query has read it.
        return Ok(None);
    }
    // It was not there. It may have been added, and then nobody may have loaded it; or it stands in the place of one that
    // was read, whose rows have gone with it and must not come back.
    let bounds = table.partition_by_id(id).map(|partition| &partition.bounds);
    match read.partitions.values().any(|old| bounds.is_some_and(|new| new.overlaps(&old.bounds))) {
        true => Err(Error::PartitionGone { table: table.name.clone() }),
        false => Ok(Some(Version::FIRST)),
    }
}
