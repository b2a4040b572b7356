//! Storage nodes with what lies on them.

use std::collections::BTreeMap;

use tarn_catalog::{Catalog, Relation, ReplicaState, Table, Tablet};
use tarn_proto::NodeId;

use super::terms::Terms;
use super::{Disk, Health, Life, Limits, NodeHealth};

/// A storage node, with its load when all moves under way are done.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub id: NodeId,
    pub location: Option<String>,
    pub life: Life,
    pub draining: bool,
    /// Whether it may get replicas.
    pub takes: bool,
    /// Whether its disk fills up, so that it only gets what no other node can take.
    pub low: bool,
    /// Replicas on it.
    pub tablets: u64,
    /// What they take.
    pub bytes: u64,
    /// Its disk's share among all that take replicas, times their number: 1 for one as large as the average.
    pub share: f64,
    /// Replicas that are being filled.
    pub joining: usize,
    /// Replicas that are being replaced by others.
    pub leaving: usize,
}

/// All storage nodes.
pub(super) struct Sites {
    sites: BTreeMap<NodeId, Site>,
    joining_per_node: usize,
}

/// Tables whose replicas the leader places, which are those that are not on a storage volume.
pub fn placed_tables(catalog: &Catalog) -> impl Iterator<Item = &Table> {
    catalog.relations.values().filter_map(|relation| match relation {
        Relation::Table(table) => Some(&**table).filter(|table| table.volume.is_none()),
        Relation::View(_) => None,
    })
}

/// The members of a tablet that another replica is about to replace.
pub(super) fn replaced(tablet: &Tablet) -> impl Iterator<Item = NodeId> + '_ {
    tablet.replicas.iter().filter_map(|replica| match replica.state {
        ReplicaState::Joining { replaces } => replaces,
        ReplicaState::Current | ReplicaState::Behind => None,
    })
}

impl Sites {
    pub(super) fn new(catalog: &Catalog, health: &Health, limits: &Limits) -> Self {
        let mut sites: BTreeMap<NodeId, Site> = BTreeMap::new();
        for node in catalog.storage_nodes() {
            let NodeHealth { life, disk, .. } = health.nodes.get(&node.id).copied().unwrap_or_default();
            let site = Site {
                id: node.id,
                location: node.location.clone(),
                life,
                draining: node.draining,
                takes: life == Life::Alive && !node.draining && !node.address.is_empty() && disk != Disk::Full,
                low: disk == Disk::Low,
                tablets: 0,
                bytes: 0,
                share: 1.0,
                joining: 0,
                leaving: 0,
            };
            sites.insert(node.id, site);
        }
        let sizes: BTreeMap<NodeId, u64> = sites
            .values()
            .filter(|site| site.takes)
            .map(|site| (site.id, health.nodes.get(&site.id).map_or(0, |node| node.disk_total)))
            .collect();
        if sizes.values().all(|size| *size > 0) {
            let average = sizes.values().map(|size| *size as f64).sum::<f64>() / sizes.len().max(1) as f64;
            for (id, size) in sizes {
                if let Some(site) = sites.get_mut(&id) {
                    site.share = size as f64 / average;
                }
            }
        }
        let mut all = Self { sites, joining_per_node: limits.joining_per_node };
        for table in placed_tables(catalog) {
            let group = table.colocation.and_then(|group| catalog.colocation_groups.get(&group));
            for (_, bucket, tablet) in table.tablets() {
                all.count(tablet, group.and_then(|group| group.sequence.get(bucket as usize)));
            }
        }
        all
    }

