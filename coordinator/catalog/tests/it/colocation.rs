//! Colocation groups.

use tarn_catalog::command::{BucketNodes, Placement, TableSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

fn colocated(name: &str, group: &str) -> TableSpec {
    TableSpec { replication: 2, colocate_with: Some(group.to_owned()), ..whole(name) }
}

fn group(tested: &Tested, name: &str) -> ColocationGroup {
    ColocationGroup::clone(tested.catalog.colocation_group(name).unwrap())
}

fn join(table: TableId, group: Option<&str>) -> Operation {
    Operation::SetColocation { table, group: group.map(str::to_owned), placement: placement() }
}

fn sequence_of(tested: &Tested, table: TableId) -> Vec<Vec<Vec<NodeId>>> {
    let table = tested.catalog.table_by_id(table).unwrap();
    let nodes = |p: &std::sync::Arc<Partition>| p.tablets.iter().map(|t| t.nodes().collect()).collect();
    table.all_partitions().map(nodes).collect()
}

#[test]
fn buckets_of_a_groups_tables_lie_on_the_same_nodes_in_every_partition() {
    let (mut tested, shop) = Tested::new();
    let first = tested.create(shop, colocated("first", "g"));
    let mut by_day = by_day("second", vec![days("p1", 0, 1), days("p2", 1, 2)]);
    by_day.replication = 2;
    by_day.colocate_with = Some("g".to_owned());
    let second = tested.create(shop, by_day);
    let found = group(&tested, "g");
    assert_eq!((found.types.clone(), found.replication), (vec![DataType::BigInt], 2));
    for table in [first, second] {
        assert!(sequence_of(&tested, table).iter().all(|sequence| *sequence == found.sequence));
    }
    let partitions = vec![days("p3", 2, 3)];
    let add = Operation::AddPartitions { table: second, partitions, fail_if_exists: true, placement: placement() };
    tested.run(add);
    tested.run(Operation::TruncateTable { table: second, partitions: vec![], placement: placement() });
    assert_eq!(sequence_of(&tested, second), vec![found.sequence.clone(); 3]);
    assert!(tested.catalog.is_stable(&found));
    assert_eq!(tested.catalog.tables_of_group(found.id).count(), 2);
}

#[test]
fn a_group_is_there_as_long_as_a_table_is_in_it() {
    let (mut tested, shop) = Tested::new();
    let table = tested.create(shop, colocated("a", "g"));
    tested.create(shop, colocated("b", "g"));
    tested.run(drop_table(shop, "b"));
    assert_eq!(tested.run(join(table, Some("g"))), Response::Done);
    let id = group(&tested, "g").id;
    assert_eq!(tested.run(join(table, Some("h"))), Response::Done);
    assert_eq!(group(&tested, "h").sequence, sequence_of(&tested, table)[0]);
    assert!(tested.catalog.colocation_group("g").is_none() && group(&tested, "h").id != id);
    assert_eq!(tested.run(join(table, None)), Response::Done);
    assert!(tested.catalog.colocation_groups.is_empty());
    tested.run(join(table, Some("g")));
    tested.run(drop_table(shop, "a"));
    assert!(tested.catalog.colocation_groups.is_empty());
    // One of no partitions, where there is no node to put its buckets.
    let empty = tested.create(shop, by_day("empty", vec![]));
    let nowhere =
        Operation::SetColocation { table: empty, group: Some("g".to_owned()), placement: Placement::default() };
    assert_eq!(tested.refuse(nowhere), Error::NoStorageNode);
    assert_eq!(tested.run(join(empty, Some("g"))), Response::Done);
    assert_eq!(group(&tested, "g").sequence.len(), 2);
}

#[test]
fn what_a_group_asks_of_its_tables_is_told_in_the_words_of_starrocks() {
    let (mut tested, shop) = Tested::new();
    tested.create(shop, TableSpec { distribution: buckets(1, vec![ColumnId(2)]), ..colocated("a", "g") });
    let mut refused = |spec: TableSpec| tested.refuse(create(shop, spec)).to_string();
    let of = |count, columns: &[u32]| TableSpec {
        distribution: buckets(count, columns.iter().map(|id| ColumnId(*id)).collect()),
        ..colocated("b", "g")
    };
    assert_eq!(refused(of(2, &[2])), "Colocate tables must have same bucket num: 2 should be 1 (table `b`)");
    assert_eq!(
        refused(of(1, &[3])),
        "Colocate tables distribution columns must have the same data type: name(string) should be bigint"
    );
    assert_eq!(refused(of(1, &[2, 3])), "Colocate tables distribution columns size must be the same: 2 should be 1");
    assert_eq!(
        refused(TableSpec { replication: 3, ..of(1, &[2]) }),
        "Colocate tables must have same replication num: 3 should be 2"
    );
    assert_eq!(refused(of(1, &[])), "table `b`: random distribution does not support 'colocate_with'");

    let other = tested.create(shop, TableSpec { replication: 3, colocate_with: None, ..whole("c") });
    let refused = tested.refuse(join(other, Some("g"))).to_string();
    assert_eq!(refused, "Colocate tables must have same bucket num: 2 should be 1 (table `c`)");
    assert_eq!(tested.catalog.table_by_id(other).unwrap().colocation, None);
}

fn buckets(buckets: u32, columns: Vec<ColumnId>) -> Distribution {
    Distribution { columns, buckets, hash_version: 1 }
}

#[test]
fn copies_and_buckets_of_a_colocated_table_stay_as_many() {
    let (mut tested, shop) = Tested::new();
    let mut spec = by_day("t", vec![days("p1", 0, 1)]);
    spec.colocate_with = Some("g".to_owned());
    let table = tested.create(shop, spec);
    let refused = tested.refuse(Operation::SetReplication { table, replication: 2 }).to_string();
    assert!(refused.starts_with("table `t` is colocate table, cannot change replicationNum"), "{refused}");
    assert_eq!(tested.run(Operation::SetReplication { table, replication: 1 }), Response::Done);
    let maintain = Operation::MaintainPartitions {
        table,
        add: vec![days("p2", 1, 2)],
        drop: vec![],
        buckets: Some(3),
        placement: placement(),
        properties: tested.catalog.table_by_id(table).unwrap().properties.clone(),
    };
    let error = tested.refuse(maintain);
    assert_eq!(error, Error::ColocateBuckets { table: "t".to_owned(), buckets: 3, group: 2 });
}

#[test]
fn a_group_is_for_all_locations() {
    let (mut tested, shop) = Tested::new();
    let mut spec = colocated("t", "g");
    spec.properties.insert(LOCATION.to_owned(), "rack:r1".to_owned());
    let create = |spec| Operation::CreateTable {
        database: shop,
        table: Box::new(spec),
        if_not_exists: false,
        placement: placement(),
    };
    assert!(matches!(tested.refuse(create(spec.clone())), Error::Colocate(_)));
    spec.properties.insert(LOCATION.to_owned(), "*".to_owned());
    let Response::Table(table) = tested.run(create(spec)) else { panic!("no table") };
    let set = |tested: &Tested, locations: &str| Operation::SetTableProperties {
        table,
        properties: [(LOCATION.to_owned(), locations.to_owned())].into(),
        before: tested.catalog.table_by_id(table).unwrap().properties.clone(),
    };
    let some = set(&tested, "rack:r1");
    assert!(tested.refuse(some).to_string().contains("colocate_with"));
    tested.run(Operation::SetColocation { table, group: None, placement: placement() });
    let some = set(&tested, "rack:r1");
    assert_eq!(tested.run(some), Response::Done);
    let join = Operation::SetColocation { table, group: Some("g".to_owned()), placement: placement() };
    assert!(tested.refuse(join).to_string().contains("labels.location"));
    let wrong = set(&tested, "r1");
    assert!(matches!(tested.refuse(wrong), Error::Invalid(_)));
}

#[test]
fn a_bucket_moves_from_where_it_was_thought_to_be() {
    let (mut tested, shop) = Tested::new();
    tested.create(shop, colocated("a", "g"));
    let found = group(&tested, "g");
    let before = found.sequence[0].clone();
    let other = nodes().into_iter().find(|node| !before.contains(node)).unwrap();
    let moved = |bucket, before: &[NodeId], nodes: &[NodeId]| Operation::MoveBuckets {
        group: found.id,
        buckets: vec![BucketNodes { bucket, before: before.to_vec(), nodes: nodes.to_vec() }],
    };
    let nodes = [other, before[1]];
    assert!(tested.refuse(moved(0, &nodes, &before)).to_string().contains("moved meanwhile"));
    assert!(tested.refuse(moved(9, &before, &nodes)).to_string().contains("moved meanwhile"));
    assert!(tested.refuse(moved(0, &before, &[other, other])).to_string().contains("distinct nodes"));
    assert!(tested.refuse(moved(0, &before, &placement().cycle)).to_string().contains("2 copies at most"));
    assert!(tested.refuse(moved(0, &before, &[NodeId(5)])).to_string().contains("not registered"));
    assert_eq!(tested.run(moved(0, &before, &nodes)), Response::Done);
    assert!(!tested.catalog.is_stable(&group(&tested, "g")));
    let node = placement().nodes().find(|node| !found.sequence[1].contains(node)).unwrap();
    tested.run(Operation::SetDraining { node, draining: true });
    assert!(tested.refuse(moved(1, &found.sequence[1], &[node])).to_string().contains("drained"));
}

#[test]
fn a_node_where_buckets_should_be_is_not_removed() {
    let (mut tested, shop) = Tested::new();
    tested.run(register(Role::Storage, "storage-4:9000", None));
    tested.create(shop, colocated("a", "g"));
    let found = group(&tested, "g");
    let node = tested.catalog.storage_nodes().last().unwrap().id;
    let before = found.sequence[0].clone();
    let nodes = vec![node, before[1]];
    tested.run(Operation::MoveBuckets { group: found.id, buckets: vec![BucketNodes { bucket: 0, before, nodes }] });
    assert_eq!(tested.refuse(Operation::RemoveNode { node }), Error::NodeInGroup { node, group: "g".to_owned() });
}
