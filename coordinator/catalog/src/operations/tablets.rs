//! Partitions' tablets: registering new ones, and taking dropped ones out of the catalog.

use std::sync::Arc;

use tarn_proto::{PartitionId, TableId, TabletId, Version};

use super::dealer::Dealer;
use crate::{Bounds, Catalog, Error, Partition, Relation, Tablet, TabletOwner};

impl Catalog {
    /// A new, empty partition with its tablets, which are registered. The caller puts it into the table.
    pub(super) fn new_partition(
        &mut self,
        table: TableId,
        name: &str,
        bounds: Bounds,
        buckets: u32,
        dealer: &mut Dealer,
        now_ms: u64,
    ) -> Result<Partition, Error> {
        dealer.take(buckets)?;
        let partition = PartitionId(self.next_id());
        let tablets = (0..buckets)
            .map(|bucket| {
                let id = TabletId(self.next_id());
                self.tablets.insert(id, TabletOwner { table, partition, bucket });
                Tablet::new(id, dealer.deal(bucket))
            })
            .collect();
        Ok(Partition {
            id: partition,
            name: name.to_owned(),
            bounds,
            tablets,
            visible_version: Version::FIRST,
            committed_version: Version::FIRST,
            rows: 0,
            bytes: 0,
            visible_ms: now_ms,
            inexact_rows: false,
        })
    }

    /// Takes the tablets of a partition that is dropped out of the catalog and notes where their files are.
    pub(super) fn drop_tablets(&mut self, partition: &Partition) {
        let owner = partition.tablets.first().and_then(|tablet| self.tablets.get(&tablet.id)).copied();
        if let Some(owner) = owner {
            self.drop_derived(owner.table, partition.id);
        }
        self.drop_each(&partition.tablets);
    }

    /// Takes tablets out of the catalog and notes where their files are.
    pub(super) fn drop_each(&mut self, tablets: &[Tablet]) {
        for tablet in tablets {
            let owner = self.tablets.remove(&tablet.id);
            if let Some(table) = owner.and_then(|owner| self.table_by_id(owner.table)).cloned() {
                self.note_dropped_on_volume(&table, tablet.id);
            }
            self.dropped_tablets.insert(tablet.id, tablet.nodes().collect());
        }
    }

    /// Drops a table or view, if it is there.
    pub(super) fn drop_relation(&mut self, id: TableId) {
        let Some(relation) = self.relations.remove(&id) else { return };
        self.increments.remove(&id);
        let database = match &relation {
            Relation::Table(table) => table.database,
            Relation::View(view) => view.database,
        };
        self.relation_names.remove(&(database, Arc::from(relation.name())));
        if let Relation::Table(table) = relation {
            self.drop_all_derived(&table);
            for partition in table.all_partitions() {
                partition.tablets.iter().for_each(|tablet| self.note_dropped_on_volume(&table, tablet.id));
                self.drop_tablets(partition);
            }
            self.leave_group(table.colocation);
        }
    }
}
