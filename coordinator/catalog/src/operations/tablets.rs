//! Partitions' tablets: dealing new ones to storage nodes, and taking dropped ones out of the catalog.

use std::sync::Arc;

use tarn_proto::{NodeId, PartitionId, TableId, TabletId, Version};

use crate::{Bounds, Catalog, Error, Partition, Relation, Role, Tablet, TabletOwner};

/// Most tablets that one command makes: each is a record on every coordinator, and all of them are made at once. Part of
/// the state machine's definition, equal on every coordinator.
const MAX_NEW_TABLETS: u32 = 100_000;

/// Deals the new tablets of one table to storage nodes in turn.
pub(super) struct Dealer<'a> {
    placement: &'a [NodeId],
    next: u64,
    left: u32,
}

impl<'a> Dealer<'a> {
    /// A dealer for `table`, which has `tablets` tablets already. Dealing goes on where it ended for those, and tables
    /// begin at different nodes: else every table of one bucket would lie on the first.
    pub(super) fn new(
        catalog: &Catalog,
        placement: &'a [NodeId],
        table: TableId,
        tablets: usize,
    ) -> Result<Self, Error> {
        if placement.is_empty() {
            return Err(Error::NoStorageNode);
        }
        for id in placement {
            match catalog.nodes.get(id) {
                Some(node) if node.role == Role::Storage => {}
                Some(node) => return Err(Error::Invalid(format!("{id} is a {}, not a storage node", node.role))),
                None => return Err(Error::UnknownNode(*id)),
            }
        }
        let next = (mix(table.get()) % placement.len() as u64).wrapping_add(tablets as u64);
        Ok(Self { placement, next, left: MAX_NEW_TABLETS })
    }

    /// Takes the tablets of one partition from those that the command may make.
    fn take(&mut self, buckets: u32) -> Result<(), Error> {
        self.left = self.left.checked_sub(buckets).ok_or_else(|| {
            Error::Invalid(format!(
                "this makes more than {MAX_NEW_TABLETS} tablets (partitions x buckets) at once: use fewer buckets or \
                 longer partitions, or take several statements"
            ))
        })?;
        Ok(())
    }

    fn deal(&mut self) -> NodeId {
        let node = self.placement[(self.next % self.placement.len() as u64) as usize];
        self.next = self.next.wrapping_add(1);
        node
    }
}

/// The finalizer of MurmurHash3 (Austin Appleby).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

impl Catalog {
    /// A new, empty partition with its tablets, which are registered. The caller puts it into the table.
    pub(super) fn new_partition(
        &mut self,
        table: TableId,
        name: &str,
        bounds: Bounds,
        buckets: u32,
        dealer: &mut Dealer<'_>,
        now_ms: u64,
    ) -> Result<Partition, Error> {
        dealer.take(buckets)?;
        let partition = PartitionId(self.next_id());
        let tablets = (0..buckets)
            .map(|bucket| {
                let id = TabletId(self.next_id());
                self.tablets.insert(id, TabletOwner { table, partition, bucket });
                Tablet { id, replicas: vec![dealer.deal()], rows: 0, bytes: 0 }
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
        })
    }

    /// Takes the tablets of a partition that is dropped out of the catalog and notes where their files are.
    pub(super) fn drop_tablets(&mut self, partition: &Partition) {
        for tablet in &partition.tablets {
            self.tablets.remove(&tablet.id);
            self.dropped_tablets.insert(tablet.id, tablet.replicas.clone());
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
            for partition in table.all_partitions() {
                self.drop_tablets(partition);
            }
        }
    }
}
