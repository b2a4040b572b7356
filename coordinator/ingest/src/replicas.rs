//! Which replicas of a tablet a load writes, and whether enough of them hold what it wrote. Pure.
//!
//! One member, the load's primary, gets the rows and ships what it makes of them to the other replicas: members, whose
//! copies count, and those that join, whose copies only save them from fetching it later.

use tarn_catalog::{Catalog, ReplicaState, Tablet};
use tarn_proto::spread::in_turn;
use tarn_proto::storage::{Copies, Peer};
use tarn_proto::{NodeId, PartitionId, TabletId};

/// A tablet and its place in its table.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its partition.
    pub partition: PartitionId,
    /// Its bucket in it.
    pub bucket: u32,
    /// The tablet.
    pub tablet: &'a Tablet,
}

impl<'a> Place<'a> {
    /// The place of a tablet; none if it was dropped.
    pub fn of(catalog: &'a Catalog, tablet: TabletId) -> Option<Self> {
        let (owner, tablet) = catalog.tablet(tablet)?;
        Some(Self { partition: owner.partition, bucket: owner.bucket, tablet })
    }

    /// Members in the order in which they are asked to be the primary: those that live first, and of these those that are
    /// current.
    pub fn primaries(&self, is_alive: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.tablet.members().map(|replica| replica.node).collect();
        in_turn(self.partition, self.bucket, &mut nodes);
        let state = |node: NodeId| self.tablet.replica(node).map(|replica| replica.state);
        nodes.sort_by_cached_key(|node| (!is_alive(*node), state(*node) != Some(ReplicaState::Current)));
        nodes
    }

    /// Whether enough members live for a load to be acknowledged.
    pub fn can_be_loaded(&self, is_alive: impl Fn(NodeId) -> bool) -> bool {
        self.tablet.members().filter(|replica| is_alive(replica.node)).count() >= self.tablet.quorum()
    }

    /// Who else gets what `primary` writes. Silent nodes are left out, unless a quorum needs them.
    pub fn copies(&self, catalog: &Catalog, primary: NodeId, is_alive: impl Fn(NodeId) -> bool) -> Copies {
        let all = !self.can_be_loaded(&is_alive);
        let mut copies =
            Copies { voters: Vec::new(), others: Vec::new(), need: u32::try_from(self.tablet.quorum()).unwrap_or(1) };
        for replica in self.tablet.replicas.iter().filter(|replica| replica.node != primary) {
            let Some(node) = catalog.nodes.get(&replica.node).filter(|node| !node.address.is_empty()) else { continue };
            if !all && !is_alive(replica.node) {
                continue;
            }
            let peers = if replica.is_member() { &mut copies.voters } else { &mut copies.others };
            peers.push(Peer { node: node.id, address: node.address.clone() });
        }
        copies
    }

    /// How many members hold what these nodes hold.
    pub fn held(&self, holders: &[NodeId]) -> usize {
        self.tablet.members().filter(|replica| holders.contains(&replica.node)).count()
    }

    /// Where its members are, for people: `n1001 at 10.0.0.1:9060, n1002 (not registered)`.
    pub fn members_text(&self, catalog: &Catalog, wanted: impl Fn(NodeId) -> bool) -> String {
        let members = self.tablet.members().map(|replica| replica.node).filter(|node| wanted(*node));
        let text = members.map(|id| match catalog.nodes.get(&id) {
            Some(node) if !node.address.is_empty() => format!("{id} at {}", node.address),
            Some(_) => format!("{id}, whose address another node has"),
            None => format!("{id}, which is not registered"),
        });
        text.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tarn_catalog::{Node, Replica, Role};

    use super::*;

    const A: NodeId = NodeId(1001);
    const B: NodeId = NodeId(1002);
    const C: NodeId = NodeId(1003);
    const D: NodeId = NodeId(1004);

    fn tablet() -> Tablet {
        let mut tablet = Tablet::new(TabletId(7), [A, B, C]);
        tablet.replicas.push(Replica { node: D, state: ReplicaState::Joining { replaces: Some(C) } });
        tablet
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for id in [A, B, C, D] {
            let address = format!("{id}:1");
            let role = Role::Storage;
            let node = Node { id, role, address, draining: false, location: None, registered_ms: 0 };
            catalog.nodes.insert(id, Arc::new(node));
        }
        catalog
    }

    fn place(tablet: &Tablet) -> Place<'_> {
        Place { partition: PartitionId(3), bucket: 0, tablet }
    }

    fn nodes(peers: &[Peer]) -> Vec<NodeId> {
        peers.iter().map(|peer| peer.node).collect()
    }

    #[test]
    fn a_load_is_written_to_a_current_member_that_lives() {
        let mut tablet = tablet();
        let healthy = place(&tablet).primaries(|_| true);
        assert_eq!(healthy.len(), 3, "one that joins is no primary");
        let first = healthy[0];
        assert_ne!(place(&tablet).primaries(|node| node != first)[0], first);
        assert_eq!(place(&tablet).primaries(|node| node != first)[2], first, "it is asked when nobody else is there");
        tablet.replicas.iter_mut().filter(|r| r.node == first).for_each(|r| r.state = ReplicaState::Behind);
        let ordered = place(&tablet).primaries(|node| node != healthy[1]);
        assert_eq!(ordered, [healthy[2], first, healthy[1]], "one that is behind is better than one that is away");
    }

    #[test]
    fn copies_of_members_count_and_those_of_joining_ones_do_not() {
        let (catalog, tablet) = (catalog(), tablet());
        let copies = place(&tablet).copies(&catalog, A, |_| true);
        assert_eq!((nodes(&copies.voters), nodes(&copies.others), copies.need), (vec![B, C], vec![D], 2));
        let without_c = place(&tablet).copies(&catalog, A, |node| node != C);
        assert_eq!((nodes(&without_c.voters), nodes(&without_c.others), without_c.need), (vec![B], vec![D], 2));
        // As just after a start: nobody was heard, and all may be there.
        assert_eq!(nodes(&place(&tablet).copies(&catalog, A, |_| false).voters), [B, C]);
        assert_eq!(place(&tablet).held(&[A, D]), 1);
        assert!(place(&tablet).can_be_loaded(|node| node != C) && !place(&tablet).can_be_loaded(|node| node == A));
    }
}
