//! What each tablet needs.

use std::collections::BTreeMap;

use tarn_catalog::command::AddReplica;
use tarn_catalog::{Catalog, Replica, ReplicaState, Table, Tablet};
use tarn_proto::{NodeId, TabletId};

use super::sites::{Site, Sites, placed_tables, replaced};
use super::terms::Terms;
use super::{Health, Life, Limits, Plan, colocation};

/// Why a tablet needs a replica, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// One is on a node that is gone.
    Lost,
    /// There are too few.
    Missing,
    /// One is damaged.
    Damaged,
    /// One is on a node that is drained.
    Drained,
    /// One is not where it should be: at the location of another, at one that the table is not for, or outside of its
    /// group's nodes.
    Misplaced,
}

/// A replica that should be filled.
pub(super) struct Need<'a> {
    pub urgency: Urgency,
    pub table: &'a Table,
    pub tablet: &'a Tablet,
    /// The member whose place it takes.
    pub replaces: Option<NodeId>,
    /// Where it has to be; anywhere if `None`.
    pub to: Option<NodeId>,
}

/// Plans what tablets need, the most urgent first.
pub(super) fn repair(catalog: &Catalog, health: &Health, limits: &Limits, sites: &mut Sites, plan: &mut Plan) {
    let mut needs = Vec::new();
    for table in placed_tables(catalog) {
        let group = table.colocation.and_then(|group| catalog.colocation_groups.get(&group));
        let terms = Terms::of_table(catalog, table);
        for (_, bucket, tablet) in table.tablets() {
            match group.and_then(|group| group.sequence.get(bucket as usize)) {
                Some(nodes) => colocation::needs(table, tablet, nodes, sites, plan, &mut needs),
                None => tablet_needs(table, tablet, &terms, health, sites, plan, &mut needs),
            }
        }
    }
    // Stable, so that a tablet's needs stay in order.
    needs.sort_by_key(|need| (need.urgency, need.tablet.id));
    let mut added: BTreeMap<TabletId, Vec<NodeId>> = BTreeMap::new();
    for need in needs {
        if plan.add.len() >= limits.joining_per_node * sites.iter().count() {
            break;
        }
        // Without one that can be read there is nothing to fill a replica from.
        let is_source = |replica: &Replica| sites.get(replica.node).is_some_and(|site| site.life == Life::Alive);
        if !need.tablet.readable().any(is_source) {
            continue;
        }
        let added = added.entry(need.tablet.id).or_default();
        let others: Vec<NodeId> =
            need.tablet.nodes().filter(|node| Some(*node) != need.replaces).chain(added.iter().copied()).collect();
        let terms = Terms::of_table(catalog, need.table);
        let to = match need.to {
            Some(node) => Some(node).filter(|node| sites.has_room(*node) && sites.fits(*node, &others, &terms)),
            None => {
                // What is only misplaced is not moved to where it would be so again.
                let better = |site: &Site| need.urgency != Urgency::Misplaced || terms.allow(site);
                let allowed = |site: &Site| Some(site.id) != need.replaces && better(site);
                sites.choose_free(&others, &terms, allowed, |site| sites.has_room(site.id))
            }
        };
        let Some(node) = to else { continue };
        sites.begin(need.replaces, node);
        if need.to.is_none() {
            sites.shift(need.replaces, node, 1, need.tablet.bytes);
        }
        added.push(node);
        plan.add.push(AddReplica { tablet: need.tablet.id, node, replaces: need.replaces });
    }
}

/// What a tablet of no group needs.
fn tablet_needs<'a>(
    table: &'a Table,
    tablet: &'a Tablet,
    terms: &Terms,
    health: &Health,
    sites: &Sites,
    plan: &mut Plan,
    needs: &mut Vec<Need<'a>>,
) {
    let wanted = table.replication as usize;
    let members: Vec<NodeId> = tablet.members().map(|member| member.node).collect();
    let surplus = members.len() > wanted;
    let mut more = members.len();
    let mut filling = Vec::new();
    for replica in &tablet.replicas {
        let ReplicaState::Joining { replaces } = replica.state else { continue };
        more += usize::from(replaces.is_none());
        // One on a node that is merely silent is waited for.
        let stuck = sites.get(replica.node).is_none_or(|site| !site.takes && site.life != Life::Silent);
        if surplus || stuck || replaces.is_none() && more > wanted {
            plan.remove.push((tablet.id, replica.node));
            more -= usize::from(replaces.is_none());
        } else {
            filling.push((replica.node, replaces));
        }
    }
    let damaged = |node: NodeId| health.damaged.contains(&(tablet.id, node));
    if surplus {
        plan.remove.extend(superfluous(tablet, terms, &damaged, sites).map(|node| (tablet.id, node)));
        return;
    }
    let replaced: Vec<NodeId> = filling.iter().filter_map(|(_, replaces)| *replaces).collect();
    let kept = members.iter().copied().filter(|node| !replaced.contains(node));
    let stay: Vec<NodeId> = kept.clone().chain(filling.iter().map(|(node, _)| *node)).collect();
    let crowded = sites.crowded(&stay, terms);
    for node in kept {
        let urgency = match () {
            () if sites.is_lost(node) => Urgency::Lost,
            () if damaged(node) => Urgency::Damaged,
            () if sites.is_to_be_left(node) => Urgency::Drained,
            () if crowded.contains(&node) || !sites.is_meant(node, terms) => Urgency::Misplaced,
            () => continue,
        };
        needs.push(Need { urgency, table, tablet, replaces: Some(node), to: None });
    }
    for _ in more..wanted {
        needs.push(Need { urgency: Urgency::Missing, table, tablet, replaces: None, to: None });
    }
}

/// The member that a tablet with too many can best do without.
fn superfluous(tablet: &Tablet, terms: &Terms, damaged: &impl Fn(NodeId) -> bool, sites: &Sites) -> Option<NodeId> {
    let members: Vec<NodeId> = tablet.members().map(|member| member.node).collect();
    // One by one, as the catalog does: whoever is at the location of another is judged anew when that one is gone.
    let crowded = sites.crowded(&members, terms);
    let rated = tablet.members().map(|member| {
        let node = member.node;
        let current = member.state == ReplicaState::Current;
        let load = sites.get(node).map_or(u64::MAX, |site| site.tablets);
        // A node that is silent may be back soon, but a copy that lives is never given up for it.
        let alive = sites.get(node).is_some_and(|site| site.life == Life::Alive);
        let here = (!sites.is_lost(node), !sites.is_to_be_left(node));
        let place = (sites.is_meant(node, terms), !crowded.contains(&node));
        let roomy = sites.get(node).is_some_and(|site| !site.low);
        let wanted = (alive, here, !damaged(node), current, place, roomy);
        (wanted, u64::MAX - load, node)
    });
    rated.min().map(|(.., node)| node)
}

/// Whether all members of a tablet are current, none joins, and there are as many as there should be.
pub(super) fn is_settled(table: &Table, tablet: &Tablet) -> bool {
    tablet.replicas.len() == table.replication as usize
        && tablet.readable().count() == tablet.replicas.len()
        && replaced(tablet).next().is_none()
}
