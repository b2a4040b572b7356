//! Replicas of tablets: what may become of them, and what would be unsafe.

use tarn_catalog::command::{AddReplica, CaughtUp, Placement, ReplicaKey, TableSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

const A: NodeId = NodeId(1001);
const B: NodeId = NodeId(1002);
const C: NodeId = NodeId(1003);
/// The database has the id between.
const D: NodeId = NodeId(1005);

/// A cluster of four storage nodes and a table of one tablet with so many replicas, on `n1001` and those after it.
struct World {
    tested: Tested,
    shop: DatabaseId,
    table: TableId,
    tablet: TabletId,
}

fn world(replication: u32) -> World {
    let (mut tested, shop) = Tested::new();
    tested.run(register(Role::Storage, "storage-4:9000", None));
    let mut spec = copies(whole("t"), replication);
    spec.distribution.buckets = 1;
    let placement = [A, B, C][..replication as usize].to_vec().into();
    let create = Operation::CreateTable { database: shop, table: Box::new(spec), if_not_exists: false, placement };
    let Response::Table(table) = tested.run(create) else { panic!("no table") };
    let tablet = tested.partition(table, "t").tablets[0].id;
    World { tested, shop, table, tablet }
}

fn copies(spec: TableSpec, replication: u32) -> TableSpec {
    TableSpec { replication, ..spec }
}

impl World {
    /// Nodes with the letter of what their replica is, in order.
    fn replicas(&self) -> Vec<(NodeId, char)> {
        let (_, tablet) = self.tested.catalog.tablet(self.tablet).unwrap();
        let mut replicas: Vec<_> =
            tablet.replicas.iter().map(|r| (r.node, r.state.name().chars().next().unwrap())).collect();
        replicas.sort_unstable();
        replicas
    }

    fn one(&mut self, operation: Operation) -> Result<(), String> {
        match self.tested.run(operation) {
            Response::Replicas { refused } => refused.into_iter().next().map_or(Ok(()), |(_, e)| Err(e.to_string())),
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, node: NodeId, replaces: Option<NodeId>) -> Result<(), String> {
        let tablet = self.tablet;
        self.one(Operation::AddReplicas { replicas: vec![AddReplica { tablet, node, replaces }] })
    }

    fn remove(&mut self, node: NodeId) -> Result<(), String> {
        self.one(Operation::RemoveReplicas { replicas: vec![(self.tablet, node)] })
    }

    fn behind(&mut self, node: NodeId) -> Result<(), String> {
        self.one(Operation::ReplicasBehind { replicas: vec![(self.tablet, node)] })
    }

    fn caught_up(&mut self, node: NodeId, version: u64) -> Result<(), String> {
        let replica = CaughtUp { tablet: self.tablet, node, version: Version(version) };
        self.one(Operation::ReplicasCaughtUp { replicas: vec![replica] })
    }

    /// Begins a load that these nodes hold, and asks for its commit.
    fn ask_commit(&mut self, holders: &[NodeId]) -> (TxnId, Response) {
        let label = format!("l{}", self.tested.catalog.last_id);
        let txn = self.tested.begin(self.shop, &label, self.table);
        let writes = vec![TabletWrite { holders: holders.to_vec(), ..write(self.tablet) }];
        (txn, self.tested.run(Operation::CommitTransaction { txn, writes }))
    }

    fn commit(&mut self, holders: &[NodeId]) -> TxnId {
        let (txn, response) = self.ask_commit(holders);
        assert!(matches!(response, Response::Committed { .. }), "{response:?}");
        txn
    }

    fn make_visible(&mut self, txn: TxnId, changed: &[(NodeId, bool)]) -> Response {
        let changed = changed.iter().map(|(node, current)| (self.tablet, *node, *current)).collect();
        self.tested.run(Operation::MakeVisible { txn, changed })
    }

    fn dropped(&self) -> Vec<ReplicaKey> {
        self.tested.catalog.dropped_replicas.iter().copied().collect()
    }
}

#[test]
fn a_load_is_committed_when_most_members_hold_it() {
    let mut world = world(3);
    let (txn, refused) = world.ask_commit(&[A]);
    let lost = Error::WriteLost { txn, tablet: world.tablet, held: 1, replicas: 3 };
    assert_eq!(refused, Response::Refused(lost.clone()));
    assert!(lost.kind().is_retryable());
    // A node that is no member counts for nothing.
    assert!(matches!(world.ask_commit(&[A, D]).1, Response::Refused(Error::WriteLost { held: 1, .. })));
    world.commit(&[A, C]);
}

#[test]
fn a_version_is_shown_when_most_members_have_it() {
    let mut world = world(3);
    let txn = world.commit(&[A, B, C]);
    let refused = world.make_visible(txn, &[(B, false), (C, false)]);
    let few = Error::NoQuorum { txn, tablet: world.tablet, current: 1, replicas: 3 };
    assert_eq!(refused, Response::Refused(few));
    assert_eq!(world.make_visible(txn, &[(C, false)]), Response::Done);
    assert_eq!(world.replicas(), [(A, 'C'), (B, 'C'), (C, 'B')]);
    // It had the version before when the next one came.
    let txn = world.commit(&[A, B, C]);
    assert_eq!(world.make_visible(txn, &[(C, true)]), Response::Done);
    assert_eq!(world.replicas(), [(A, 'C'), (B, 'C'), (C, 'C')]);
}

#[test]
fn who_is_behind_catches_up_to_what_is_committed() {
    let mut world = world(3);
    let txn = world.commit(&[A, B]);
    world.make_visible(txn, &[(C, false)]);
    assert!(world.caught_up(C, 1).unwrap_err().contains("lacks versions that are committed"));
    let txn = world.commit(&[A, B]);
    // A publish that is under way has found it behind and does not name it: it would be shown without having the version.
    assert!(world.caught_up(C, 2).is_err());
    assert_eq!(world.make_visible(txn, &[]), Response::Done);
    world.caught_up(C, 3).unwrap();
    assert_eq!(world.replicas(), [(A, 'C'), (B, 'C'), (C, 'C')]);
    world.caught_up(C, 3).unwrap();
}

#[test]
fn a_replica_takes_the_place_of_another_when_it_is_filled() {
    let mut world = world(3);
    let txn = world.commit(&[A, B, C]);
    world.make_visible(txn, &[]);
    world.add(D, Some(B)).unwrap();
    world.add(D, Some(B)).unwrap();
    assert_eq!(world.replicas(), [(A, 'C'), (B, 'C'), (C, 'C'), (D, 'J')]);
    let (_, tablet) = world.tested.catalog.tablet(world.tablet).unwrap();
    assert_eq!((tablet.quorum(), tablet.readable().count(), tablet.nodes().count()), (2, 3, 4));
    assert!(world.caught_up(D, 1).unwrap_err().contains("lacks versions that are visible"));
    assert_eq!(world.dropped(), []);
    world.caught_up(D, 2).unwrap();
    assert_eq!(world.replicas(), [(A, 'C'), (C, 'C'), (D, 'C')]);
    assert_eq!(world.dropped(), [(world.tablet, B)]);
    // Its place among the others, too: the first is the one that loads write to.
    let (_, tablet) = world.tested.catalog.tablet(world.tablet).unwrap();
    assert_eq!(tablet.nodes().collect::<Vec<_>>(), [A, D, C]);
    // It comes back before its files were dropped: they are of use again.
    world.add(B, Some(A)).unwrap();
    assert_eq!(world.dropped(), []);
    world.remove(B).unwrap();
    assert_eq!(world.dropped(), [(world.tablet, B)]);
    world.tested.run(Operation::ForgetReplicas { replicas: vec![(world.tablet, B)] });
    assert_eq!(world.dropped(), []);
}

#[test]
fn a_publish_makes_a_filled_replica_a_member_if_nothing_else_is_committed() {
    let mut world = world(2);
    world.add(C, Some(B)).unwrap();
    let [first, second] = [(), ()].map(|()| world.commit(&[A, B]));
    world.make_visible(first, &[(C, true)]);
    assert_eq!(world.replicas(), [(A, 'C'), (B, 'C'), (C, 'J')]);
    world.make_visible(second, &[(C, true)]);
    assert_eq!(world.replicas(), [(A, 'C'), (C, 'C')]);
}

/// Two loads are committed when a member of two dies: none of them can become visible without another member.
#[test]
fn a_dead_member_gives_way_although_it_holds_what_is_committed() {
    let mut world = world(2);
    let [first, second] = [(), ()].map(|()| world.commit(&[A, B]));
    assert!(matches!(world.make_visible(first, &[(B, false)]), Response::Refused(Error::NoQuorum { .. })));
    world.add(C, Some(B)).unwrap();
    // It has been filled from the one that lives, which has published the first.
    world.caught_up(C, 2).unwrap();
    assert_eq!(world.replicas(), [(A, 'C'), (C, 'B')]);
    assert_eq!(world.make_visible(first, &[(C, true)]), Response::Done);
    assert!(matches!(world.make_visible(second, &[(C, false)]), Response::Refused(_)));
    assert_eq!(world.make_visible(second, &[]), Response::Done);
}

#[test]
fn a_filled_replica_waits_where_a_committed_load_would_have_too_few_copies() {
    let mut world = world(3);
    let txn = world.commit(&[A, B]);
    world.add(D, Some(B)).unwrap();
    assert!(world.caught_up(D, 1).unwrap_err().contains("too few copies"));
    world.make_visible(txn, &[(C, false)]);
    world.caught_up(D, 2).unwrap();
    assert_eq!(world.replicas(), [(A, 'C'), (C, 'B'), (D, 'C')]);

    // The only member stays until there is another that can be read.
    let mut world = self::world(1);
    world.commit(&[A]);
    world.add(D, Some(A)).unwrap();
    assert!(world.caught_up(D, 1).unwrap_err().contains("no other that stays could be read"));
    world.caught_up(D, 2).unwrap();
    assert_eq!(world.replicas(), [(D, 'C')]);
}

#[test]
fn only_members_too_many_are_removed_and_a_quorum_of_current_ones_stays() {
    let mut world = world(3);
    assert!(world.remove(C).unwrap_err().contains("replication_num 3"));
    let set = |table, replication| Operation::SetReplication { table, replication };
    assert_eq!(world.tested.run(set(world.table, 2)), Response::Done);
    world.behind(C).unwrap();
    world.behind(C).unwrap();
    // One of two is no majority.
    assert!(world.remove(A).unwrap_err().contains("only 1 of the 2"));
    world.remove(C).unwrap();
    world.remove(C).unwrap();
    assert_eq!((world.replicas(), world.dropped()), (vec![(A, 'C'), (B, 'C')], vec![(world.tablet, C)]));
    world.commit(&[A, B]);
    world.tested.run(set(world.table, 1));
    world.remove(A).unwrap();
    assert_eq!(world.replicas(), [(B, 'C')]);
}

#[test]
fn a_member_that_holds_what_others_lack_is_not_removed() {
    let mut world = world(3);
    world.commit(&[A, B]);
    world.tested.run(Operation::SetReplication { table: world.table, replication: 2 });
    assert!(world.remove(A).unwrap_err().contains("too few copies"));
    world.remove(C).unwrap();
}

#[test]
fn a_replica_that_joins_is_given_up_at_any_time() {
    let mut world = world(2);
    world.add(C, Some(A)).unwrap();
    world.remove(C).unwrap();
    assert_eq!((world.replicas(), world.dropped()), (vec![(A, 'C'), (B, 'C')], vec![(world.tablet, C)]));
}

#[test]
fn the_last_replica_that_can_be_read_stays_so() {
    let mut world = world(2);
    world.behind(A).unwrap();
    assert!(world.behind(B).unwrap_err().contains("the last one that can be read"));
    assert!(world.behind(D).unwrap_err().contains("the node has none"));
}

#[test]
fn replicas_are_added_where_they_may_be_alone() {
    let mut world = world(2);
    assert!(world.add(B, None).unwrap_err().contains("has one already"));
    assert!(world.add(C, None).unwrap_err().contains("replication_num 2"));
    assert!(world.add(C, Some(D)).unwrap_err().contains("no replica that votes"));
    assert!(world.add(NodeId(77), Some(A)).unwrap_err().contains("not registered"));
    world.tested.run(Operation::SetDraining { node: C, draining: true });
    assert!(world.add(C, Some(A)).unwrap_err().contains("drained"));
    world.tested.run(Operation::SetDraining { node: C, draining: false });
    world.add(C, Some(A)).unwrap();
    assert!(world.add(D, Some(A)).unwrap_err().contains("being replaced by another"));
    let gone = AddReplica { tablet: TabletId(7), node: D, replaces: None };
    assert!(world.one(Operation::AddReplicas { replicas: vec![gone] }).unwrap_err().contains("does not exist"));
}

#[test]
fn two_replicas_share_a_location_only_where_there_are_too_few() {
    let mut world = world(2);
    let mut locate = |node, location: &str| {
        let location = Some(location.to_owned());
        assert_eq!(world.tested.run(Operation::SetNodeLocation { node, location }), Response::Done);
    };
    locate(A, "rack:a");
    locate(B, "rack:b");
    locate(C, "rack:a");
    locate(D, "rack:a");
    assert!(world.add(C, Some(B)).unwrap_err().contains("`rack:a`"));
    world.add(C, Some(A)).unwrap();
    world.remove(C).unwrap();
    world.tested.run(Operation::SetDraining { node: B, draining: true });
    world.add(D, Some(B)).unwrap();
}

#[test]
fn a_location_is_a_key_and_a_value() {
    let mut world = world(1);
    for wrong in ["", "rack", "rack:", ":r1", "Rack:r1", "rack:r 1", "rack:r1:x"] {
        let location = Some(wrong.to_owned());
        let error = world.tested.refuse(Operation::SetNodeLocation { node: A, location });
        assert!(error.to_string().contains("invalid location label"), "{wrong}: {error}");
    }
    world.tested.run(Operation::SetNodeLocation { node: A, location: None });
    let compute = world.tested.run(register(Role::Compute, "c:1", None));
    let Response::Node(node) = compute else { panic!("no node") };
    let location = Some("rack:r1".to_owned());
    assert!(matches!(world.tested.refuse(Operation::SetNodeLocation { node, location }), Error::Invalid(_)));
}

#[test]
fn new_tablets_lie_on_distinct_nodes_at_distinct_locations() {
    let (mut tested, shop) = Tested::new();
    tested.run(register(Role::Storage, "storage-4:9000", None));
    for (node, rack) in [(A, "a"), (B, "a"), (C, "b"), (D, "b")] {
        tested.run(Operation::SetNodeLocation { node, location: Some(format!("rack:{rack}")) });
    }
    let create = |name: &str, replication, placement: &[NodeId]| {
        let mut spec = copies(whole(name), replication);
        spec.distribution.buckets = 8;
        let placement = placement.to_vec().into();
        Operation::CreateTable { database: shop, table: Box::new(spec), if_not_exists: false, placement }
    };
    let Response::Table(two) = tested.run(create("two", 2, &[A, B, C, D])) else { panic!("no table") };
    let mut count = std::collections::BTreeMap::new();
    for tablet in &tested.partition(two, "two").tablets {
        let racks: Vec<&str> = tablet.nodes().map(|n| tested.catalog.nodes[&n].location.as_deref().unwrap()).collect();
        assert!(racks == ["rack:a", "rack:b"] || racks == ["rack:b", "rack:a"], "{tablet:?}");
        tablet.nodes().for_each(|node| *count.entry(node).or_insert(0) += 1);
    }
    assert!(count.values().all(|count| *count >= 2), "{count:?}");
    // More copies than locations.
    let Response::Table(three) = tested.run(create("three", 3, &[A, B, C, D])) else { panic!("no table") };
    for tablet in &tested.partition(three, "three").tablets {
        let nodes: std::collections::BTreeSet<_> = tablet.nodes().collect();
        assert_eq!(nodes.len(), 3);
    }
    // A node that is away leaves fewer copies, but no minority.
    let Response::Table(away) = tested.run(create("away", 3, &[A, C])) else { panic!("no table") };
    assert!(tested.partition(away, "away").tablets.iter().all(|tablet| tablet.replicas.len() == 2));
    let refused = tested.refuse(create("few", 3, &[A]));
    let alive = vec![A];
    assert_eq!(refused, Error::NotEnoughStorageNodes { table: "few".to_owned(), replication: 3, alive });
    for replication in [0, 6] {
        assert!(matches!(tested.refuse(create("x", replication, &[A, B, C, D])), Error::Invalid(_)));
    }
}

#[test]
fn new_tablets_lie_on_nodes_that_fill_up_or_are_not_meant_only_where_no_other_is_left() {
    let (mut tested, shop) = Tested::new();
    tested.run(register(Role::Storage, "storage-4:9000", None));
    for (node, rack) in [(A, "a"), (B, "b"), (C, "c"), (D, "c")] {
        tested.run(Operation::SetNodeLocation { node, location: Some(format!("rack:{rack}")) });
    }
    let mut create =
        |name: &str, replication, locations: &str, cycle: &[NodeId], last: &[NodeId]| -> Vec<Vec<NodeId>> {
            let mut spec = copies(whole(name), replication);
            spec.distribution.buckets = 6;
            spec.properties.insert(LOCATION.to_owned(), locations.to_owned());
            let placement = Placement { cycle: cycle.to_vec(), last: last.to_vec() };
            let create =
                Operation::CreateTable { database: shop, table: Box::new(spec), if_not_exists: false, placement };
            let Response::Table(table) = tested.run(create) else { panic!("no table") };
            let sorted = |tablet: &Tablet| {
                let mut nodes: Vec<NodeId> = tablet.nodes().collect();
                nodes.sort_unstable();
                nodes
            };
            tested.partition(table, name).tablets.iter().map(sorted).collect()
        };
    assert!(create("two", 2, "*", &[A, B], &[C, D]).iter().all(|nodes| *nodes == [A, B]));
    let three = create("three", 3, "*", &[A, B], &[C, D]);
    assert!(three.iter().all(|nodes| *nodes == [A, B, C] || *nodes == [A, B, D]), "{three:?}");
    assert!(three.iter().any(|nodes| nodes.contains(&C)) && three.iter().any(|nodes| nodes.contains(&D)), "in turn");
    // A location of its own counts for more than a disk that fills up, where there are enough.
    assert!(create("racks", 2, "*", &[C, D], &[A]).iter().all(|nodes| nodes.contains(&A)));
    assert!(create("unaware", 2, "", &[C, D], &[A]).iter().all(|nodes| *nodes == [C, D]));
    assert!(create("meant", 2, "rack:b,rack:c", &[A, B, C], &[]).iter().all(|nodes| *nodes == [B, C]));
    assert!(create("few", 2, "rack:b", &[A, B, C], &[]).iter().all(|nodes| nodes.contains(&B)), "as far as there are");
    assert!(create("none", 2, "rack:x", &[A, B], &[]).iter().all(|nodes| *nodes == [A, B]));
}

#[test]
fn a_replica_need_not_stand_apart_where_its_table_is_not_aware_of_locations() {
    let mut world = world(1);
    for node in [A, D] {
        world.tested.run(Operation::SetNodeLocation { node, location: Some("rack:a".to_owned()) });
    }
    let table = world.tested.catalog.tablets[&world.tablet].table;
    world.tested.run(Operation::SetReplication { table, replication: 2 });
    assert!(world.add(D, None).unwrap_err().contains("at its location"));
    let before = world.tested.catalog.table_by_id(table).unwrap().properties.clone();
    let properties = [(LOCATION.to_owned(), String::new())].into();
    let unaware = Operation::SetTableProperties { table, properties, before };
    assert_eq!(world.tested.run(unaware), Response::Done);
    assert_eq!(world.tested.catalog.table_by_id(table).unwrap().properties[LOCATION], "");
    world.add(D, None).unwrap();
}

#[test]
fn a_node_that_has_lost_its_replicas_can_be_removed() {
    let mut world = world(1);
    world.add(D, Some(A)).unwrap();
    assert!(matches!(world.tested.refuse(Operation::RemoveNode { node: D }), Error::NodeHoldsTablets { .. }));
    world.caught_up(D, 1).unwrap();
    assert_eq!(world.dropped(), [(world.tablet, A)]);
    assert_eq!(world.tested.run(Operation::RemoveNode { node: A }), Response::Done);
    assert_eq!(world.dropped(), []);
}
