//! Tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use tarn_proto::{DatabaseId, PartitionId, TableId};

use super::dealer::Dealer;
use super::partition::{Layout, unknown};
use super::properties::check_locations;
use super::{Outcome, table_spec};
use crate::command::{PartitionSpec, Placement, Response, TableSpec};
use crate::{Bounds, Catalog, Error, Partition, Partitioning, Relation, SchemaHistory, Table};

impl Catalog {
    pub(super) fn create_table(
        &mut self,
        database: DatabaseId,
        spec: &TableSpec,
        if_not_exists: bool,
        placement: &Placement,
        now_ms: u64,
    ) -> Outcome {
        self.existing_database(database)?;
        if if_not_exists && let Some(Relation::Table(table)) = self.relation(database, &spec.name) {
            return Ok(Response::Table(table.id));
        }
        self.check_relation_name_is_free(database, &spec.name)?;
        table_spec::check(spec)?;
        let id = TableId(self.next_id());
        let mut table = Table {
            id,
            database,
            name: spec.name.clone(),
            schema: spec.schema.clone(),
            columns: spec.columns.clone(),
            explicit_sort_key: spec.explicit_sort_key,
            partitioning: spec.partitioning.clone(),
            distribution: spec.distribution.clone(),
            replication: spec.replication,
            colocation: None,
            volume: None,
            properties: spec.properties.clone(),
            comment: spec.comment.clone(),
            partitions: OrdMap::new(),
            temporary: OrdMap::new(),
            shadows: OrdMap::new(),
            created_ms: now_ms,
            history: SchemaHistory::default(),
            job: None,
            swapped: None,
        };
        table.volume = self.volume_for(&spec.properties)?;
        if table.volume.is_some() {
            if spec.colocate_with.is_some() {
                return Err(Error::Invalid(format!(
                    "table `{}`: tables on a storage volume cannot be colocated; leave out \"colocate_with\" or \
                     \"storage_volume\"",
                    spec.name
                )));
            }
            // The volume keeps copies, if any.
            table.replication = 1;
        }
        if let Some(group) = &spec.colocate_with {
            table.colocation = Some(self.join_group(group, &table, placement)?);
        }
        check_locations(&table, &table.properties)?;
        table.partitions = self.first_partitions(&table, &spec.partitions, placement, now_ms)?;
        self.insert_relation(database, Relation::Table(Arc::new(table)));
        Ok(Response::Table(id))
    }

    fn first_partitions(
        &mut self,
        table: &Table,
        specs: &[PartitionSpec],
        placement: &Placement,
        now_ms: u64,
    ) -> Result<OrdMap<PartitionId, Arc<Partition>>, Error> {
        let whole = PartitionSpec { name: table.name.clone(), bounds: Bounds::All };
        let specs = match table.partitioning {
            Partitioning::None if specs.is_empty() => std::slice::from_ref(&whole),
            _ => specs,
        };
        let mut dealer = Dealer::new(self, placement, table)?;
        let mut layout = Layout::new(table);
        let mut partitions = OrdMap::new();
        for spec in specs {
            let bounds = layout.check_new(spec)?;
            let buckets = table.distribution.buckets;
            let partition = self.new_partition(table.id, &spec.name, bounds, buckets, &mut dealer, now_ms)?;
            layout.insert(&partition);
            partitions.insert(partition.id, Arc::new(partition));
        }
        Ok(partitions)
    }

    pub(super) fn drop_table(
        &mut self,
        database: DatabaseId,
        name: &str,
        if_exists: bool,
        only: Option<TableId>,
    ) -> Outcome {
        self.existing_database(database)?;
        let named = match (self.relation(database, name), only) {
            (Some(relation), Some(only)) if relation.id() != only => Err(Error::UnknownTable(name.to_owned())),
            _ => self.table(database, name),
        };
        match named {
            Ok(table) => self.drop_relation(table.id),
            Err(Error::UnknownTable(_)) if if_exists => {}
            Err(error) => return Err(error),
        }
        Ok(Response::Done)
    }

    pub(super) fn rename_table(&mut self, database: DatabaseId, name: &str, new_name: &str) -> Outcome {
        self.existing_database(database)?;
        let table = self.table(database, name)?;
        self.check_relation_name_is_free(database, new_name)?;
        self.give_name(&table, new_name);
        Ok(Response::Done)
    }

    pub(super) fn replace_table(&mut self, old: Option<TableId>, new: TableId, name: &str) -> Outcome {
        let table = self.existing_table(new)?;
        match self.relation(table.database, name) {
            Some(named) if named.id() == new => return Ok(Response::Done),
            Some(Relation::View(view)) => return Err(Error::IsView(view.name.clone())),
            Some(Relation::Table(named)) if Some(named.id) == old => {
                let named = named.id;
                self.drop_relation(named);
            }
            // Also when `old` has gone meanwhile: then the name is free, which is checked now.
            _ => {}
        }
        self.check_relation_name_is_free(table.database, name)?;
        self.give_name(&table, name);
        Ok(Response::Done)
    }

    /// Renames a table to a name that is free.
    pub(super) fn give_name(&mut self, table: &Table, new_name: &str) {
        let mut table = table.clone();
        self.relation_names.remove(&(table.database, Arc::from(table.name.as_str())));
        if table.partitioning == Partitioning::None {
            // The one partition is named as the table.
            for partition in table.partitions.clone().values().filter(|p| p.name == table.name) {
                let renamed = Partition { name: new_name.to_owned(), ..Partition::clone(partition) };
                table.partitions.insert(partition.id, Arc::new(renamed));
            }
        }
        table.name = new_name.to_owned();
        self.insert_relation(table.database, Relation::Table(Arc::new(table)));
    }

    pub(super) fn truncate_table(
        &mut self,
        table: TableId,
        names: &[String],
        placement: &Placement,
        now_ms: u64,
    ) -> Outcome {
        let table = self.existing_table(table)?;
        let ids: BTreeSet<PartitionId> = if names.is_empty() {
            table.partitions.keys().copied().collect()
        } else {
            let partition = |name: &String| table.partition(name).map(|p| p.id).ok_or_else(|| unknown(&table, name));
            names.iter().map(partition).collect::<Result<_, _>>()?
        };
        if names.is_empty() {
            self.drop_temporary_partitions(table.id)?;
        }
        if ids.is_empty() {
            return Ok(Response::Done);
        }
        let mut dealer = Dealer::new(self, placement, &table)?;
        for id in ids {
            let Some(old) = table.partitions.get(&id) else { continue };
            // A new id: versions of a partition never go back, and what is still being loaded is for the old one.
            let buckets = old.tablets.len() as u32;
            let new = self.new_partition(table.id, &old.name, old.bounds.clone(), buckets, &mut dealer, now_ms)?;
            self.drop_tablets(old);
            let partitions = &mut self.table_mut(table.id)?.partitions;
            partitions.remove(&id);
            partitions.insert(new.id, Arc::new(new));
        }
        Ok(Response::Done)
    }
}
