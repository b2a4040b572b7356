//! Which storage nodes the tablets of new partitions lie on.
//!
//! The proposer brings a cycle of nodes, ordered and repeated as it wants them filled ([`Placement`]). The first replica of
//! each next tablet goes to the next node of the cycle, and the others to those behind it: on distinct nodes, and at distinct
//! locations as far as there are. Nodes that are better left alone ([`Placement::last`]), or not at the table's locations
//! ([`crate::Locations`]), get what is left then. Buckets of a colocated table go where the group has them.

use std::collections::BTreeSet;

use tarn_proto::NodeId;

use crate::command::Placement;
use crate::{Catalog, Error, Role, Table};

/// Most tablets that one command makes: each is a record on every coordinator, and all of them are made at once. Part of
/// the state machine's definition, equal on every coordinator.
const MAX_NEW_TABLETS: u32 = 100_000;

/// A node that may be dealt to.
struct Place {
    node: NodeId,
    location: Option<String>,
    /// Whether it is at one of the table's locations.
    meant: bool,
}

/// Deals the new tablets of one table to storage nodes.
pub(super) struct Dealer {
    table: String,
    /// The cycle, and the nodes that get what it cannot take.
    tiers: [Vec<Place>; 2],
    /// The tiers in the order in which they are tried, and whether only for nodes at locations of their own.
    rounds: &'static [(usize, bool)],
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
    pub(super) fn new(catalog: &Catalog, placement: &Placement, table: &Table) -> Result<Self, Error> {
        if placement.is_empty() {
            return Err(Error::NoStorageNode);
        }
        let locations = table.locations();
        let place = |id: &NodeId| match catalog.nodes.get(id) {
            Some(node) if node.role == Role::Storage => {
                let meant = locations.allow(node.location.as_deref());
                Ok(Place { node: *id, location: node.location.clone(), meant })
            }
            Some(node) => Err(Error::Invalid(format!("{id} is a {}, not a storage node", node.role))),
            None => Err(Error::UnknownNode(*id)),
        };
        let tier = |nodes: &[NodeId]| nodes.iter().map(place).collect::<Result<Vec<_>, _>>();
        let tiers = [tier(&placement.cycle)?, tier(&placement.last)?];
        let alive: BTreeSet<NodeId> = placement.nodes().collect();
        let wanted = table.replication as usize;
        if alive.len() < wanted / 2 + 1 {
            let (replication, alive) = (table.replication, alive.into_iter().collect());
            return Err(Error::NotEnoughStorageNodes { table: table.name.clone(), replication, alive });
        }
        let group = table.colocation.and_then(|group| catalog.colocation_groups.get(&group));
        let tablets = table.tablets().count() as u64;
        let next = (mix(table.id.get()) % placement.nodes().count() as u64).wrapping_add(tablets);
        Ok(Self {
            table: table.name.clone(),
            copies: wanted.min(alive.len()),
            tiers,
            rounds: match catalog.stand_apart(&locations, table.replication) {
                // One of its own counts for more than a disk that fills up.
                true => &[(0, true), (1, true), (0, false), (1, false)],
                false if locations.spread() => &[(0, true), (0, false), (1, true), (1, false)],
                false => &[(0, false), (1, false)],
            },
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
        let next = self.next;
        self.next = next.wrapping_add(1);
        let mut chosen: Vec<&Place> = Vec::with_capacity(self.copies);
        for meant in [true, false] {
            for &(tier, apart) in self.rounds {
                let tier = &self.tiers[tier];
                let length = tier.len();
                for place in (0..length).map(|i| &tier[((next % length as u64) as usize + i) % length]) {
                    let shares = |other: &&Place| {
                        other.node == place.node
                            || apart && place.location.is_some() && other.location == place.location
                    };
                    if chosen.len() < self.copies && place.meant == meant && !chosen.iter().any(shares) {
                        chosen.push(place);
                    }
                }
            }
        }
        chosen.into_iter().map(|place| place.node).collect()
    }
}

/// The finalizer of MurmurHash3 (Austin Appleby).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
