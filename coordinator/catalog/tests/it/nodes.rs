//! Nodes and the cluster's name.

use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

#[test]
fn the_first_name_of_the_cluster_stays() {
    let mut tested = Tested::default();
    let name = |id: &str| Operation::InitializeCluster { cluster_id: id.to_owned() };
    assert_eq!(tested.run(name("one")), Response::ClusterId("one".to_owned()));
    assert_eq!(tested.run(name("two")), Response::ClusterId("one".to_owned()));
}

#[test]
fn a_node_keeps_its_id_at_its_address() {
    let mut tested = Tested::default();
    let first = tested.run(register(Role::Storage, "a:1", None));
    assert_eq!(first, Response::Node(NodeId(1001)));
    assert_eq!(tested.run(register(Role::Storage, "a:1", None)), first);
    assert_eq!(tested.run(register(Role::Compute, "a:1", None)), Response::Node(NodeId(1002)));
}

#[test]
fn a_node_keeps_its_id_at_a_new_address() {
    let mut tested = Tested::default();
    tested.run(register(Role::Storage, "a:1", None));
    tested.run(register(Role::Storage, "b:1", None));
    // They have been given each other's addresses.
    assert_eq!(tested.run(register(Role::Storage, "b:1", Some(NodeId(1001)))), Response::Node(NodeId(1001)));
    assert_eq!(tested.run(register(Role::Storage, "a:1", Some(NodeId(1002)))), Response::Node(NodeId(1002)));
    assert_eq!(tested.catalog.nodes[&NodeId(1001)].address, "b:1");
    assert_eq!(tested.catalog.nodes[&NodeId(1002)].address, "a:1");
}

#[test]
fn an_address_belongs_to_the_node_that_registered_there_last() {
    let mut tested = Tested::default();
    tested.run(register(Role::Storage, "a:1", None));
    tested.run(register(Role::Storage, "b:1", None));
    tested.run(register(Role::Storage, "a:1", Some(NodeId(1002))));
    assert_eq!(tested.catalog.nodes[&NodeId(1001)].address, "");
    assert_eq!(tested.catalog.nodes[&NodeId(1002)].address, "a:1");
    // Of another role, too.
    assert_eq!(tested.run(register(Role::Compute, "a:1", None)), Response::Node(NodeId(1003)));
    assert_eq!(tested.catalog.nodes[&NodeId(1002)].address, "");
    tested.run(register(Role::Storage, "b:1", Some(NodeId(1001))));
    assert_eq!(tested.catalog.nodes[&NodeId(1001)].address, "b:1");
}

#[test]
fn a_storage_node_without_an_id_does_not_become_one_that_holds_tablets() {
    let (mut tested, database) = Tested::new();
    tested.create(database, whole("t"));
    let node = tested.catalog.tablets.keys().find_map(|t| Some(tested.catalog.tablet(*t)?.1.replicas[0].node)).unwrap();
    let address = tested.catalog.nodes[&node].address.clone();
    let Response::Node(new) = tested.run(register(Role::Storage, &address, None)) else { panic!("no node") };
    assert!(new.get() > 1003, "{new}");
    assert_eq!(tested.catalog.nodes[&node].address, "");
    // A repeated registration, whose first answer was lost, is answered as the first.
    assert_eq!(tested.run(register(Role::Storage, &address, None)), Response::Node(new));
}

#[test]
fn a_free_id_is_given_to_who_asks_and_never_dealt_again() {
    let mut tested = Tested::default();
    assert_eq!(tested.run(register(Role::Storage, "a:1", Some(NodeId(1001)))), Response::Node(NodeId(1001)));
    assert_eq!(tested.run(register(Role::Storage, "b:1", None)), Response::Node(NodeId(1002)));
    // Another role's id is not free.
    assert_eq!(tested.run(register(Role::Compute, "c:1", Some(NodeId(1001)))), Response::Node(NodeId(1003)));
}

#[test]
fn coordinators_keep_the_id_they_ask_for() {
    let mut tested = Tested::default();
    for id in 1..=3 {
        let asked = Some(NodeId(id));
        assert_eq!(tested.run(register(Role::Coordinator, "a:1", asked)), Response::Node(NodeId(id)));
    }
    assert_eq!(tested.run(register(Role::Storage, "s:1", Some(NodeId(4)))), Response::Node(NodeId(1001)));
    assert!(matches!(tested.refuse(register(Role::Coordinator, "d:1", Some(NodeId(1001)))), Error::Invalid(_)));
    assert!(matches!(tested.refuse(register(Role::Coordinator, "d:1", None)), Error::Invalid(_)));
}

#[test]
fn a_node_with_tablets_is_not_removed() {
    let (mut tested, database) = Tested::new();
    tested.create(database, whole("t"));
    let node = tested.catalog.tablets.keys().find_map(|t| Some(tested.catalog.tablet(*t)?.1.replicas[0].node)).unwrap();
    let remove = Operation::RemoveNode { node };
    assert_eq!(tested.refuse(remove.clone()), Error::NodeHoldsTablets { node, tablets: 1 });
    tested.run(drop_table(database, "t"));
    assert_eq!(tested.catalog.dropped_tablets.len(), 2);
    assert_eq!(tested.run(remove.clone()), Response::Done);
    assert_eq!(tested.catalog.dropped_tablets.len(), 1, "files are gone with the node");
    assert_eq!(tested.refuse(remove), Error::UnknownNode(node));
}

#[test]
fn draining_is_set_and_kept_through_registration() {
    let (mut tested, _) = Tested::new();
    let node = NodeId(1001);
    assert_eq!(tested.run(Operation::SetDraining { node, draining: true }), Response::Done);
    tested.run(register(Role::Storage, "elsewhere:1", Some(node)));
    assert!(tested.catalog.nodes[&node].draining);
    let unknown = NodeId(7);
    assert_eq!(tested.refuse(Operation::SetDraining { node: unknown, draining: true }), Error::UnknownNode(unknown));
}

#[test]
fn a_repeated_request_is_answered_as_the_first_time_until_forgotten() {
    let mut catalog = Catalog::default();
    let context = Context { now_ms: 1 };
    let command = |request_id, name: &str| Command {
        request_id,
        operation: Operation::CreateDatabase { name: name.to_owned(), if_not_exists: false },
    };
    let first = catalog.apply(&command(7, "a"), &context);
    assert_eq!(catalog.apply(&command(7, "a"), &context), first);
    let refused = catalog.apply(&command(8, "a"), &context);
    assert_eq!(refused, Response::Refused(Error::DatabaseExists("a".to_owned())));
    for i in 0..REMEMBERED_REQUESTS as u128 {
        catalog.apply(&command(100 + i, "a"), &context);
    }
    assert_eq!(catalog.requests.len(), REMEMBERED_REQUESTS);
    assert_eq!(catalog.apply(&command(7, "a"), &context), refused);
}
