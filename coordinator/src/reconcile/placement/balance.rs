//! Moves from full nodes to empty ones.
//!
//! What is moved is a tablet of no group, or a bucket of a group with all its tablets. Loads are measured in shares of the
//! average node's: `x` of the tablets, `y` of the bytes by the size of the disk. A move is made only if it makes
//! `sum(x^2) + sum(share * y^2)` less, so that moves cannot go round in circles, and only between nodes that differ by what
//! is worth a move, so that they end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tarn_catalog::Catalog;
use tarn_catalog::command::{AddReplica, BucketNodes};
use tarn_proto::{GroupId, NodeId, TableId, TabletId};

use super::sites::{Scale, Site, Sites, placed_tables};
use super::terms::Terms;
use super::{Limits, Plan, colocation, repair};

/// Nodes whose numbers of tablets differ by less than this share of the average's are left alone.
const SLACK_TABLETS: f64 = 0.05;
/// Nodes that are filled alike but for this share of the average are left alone.
const SLACK_BYTES: f64 = 0.1;
/// A smaller gain is an error of rounding.
const LEAST_GAIN: f64 = 1e-12;

/// What is moved as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Tablet(TabletId),
    Bucket(GroupId, u32),
}

struct Unit {
    name: Name,
    /// The table of a tablet, whose tablets should not all lie on one node.
    table: Option<TableId>,
    terms: Rc<Terms>,
    tablets: u64,
    bytes: u64,
    nodes: Vec<NodeId>,
}

struct Balance<'a> {
    limits: &'a Limits,
    sites: &'a mut Sites,
    units: Vec<Unit>,
    /// Units by the nodes that they lie on.
    on: BTreeMap<NodeId, BTreeSet<usize>>,
    /// How many tablets of a table lie on a node.
    of_table: BTreeMap<(NodeId, TableId), i64>,
    /// Groups of which a bucket is moved: one at a time.
    moved: BTreeSet<GroupId>,
}

/// Plans moves, as many as nodes take at a time.
pub(super) fn balance(catalog: &Catalog, limits: &Limits, sites: &mut Sites, plan: &mut Plan) {
    let units = units(catalog);
    let mut on: BTreeMap<NodeId, BTreeSet<usize>> = BTreeMap::new();
    let mut of_table: BTreeMap<(NodeId, TableId), i64> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate() {
        for node in &unit.nodes {
            on.entry(*node).or_default().insert(index);
            if let Some(table) = unit.table {
                *of_table.entry((*node, table)).or_default() += 1;
            }
        }
    }
    let mut balance = Balance { limits, sites, units, on, of_table, moved: BTreeSet::new() };
    while let Some((index, from, to)) = balance.best() {
        balance.apply(index, from, to, plan);
    }
}

/// What may be moved: tablets that nothing else is being done to, and buckets of groups that are in place.
fn units(catalog: &Catalog) -> Vec<Unit> {
    let mut units = Vec::new();
    for table in placed_tables(catalog).filter(|table| table.colocation.is_none()) {
        let terms = Rc::new(Terms::of_table(catalog, table));
        let settled = table.tablets().filter(|(_, _, tablet)| repair::is_settled(table, tablet));
        units.extend(settled.map(|(_, _, tablet)| Unit {
            name: Name::Tablet(tablet.id),
            table: Some(table.id),
            terms: terms.clone(),
            tablets: 1,
            bytes: tablet.bytes,
            nodes: tablet.nodes().collect(),
        }));
    }
    for group in catalog.colocation_groups.values().filter(|group| catalog.is_stable(group)) {
        let weights = colocation::weights(catalog, group);
        let terms = Rc::new(Terms::of_group(catalog, group));
        for ((bucket, nodes), weight) in (0..).zip(&group.sequence).zip(weights) {
            units.push(Unit {
                name: Name::Bucket(group.id, bucket),
                table: None,
                terms: terms.clone(),
                tablets: weight.tablets,
                bytes: weight.bytes,
                nodes: nodes.clone(),
            });
        }
    }
    units
}

