//! Look-ups.

use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

#[test]
fn lists_are_in_order_of_names_and_of_one_database() {
    let (mut tested, shop) = Tested::new();
    for name in ["zoo", "art"] {
        tested.run(Operation::CreateDatabase { name: name.to_owned(), if_not_exists: false });
    }
    let names: Vec<_> = tested.catalog.databases().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["art", "shop", "zoo"]);
    let zoo = tested.catalog.database("zoo").unwrap().id;
    tested.create(zoo, whole("a"));
    tested.create(shop, whole("z"));
    tested.create(shop, whole("b"));
    tested.run(create_view(shop, "c", "SELECT 1", false));
    let relations = |database| tested.catalog.relations(database).map(|r| r.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(relations(shop), ["b", "c", "z"]);
    assert_eq!(relations(zoo), ["a"]);
    assert!(relations(DatabaseId(0)).is_empty());
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let (mut tested, shop) = Tested::new();
    tested.run(create_view(shop, "v", "SELECT 1", false));
    assert_eq!(tested.catalog.database("Shop"), Err(Error::UnknownDatabase("Shop".to_owned())));
    assert_eq!(tested.catalog.table(shop, "t"), Err(Error::UnknownTable("t".to_owned())));
    assert_eq!(tested.catalog.table(shop, "v"), Err(Error::IsView("v".to_owned())));
    assert!(tested.catalog.relation(shop, "t").is_none());
    assert!(tested.catalog.transaction_by_label(shop, "l").is_none());
}

#[test]
fn tablets_are_listed_with_partition_and_bucket() {
    let (mut tested, shop) = Tested::new();
    let id = tested.create(shop, by_day("t", vec![days("p1", 0, 1), days("p2", 1, 2)]));
    let table = tested.catalog.table_by_id(id).unwrap();
    let (p1, p2) = (tested.partition(id, "p1").id, tested.partition(id, "p2").id);
    let listed: Vec<_> = table.tablets().map(|(partition, bucket, _)| (partition, bucket)).collect();
    assert_eq!(listed, [(p1, 0), (p1, 1), (p2, 0), (p2, 1)]);
    for (partition, bucket, tablet) in table.tablets() {
        let (owner, found) = tested.catalog.tablet(tablet.id).unwrap();
        assert_eq!((owner.table, owner.partition, owner.bucket, found), (id, partition, bucket, tablet));
    }
}

#[test]
fn nodes_are_listed_by_role() {
    let (mut tested, _) = Tested::new();
    tested.run(register(Role::Compute, "c:1", None));
    tested.run(register(Role::Coordinator, "o:1", Some(NodeId(1))));
    let ids = |role| tested.catalog.nodes_of(role).map(|n| n.id).collect::<Vec<_>>();
    assert_eq!(ids(Role::Storage), nodes());
    assert_eq!(ids(Role::Coordinator), [NodeId(1)]);
    assert_eq!(tested.catalog.compute_nodes().count(), 1);
    assert_eq!(tested.catalog.storage_nodes().count(), 3);
}

#[test]
fn a_snapshot_does_not_change() {
    let (mut tested, shop) = Tested::new();
    let snapshot = tested.catalog.clone();
    tested.create(shop, whole("t"));
    assert!(snapshot.table(shop, "t").is_err());
    assert!(tested.catalog.table(shop, "t").is_ok());
}
