//! Colocation groups: where their buckets should be, and what brings their tablets there.

use std::collections::BTreeMap;

use tarn_catalog::command::BucketNodes;
use tarn_catalog::{Catalog, ColocationGroup, ReplicaState, Table, Tablet};
use tarn_proto::{GroupId, NodeId};

use super::repair::{Need, Urgency};
use super::sites::Sites;
use super::terms::Terms;
use super::{Life, Plan};

/// How many tablets a bucket of a group has, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub tablets: u64,
    pub bytes: u64,
}

/// The weight of each bucket of a group.
pub(super) fn weights(catalog: &Catalog, group: &ColocationGroup) -> Vec<Weight> {
    let mut weights = vec![Weight::default(); group.sequence.len()];
    for (_, bucket, tablet) in catalog.tables_of_group(group.id).flat_map(|table| table.tablets()) {
        if let Some(weight) = weights.get_mut(bucket as usize) {
            weight.tablets += 1;
            weight.bytes += tablet.bytes;
        }
    }
    weights
}

/// Moves buckets off nodes that are lost or drained, apart where they share a location, and to as many nodes as they should
/// have. A node that only holds a damaged replica keeps its buckets: the replica is mended where it is.
pub(super) fn place_groups(catalog: &Catalog, sites: &mut Sites, plan: &mut Plan) {
    let mut moved: BTreeMap<GroupId, Vec<BucketNodes>> = BTreeMap::new();
    for (id, group) in &catalog.colocation_groups {
        let (weights, terms) = (weights(catalog, group), Terms::of_group(catalog, group));
        for ((bucket, before), weight) in (0..).zip(&group.sequence).zip(weights) {
            let nodes = placed(group, &terms, before, weight, sites);
            if nodes != *before {
                moved.entry(*id).or_default().push(BucketNodes { bucket, before: before.clone(), nodes });
            }
        }
    }
    plan.buckets = moved;
}

/// Where a bucket should be.
fn placed(group: &ColocationGroup, terms: &Terms, before: &[NodeId], weight: Weight, sites: &mut Sites) -> Vec<NodeId> {
    let mut nodes = before.to_vec();
    let crowded = sites.crowded(&nodes, terms);
    for index in 0..nodes.len() {
        let node = nodes[index];
        if !sites.is_to_be_left(node) && !crowded.contains(&node) {
            continue;
        }
        let others: Vec<NodeId> = nodes.iter().copied().filter(|other| *other != node).collect();
        // Where there is no other node it stays: better there than nowhere.
        if let Some(to) = sites.choose(&others, terms, |site| site.id != node) {
            sites.shift(Some(node), to, weight.tablets, weight.bytes);
            nodes[index] = to;
        }
    }
    while nodes.len() < group.replication as usize {
        let Some(to) = sites.choose(&nodes, terms, |_| true) else { break };
        sites.shift(None, to, weight.tablets, weight.bytes);
        nodes.push(to);
    }
    nodes
}

/// What brings a tablet to the nodes that its bucket should be on.
pub(super) fn needs<'a>(
    table: &'a Table,
    tablet: &'a Tablet,
    nodes: &[NodeId],
    sites: &Sites,
    plan: &mut Plan,
    needs: &mut Vec<Need<'a>>,
) {
    let mut more = tablet.members().count();
    let mut replaced = Vec::new();
    for replica in &tablet.replicas {
        let ReplicaState::Joining { replaces } = replica.state else { continue };
        if !nodes.contains(&replica.node) || sites.is_to_be_left(replica.node) {
            plan.remove.push((tablet.id, replica.node));
        } else {
            more += usize::from(replaces.is_none());
            replaced.extend(replaces);
        }
    }
    let outside = |node: &NodeId| !nodes.contains(node) && !replaced.contains(node);
    let mut surplus: Vec<NodeId> = tablet.members().map(|member| member.node).filter(outside).collect();
    // The first is replaced first.
    surplus.sort_by_key(|node| (!sites.is_lost(*node), !sites.is_to_be_left(*node)));
    let mut surplus = surplus.into_iter();
    for node in nodes.iter().filter(|node| tablet.replica(**node).is_none()) {
        let replaces = surplus.next();
        let urgency = match replaces {
            Some(old) if sites.is_lost(old) => Urgency::Lost,
            Some(old) if sites.is_to_be_left(old) => Urgency::Drained,
            Some(_) => Urgency::Misplaced,
            None if more < table.replication as usize => Urgency::Missing,
            None => continue,
        };
        more += usize::from(replaces.is_none());
        needs.push(Need { urgency, table, tablet, replaces, to: Some(*node) });
    }
    if tablet.members().count() > table.replication as usize {
        // A copy that lives is not given up for one that is silent: it may be what makes the quorum.
        let alive = |node: &NodeId| sites.get(*node).is_some_and(|site| site.life == Life::Alive);
        let next = surplus.min_by_key(alive).filter(|node| !alive(node) || nodes.iter().all(alive));
        plan.remove.extend(next.map(|node| (tablet.id, node)));
    }
}
