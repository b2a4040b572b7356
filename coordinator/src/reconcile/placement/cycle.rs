//! The nodes that new tablets are dealt to.

use std::collections::BTreeMap;

use tarn_catalog::Catalog;
use tarn_catalog::command::Placement;
use tarn_proto::NodeId;

use super::sites::{Site, Sites};
use super::{Disk, Health, Limits, NodeHealth};

/// A node with less than this share of the average load gets two new tablets where others get one.
const LIGHT: f64 = 0.7;

/// The storage nodes for new tablets: those that are alive and not drained, in such an order that neighbours are at distinct
/// locations where possible; those with far less than others twice. Nodes whose disks fill up stand last, and full ones not
/// at all; but if all are full, all do: loads tell that there is no space.
pub fn cycle(catalog: &Catalog, health: &Health) -> Placement {
    let sites = Sites::new(catalog, health, &Limits::default());
    let taking = || sites.iter().filter(|site| site.takes);
    if taking().next().is_none() {
        let spared = health.nodes.iter().map(|(id, node)| (*id, NodeHealth { disk: Disk::Roomy, ..*node }));
        let spared = Health { nodes: spared.collect(), ..Health::default() };
        let sites = Sites::new(catalog, &spared, &Limits::default());
        return in_turn(sites.iter().filter(|site| site.takes)).into();
    }
    let scale = sites.scale();
    let is_light = |site: &&Site| scale.tablets(site) < LIGHT && scale.bytes(site) < LIGHT;
    let roomy = || taking().filter(|site| !site.low);
    let mut cycle = in_turn(roomy());
    cycle.extend(in_turn(roomy().filter(is_light)));
    Placement { cycle, last: in_turn(taking().filter(|site| site.low)) }
}

/// Nodes of each location in turn.
fn in_turn<'a>(sites: impl Iterator<Item = &'a Site>) -> Vec<NodeId> {
    let mut by_location: BTreeMap<(Option<&str>, Option<NodeId>), Vec<NodeId>> = BTreeMap::new();
    for site in sites {
        // One without a location stands alone.
        let place = (site.location.as_deref(), site.location.is_none().then_some(site.id));
        by_location.entry(place).or_default().push(site.id);
    }
    let rounds = by_location.values().map(Vec::len).max().unwrap_or_default();
    (0..rounds).flat_map(|round| by_location.values().filter_map(move |nodes| nodes.get(round).copied())).collect()
}
