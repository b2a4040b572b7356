//! What a storage node has, against what it should have. Pure.

use std::collections::HashMap;

use tarn_catalog::command::ReplicaKey;
use tarn_catalog::{Catalog, ReplicaState};
use tarn_proto::wire::TabletReport;
use tarn_proto::{NodeId, TabletId, Version};

use crate::reconcile::placement::placed_tables;

/// What is wrong on a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Replicas that the catalog calls current and that are not.
    pub behind: Vec<ReplicaKey>,
    /// Replicas that take no writes or whose files are not what was written.
    pub damaged: Vec<ReplicaKey>,
    /// Replicas of tablets that are there, but not on this node: a node that was told to fill one makes it again if it was
    /// given up meanwhile. Tablets that the catalog does not know at all are left alone.
    pub strays: Vec<ReplicaKey>,
}

/// Compares the node's reports with a catalog from before they were made.
pub fn examine(catalog: &Catalog, node: NodeId, reports: &[TabletReport]) -> Examined {
    let reports: HashMap<TabletId, &TabletReport> = reports.iter().map(|r| (TabletId(r.tablet_id), r)).collect();
    let mut found = Examined { strays: strays(catalog, node, reports.keys().copied()), ..Examined::default() };
    for partition in placed_tables(catalog).flat_map(|table| table.all_partitions()) {
        for tablet in &partition.tablets {
            let Some(replica) = tablet.replica(node) else { continue };
            let report = reports.get(&tablet.id);
            let damaged = report.is_some_and(|report| is_damaged(report));
            // A tablet that nothing was loaded to is made when it is missing.
            let complete = match report {
                Some(report) => Version(report.version) >= partition.visible_version,
                None => partition.visible_version == Version::FIRST,
            };
            if damaged {
                found.damaged.push((tablet.id, node));
            }
            if replica.state == ReplicaState::Current && (damaged || !complete) {
                found.behind.push((tablet.id, node));
            }
        }
    }
    found
}

fn strays(catalog: &Catalog, node: NodeId, reported: impl Iterator<Item = TabletId>) -> Vec<ReplicaKey> {
    let is_stray = |id: &TabletId| {
        let Some((owner, tablet)) = catalog.tablet(*id) else { return false };
        let placed = catalog.table_by_id(owner.table).is_some_and(|table| table.volume.is_none());
        placed && tablet.replica(node).is_none() && !catalog.dropped_replicas.contains(&(*id, node))
    };
    reported.filter(is_stray).map(|tablet| (tablet, node)).collect()
}

fn is_damaged(report: &TabletReport) -> bool {
    !report.read_only_reason.is_empty() || report.damaged_rowsets > 0
}