    /// Counts a tablet, which lies where its replicas are going to be, or should be if it is of a group.
    fn count(&mut self, tablet: &Tablet, wanted: Option<&Vec<NodeId>>) {
        let leaving: Vec<NodeId> = replaced(tablet).collect();
        for replica in &tablet.replicas {
            if let Some(site) = self.sites.get_mut(&replica.node) {
                site.joining += usize::from(!replica.is_member());
                site.leaving += usize::from(leaving.contains(&replica.node));
            }
        }
        let stay = || tablet.nodes().filter(|node| !leaving.contains(node)).collect();
        for node in wanted.cloned().unwrap_or_else(stay) {
            self.shift(None, node, 1, tablet.bytes);
        }
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Site> {
        self.sites.get(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Site> {
        self.sites.values()
    }

    /// Whether replicas on the node should be elsewhere: it is gone, has been silent for long, or is drained.
    pub(super) fn is_to_be_left(&self, node: NodeId) -> bool {
        self.get(node).is_none_or(|site| site.life == Life::Lost || site.draining)
    }

    /// Whether the node is gone or has been silent for long.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        self.get(node).is_none_or(|site| site.life == Life::Lost)
    }

    /// Whether two nodes are at one location.
    pub(super) fn share_location(&self, one: NodeId, other: NodeId) -> bool {
        let location = |node| self.get(node).and_then(|site| site.location.as_ref());
        location(one).is_some_and(|one| location(other) == Some(one))
    }

    /// Whether the node is at a location that is meant.
    pub(super) fn is_meant(&self, node: NodeId, terms: &Terms) -> bool {
        self.get(node).is_some_and(|site| terms.allow(site))
    }

    /// Nodes that share their location with one before them, though there are locations enough.
    pub(super) fn crowded(&self, nodes: &[NodeId], terms: &Terms) -> Vec<NodeId> {
        if !terms.apart {
            return Vec::new();
        }
        let shares = |(index, node): (usize, &NodeId)| {
            nodes[..index].iter().any(|other| self.share_location(*other, *node)).then_some(*node)
        };
        nodes.iter().enumerate().filter_map(shares).collect()
    }

    /// Whether a replica may be put on a node beside those on `others`.
    pub(super) fn fits(&self, node: NodeId, others: &[NodeId], terms: &Terms) -> bool {
        let takes = self.get(node).is_some_and(|site| site.takes);
        let apart = !others.iter().any(|other| self.share_location(*other, node));
        takes && !others.contains(&node) && (apart || !terms.apart)
    }

    /// Whether the node may be filled with one more replica now.
    pub(super) fn has_room(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|site| site.joining < self.joining_per_node)
    }

    /// The node for a replica beside those on `others`: the least loaded one that fits and is `allowed`, first of those at a
    /// location of their own. Nodes that are not meant, or whose disks fill up, are for what no other could take.
    pub(super) fn choose(&self, others: &[NodeId], terms: &Terms, allowed: impl Fn(&Site) -> bool) -> Option<NodeId> {
        self.choose_free(others, terms, allowed, |_| true)
    }

    /// The same, but only if one of the best is `free` just now: the others are no better for that.
    pub(super) fn choose_free(
        &self,
        others: &[NodeId],
        terms: &Terms,
        allowed: impl Fn(&Site) -> bool,
        free: impl Fn(&Site) -> bool,
    ) -> Option<NodeId> {
        let scale = self.scale();
        let fitting: Vec<&Site> =
            self.iter().filter(|site| self.fits(site.id, others, terms) && allowed(site)).collect();
        let tier = |site: &Site| (!terms.allow(site), site.low);
        let best = fitting.iter().map(|site| tier(site)).min()?;
        let shares = |site: &Site| others.iter().any(|other| self.share_location(*other, site.id));
        let crowded = |site: &Site| terms.spread() && shares(site);
        let rated = fitting.into_iter().filter(|site| tier(site) == best && free(site));
        let rated = rated.map(|site| (crowded(site), scale.load(site), site.id));
        rated.min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))).map(|(_, _, id)| id)
    }

    /// Notes that so many replicas will be on another node.
    pub(super) fn shift(&mut self, from: Option<NodeId>, to: NodeId, tablets: u64, bytes: u64) {
        if let Some(site) = from.and_then(|from| self.sites.get_mut(&from)) {
            site.tablets = site.tablets.saturating_sub(tablets);
            site.bytes = site.bytes.saturating_sub(bytes);
        }
        if let Some(site) = self.sites.get_mut(&to) {
            site.tablets += tablets;
            site.bytes += bytes;
        }
    }

    /// Notes that a replica is being filled, and one replaced.
    pub(super) fn begin(&mut self, from: Option<NodeId>, to: NodeId) {
        if let Some(site) = from.and_then(|from| self.sites.get_mut(&from)) {
            site.leaving += 1;
        }
        if let Some(site) = self.sites.get_mut(&to) {
            site.joining += 1;
        }
    }

    /// What loads are measured by now.
    pub(super) fn scale(&self) -> Scale {
        let used = || self.iter().filter(|site| site.takes);
        let count = used().count().max(1) as f64;
        let per = |total: u64| if total == 0 { 0.0 } else { count / total as f64 };
        Scale { tablet: per(used().map(|s| s.tablets).sum()), byte: per(used().map(|s| s.bytes).sum()) }
    }
}

/// What one replica and one byte add to a node's load. The average node has 1 of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub tablet: f64,
    pub byte: f64,
}

impl Scale {
    /// A node's share of all replicas, the average being 1.
    pub(super) fn tablets(&self, site: &Site) -> f64 {
        site.tablets as f64 * self.tablet
    }

    /// How full a node is with tablets, the average being 1.
    pub(super) fn bytes(&self, site: &Site) -> f64 {
        site.bytes as f64 * self.byte / site.share.max(f64::MIN_POSITIVE)
    }

    fn load(&self, site: &Site) -> f64 {
        self.tablets(site) + self.bytes(site)
    }
}
