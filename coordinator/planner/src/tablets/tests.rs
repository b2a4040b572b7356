use tarn_catalog::{Replica, ReplicaState, Role};
use tarn_proto::TabletId;

use super::*;

const NODES: [NodeId; 3] = [NodeId(1001), NodeId(1002), NodeId(1003)];

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for id in NODES {
        let (role, address) = (Role::Storage, format!("{id}:1"));
        let node = Node { id, role, address, draining: false, location: None, registered_ms: 0 };
        catalog.nodes.insert(id, Arc::new(node));
    }
    catalog
}

fn read(catalog: &Catalog, silent: &[NodeId], bucket: u32, tablet: &Tablet) -> Vec<NodeId> {
    let silent = silent.iter().copied().collect();
    replicas_of(catalog, &silent, PartitionId(5), bucket, tablet).iter().map(|peer| peer.node).collect()
}

#[test]
fn reads_are_spread_over_replicas_and_stay_where_they_are() {
    let (catalog, tablet) = (catalog(), Tablet::new(TabletId(1), NODES));
    let first: Vec<NodeId> = (0..6).map(|bucket| read(&catalog, &[], bucket, &tablet)[0]).collect();
    assert_eq!(NODES.map(|node| first.iter().filter(|n| **n == node).count()), [2, 2, 2]);
    for (bucket, before) in (0..6).zip(first) {
        for away in NODES.into_iter().filter(|node| *node != before) {
            assert_eq!(read(&catalog, &[away], bucket, &tablet)[0], before, "another node's loss moves no tablet");
            let mut behind = tablet.clone();
            behind.replicas.iter_mut().filter(|r| r.node == away).for_each(|r| r.state = ReplicaState::Behind);
            assert_eq!(read(&catalog, &[], bucket, &behind)[0], before);
        }
    }
}

#[test]
fn silent_nodes_and_replicas_that_lack_versions_are_not_read() {
    let (mut catalog, mut tablet) = (catalog(), Tablet::new(TabletId(1), NODES));
    assert_eq!(read(&catalog, &NODES[..2], 0, &tablet), [NODES[2]]);
    assert_eq!(read(&catalog, &NODES, 0, &tablet).len(), 3, "they may be there after all");
    tablet.replicas[2].state = ReplicaState::Behind;
    assert_eq!(read(&catalog, &NODES[..2], 0, &tablet).len(), 2, "one that is behind is never read");
    tablet.replicas.push(Replica { node: NODES[2], state: ReplicaState::Joining { replaces: None } });
    tablet.replicas.remove(2);
    assert!(!read(&catalog, &[], 0, &tablet).contains(&NODES[2]));
    // Another node has its address now.
    Arc::make_mut(catalog.nodes.get_mut(&NODES[0]).unwrap()).address.clear();
    assert_eq!(read(&catalog, &[], 0, &tablet), [NODES[1]]);
    catalog.nodes.clear();
    assert!(read(&catalog, &[], 0, &tablet).is_empty());
}