impl Balance<'_> {
    /// The move from the fullest node that has one to the emptiest.
    fn best(&self) -> Option<(usize, NodeId, NodeId)> {
        let scale = self.scale();
        let load = |site: &&Site| scale.tablets(site) + scale.bytes(site);
        let mut from: Vec<&Site> = self.sites.iter().filter(|site| self.gives(site)).collect();
        let mut to: Vec<&Site> = self.sites.iter().filter(|site| self.gets(site)).collect();
        from.sort_by(|a, b| load(b).total_cmp(&load(a)).then(a.id.cmp(&b.id)));
        to.sort_by(|a, b| load(a).total_cmp(&load(b)).then(a.id.cmp(&b.id)));
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        let mut pairs = pairs.filter(|(from, to)| from.id != to.id && differ(&scale, from, to));
        pairs.find_map(|(from, to)| self.unit_between(&scale, from, to).map(|index| (index, from.id, to.id)))
    }

    /// Few bytes are not worth a move.
    fn scale(&self) -> Scale {
        let scale = self.sites.scale();
        let little = scale.byte > 0.0 && 1.0 / scale.byte < self.limits.balanced_bytes as f64;
        Scale { byte: if little { 0.0 } else { scale.byte }, ..scale }
    }

    fn gives(&self, site: &Site) -> bool {
        site.life == super::Life::Alive && !site.draining && site.leaving < self.limits.moves_per_node
    }

    fn gets(&self, site: &Site) -> bool {
        site.takes && !site.low && site.joining < self.limits.moves_per_node
    }

    /// The unit whose move gains most.
    fn unit_between(&self, scale: &Scale, from: &Site, to: &Site) -> Option<usize> {
        let on = self.on.get(&from.id)?;
        let rated = on.iter().filter_map(|index| {
            let unit = &self.units[*index];
            let gain = gain(scale, from, to, unit);
            (gain > LEAST_GAIN && self.may_move(unit, from.id, to.id)).then(|| {
                let of = |node| unit.table.and_then(|table| self.of_table.get(&(node, table))).copied().unwrap_or(0);
                (of(from.id) - of(to.id), gain, *index)
            })
        });
        rated.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(b.2.cmp(&a.2))).map(|(.., index)| index)
    }

    fn may_move(&self, unit: &Unit, from: NodeId, to: NodeId) -> bool {
        let others: Vec<NodeId> = unit.nodes.iter().copied().filter(|node| *node != from).collect();
        // Never worse than now: where locations are too few, two may share one, but no more than do.
        let shares = |node| others.iter().filter(|other| self.sites.share_location(**other, node)).count();
        let apart = !unit.terms.spread() || shares(to) <= shares(from);
        let fits = self.sites.fits(to, &others, &unit.terms) && apart;
        let meant = self.sites.is_meant(to, &unit.terms);
        fits && meant
            && match unit.name {
                Name::Tablet(_) => true,
                Name::Bucket(group, _) => !self.moved.contains(&group),
            }
    }

    fn apply(&mut self, index: usize, from: NodeId, to: NodeId, plan: &mut Plan) {
        let unit = &self.units[index];
        self.sites.shift(Some(from), to, unit.tablets, unit.bytes);
        self.sites.begin(Some(from), to);
        if let Some(table) = unit.table {
            *self.of_table.entry((from, table)).or_default() -= 1;
            *self.of_table.entry((to, table)).or_default() += 1;
        }
        match unit.name {
            Name::Tablet(tablet) => plan.add.push(AddReplica { tablet, node: to, replaces: Some(from) }),
            Name::Bucket(group, bucket) => {
                self.moved.insert(group);
                let before = unit.nodes.clone();
                let nodes = before.iter().map(|node| if *node == from { to } else { *node }).collect();
                plan.buckets.entry(group).or_default().push(BucketNodes { bucket, before, nodes });
            }
        }
        // Once a unit is on its way it stays out of this plan.
        for units in self.on.values_mut() {
            units.remove(&index);
        }
    }
}

/// Whether two nodes differ by so much that a move may be worth it.
fn differ(scale: &Scale, from: &Site, to: &Site) -> bool {
    let tablets = scale.tablets(from) - scale.tablets(to);
    let by_tablets = from.tablets > to.tablets + 1 && tablets > SLACK_TABLETS;
    by_tablets || scale.bytes(from) - scale.bytes(to) > SLACK_BYTES
}

/// By how much a move makes the sum of the squares less.
fn gain(scale: &Scale, from: &Site, to: &Site, unit: &Unit) -> f64 {
    let square = |load: f64, share: f64| share * load * load;
    let (tablets, bytes) = (unit.tablets as f64 * scale.tablet, unit.bytes as f64 * scale.byte);
    let of_tablets = |site: &Site, by: f64| square(scale.tablets(site), 1.0) - square(scale.tablets(site) + by, 1.0);
    let of_bytes = |site: &Site, by: f64| {
        let share = site.share.max(f64::MIN_POSITIVE);
        square(scale.bytes(site), share) - square(scale.bytes(site) + by / share, share)
    };
    of_tablets(from, -tablets) + of_tablets(to, tablets) + of_bytes(from, -bytes) + of_bytes(to, bytes)
}
