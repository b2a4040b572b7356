//! Which storage nodes the tablets of new partitions lie on.
//!
//! The proposer brings a cycle of nodes, ordered and repeated as it wants them filled ([`crate::command::Placement`]). The
//! first replica of each next tablet goes to the next node of the cycle, and the others to those behind it: on distinct
//! nodes, and at distinct locations as far as there are. Buckets of a colocated table go where the group has them.

use std::collections::BTreeSet;

use tarn_proto::NodeId;

use crate::{Catalog, Error, Role, Table};

/// Most tablets that one command makes: each is a record on every coordinator, and all of them are made at once. Part of
/// the state machine's definition, equal on every coordinator.
const MAX_NEW_TABLETS: u32 = 100_000;

/// Deals the new tablets of one table to storage nodes.
pub(super) struct Dealer {
    table: String,
    cycle: Vec<(NodeId, Option<String>)>,
    /// Copies of each tablet; fewer than the table asks for while nodes are away.
    copies: usize,
    next: u64,
    left: u32,
    /// Nodes of each bucket, if the table is colocated.
    sequence: Option<Vec<Vec<NodeId>>>,
}

impl Dealer {
    /// A dealer for a table that has the tablets that it has. Dealing goes on where it ended for those, and tables begin at
    /// different nodes: else every table of one bucket would lie on the first. A majority of a tablet's copies must find a
    /// node; the others are added when nodes come back.
    pub(super) fn new(catalog: &Catalog, placement: &[NodeId], table: &Table) -> Result<Self, Error> {
        if placement.is_empty() {
            return Err(Error::NoStorageNode);
        }
        let mut cycle = Vec::with_capacity(placement.len());
        for id in placement {
            match catalog.nodes.get(id) {
                Some(node) if node.role == Role::Storage => cycle.push((*id, node.location.clone())),
                Some(node) => return Err(Error::Invalid(format!("{id} is a {}, not a storage node", node.role))),
                None => return Err(Error::UnknownNode(*id)),
            }
        }
        let alive: BTreeSet<NodeId> = placement.iter().copied().collect();
        let wanted = table.replication as usize;
        if alive.len() < wanted / 2 + 1 {
            let (replication, alive) = (table.replication, alive.into_iter().collect());
            return Err(Error::NotEnoughStorageNodes { table: table.name.clone(), replication, alive });
        }
        let group = table.colocation.and_then(|group| catalog.colocation_groups.get(&group));
        let tablets = table.tablets().count() as u64;
        let next = (mix(table.id.get()) % placement.len() as u64).wrapping_add(tablets);
        Ok(Self {
            table: table.name.clone(),
            copies: wanted.min(alive.len()),
            cycle,
            next,
            left: MAX_NEW_TABLETS,
            sequence: group.map(|group| group.sequence.clone()),
        })
    }

    /// Takes the tablets of one partition from those that the command may make.
    pub(super) fn take(&mut self, buckets: u32) -> Result<(), Error> {
        self.left = self.left.checked_sub(buckets).ok_or_else(|| {
            Error::Invalid(format!(
                "this makes more than {MAX_NEW_TABLETS} tablets (partitions x buckets) at once: use fewer buckets or \
                 longer partitions, or take several statements"
            ))
        })?;
        match &self.sequence {
            Some(sequence) if sequence.len() != buckets as usize => Err(Error::ColocateBuckets {
                table: self.table.clone(),
                buckets: u64::from(buckets),
                group: sequence.len() as u64,
            }),
            _ => Ok(()),
        }
    }

    /// The nodes of the next tablet, which is this bucket of its partition.
    pub(super) fn deal(&mut self, bucket: u32) -> Vec<NodeId> {
        match self.sequence.as_ref().and_then(|sequence| sequence.get(bucket as usize)) {
            Some(nodes) => nodes.clone(),
            None => self.deal_next(),
        }
    }

    /// The nodes of the next tablet by the cycle alone.
    pub(super) fn deal_next(&mut self) -> Vec<NodeId> {
        let length = self.cycle.len();
        let start = (self.next % length as u64) as usize;
        self.next = self.next.wrapping_add(1);
        let mut chosen: Vec<&(NodeId, Option<String>)> = Vec::with_capacity(self.copies);
        for apart in [true, false] {
            for place in (0..length).map(|i| &self.cycle[(start + i) % length]) {
                if chosen.len() == self.copies {
                    break;
                }
                let shares = |other: &&(NodeId, Option<String>)| {
                    other.0 == place.0 || apart && place.1.is_some() && other.1 == place.1
                };
                if !chosen.iter().any(shares) {
                    chosen.push(place);
                }
            }
        }
        chosen.into_iter().map(|(node, _)| *node).collect()
    }
}

/// The finalizer of MurmurHash3 (Austin Appleby).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
