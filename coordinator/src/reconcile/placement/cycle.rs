//! The nodes that new tablets are dealt to.

use std::collections::BTreeMap;

use tarn_catalog::Catalog;
use tarn_proto::NodeId;

use super::sites::{Site, Sites};
use super::{Health, Limits};

/// A node with less than this share of the average load gets two new tablets where others get one.
const LIGHT: f64 = 0.7;

/// The cycle of storage nodes for [`tarn_catalog::command::Placement`]: those that are alive, not drained and not full, in
/// such an order that neighbours are at distinct locations where possible; those with far less than others twice. If all
/// are full, those that are alive: loads tell that there is no space.
pub fn cycle(catalog: &Catalog, health: &Health) -> Vec<NodeId> {
    let sites = Sites::new(catalog, health, &Limits::default());
    let taking = in_turn(sites.iter().filter(|site| site.takes));
    if taking.is_empty() {
        let spared = Health {
            nodes: health
                .nodes
                .iter()
                .map(|(id, node)| (*id, super::NodeHealth { disk_full: false, ..*node }))
                .collect(),
            ..Health::default()
        };
        let sites = Sites::new(catalog, &spared, &Limits::default());
        return in_turn(sites.iter().filter(|site| site.takes));
    }
    let scale = sites.scale();
    let is_light = |site: &&Site| scale.tablets(site) < LIGHT && scale.bytes(site) < LIGHT;
    let light = in_turn(sites.iter().filter(|site| site.takes).filter(is_light));
    taking.into_iter().chain(light).collect()
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
