//! Adding, dropping and renaming partitions.

use tarn_catalog::command::{PartitionSpec, Placement};
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

fn add(table: TableId, partitions: Vec<PartitionSpec>, fail_if_exists: bool) -> Operation {
    Operation::AddPartitions { table, partitions, fail_if_exists, placement: placement() }
}

fn drop_partition(table: TableId, name: &str) -> Operation {
    Operation::DropPartitions { table, names: vec![name.to_owned()], temporary: false, if_exists: false }
}

fn ids(response: Response) -> Vec<PartitionId> {
    match response {
        Response::Partitions(ids) => ids,
        other => panic!("no partitions: {other:?}"),
    }
}

#[test]
fn a_partition_with_equal_bounds_is_answered_and_not_created_again() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_name("t"));
    let both = vec![names("pa", &["a"]), names("pb", &["b", "c"])];
    let first = ids(tested.run(add(table, both.clone(), false)));
    assert_eq!(ids(tested.run(add(table, both, false))), first);
    let other_order = vec![names("px", &["c", "b", "c"]), names("pd", &["d"]), names("pe", &["d"])];
    let second = ids(tested.run(add(table, other_order, false)));
    assert_eq!(second[0], first[1]);
    assert_eq!(second[1], second[2]);
    assert_eq!(tested.catalog.table_by_id(table).unwrap().partitions.len(), 3);
}

#[test]
fn partitions_that_exist_are_answered_without_a_storage_node() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_name("t"));
    let first = ids(tested.run(add(table, vec![names("pa", &["a"])], false)));
    let nowhere = |partition| Operation::AddPartitions {
        table,
        partitions: vec![partition],
        fail_if_exists: false,
        placement: Placement::default(),
    };
    assert_eq!(ids(tested.run(nowhere(names("pa", &["a"])))), first);
    assert_eq!(tested.refuse(nowhere(names("pb", &["b"]))), Error::NoStorageNode);
}

#[test]
fn values_whose_partitions_would_have_one_name_get_two() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_name("t"));
    tested.run(add(table, vec![names("pa", &["a"]), names("pA", &["A"]), names("PA", &["á"])], false));
    for (name, value) in [("pa", "a"), ("pa_2", "A"), ("pa_3", "á")] {
        let key = [Value::Text(value.to_owned())];
        assert!(tested.partition(table, name).bounds.contains(&key));
    }
    let named = add(table, vec![names("pa", &["b"])], true);
    assert!(matches!(tested.refuse(named), Error::PartitionExists { .. }));
}

#[test]
fn overlapping_and_repeated_partitions_are_refused_as_a_whole() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 10)]));
    let overlap = |partition: &str, other: &str| Error::PartitionOverlap {
        table: "t".to_owned(),
        partition: partition.to_owned(),
        other: other.to_owned(),
    };
    assert_eq!(tested.refuse(add(table, vec![days("p2", 10, 20), days("p3", 9, 10)], true)), overlap("p3", "p1"));
    assert_eq!(tested.refuse(add(table, vec![days("p2", 10, 20), days("p3", 19, 30)], true)), overlap("p3", "p2"));
    assert_eq!(tested.refuse(add(table, vec![days("p2", 0, 10)], true)), overlap("p2", "p1"));
    let exists = Error::PartitionExists { table: "t".to_owned(), partition: "P1".to_owned() };
    assert_eq!(tested.refuse(add(table, vec![days("P1", 0, 10)], true)), exists);
    assert_eq!(tested.refuse(add(table, vec![days("P1", 10, 20)], false)), exists);
    assert_eq!(ids(tested.run(add(table, vec![days("p2", 0, 10)], false))), [tested.partition(table, "p1").id]);
}

#[test]
fn declared_values_belong_to_one_partition() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_list("t", vec![names("p1", &["b", "a"]), names("p2", &["c"])]));
    let a = [Value::Text("a".to_owned())];
    assert!(tested.partition(table, "p1").bounds.contains(&a));
    assert!(!tested.partition(table, "p2").bounds.contains(&a));
    assert_eq!(tested.partition(table, "p1").bounds, names("p1", &["a", "b"]).bounds, "lists are kept in one order");
    let overlap = tested.refuse(add(table, vec![names("p3", &["d", "c"])], true));
    assert!(matches!(overlap, Error::PartitionOverlap { partition, other, .. } if partition == "p3" && other == "p2"));
    assert!(matches!(tested.refuse(add(table, vec![days("p3", 0, 1)], true)), Error::Invalid(_)));
    ids(tested.run(add(table, vec![names("p3", &["d"])], true)));
}

#[test]
fn bounds_must_fit_the_partitioning() {
    let (mut tested, database) = Tested::new();
    let ranges = tested.create(database, by_day("ranges", vec![]));
    let lists = tested.create(database, by_name("lists"));
    let whole = tested.create(database, whole("whole"));
    let long = PartitionSpec {
        name: "p".to_owned(),
        bounds: Bounds::Range { lower: None, upper: Some(vec![Value::Date(1), Value::Int(2)]) },
    };
    for (table, partition) in [
        (ranges, names("p", &["a"])),
        (ranges, days("p", 5, 5)),
        (ranges, long),
        (ranges, days("", 5, 6)),
        (lists, days("p", 5, 6)),
        (lists, names("p", &[])),
        (whole, days("p", 5, 6)),
    ] {
        assert!(matches!(tested.refuse(add(table, vec![partition], true)), Error::Invalid(_)));
    }
    assert!(matches!(tested.refuse(drop_partition(whole, "whole")), Error::Invalid(_)));
}

#[test]
fn dropped_partitions_leave_their_tablets_to_be_cleaned_up() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 10)]));
    let tablets: Vec<_> = tested.partition(table, "p1").tablets.clone();
    assert_eq!(tested.run(drop_partition(table, "P1")), Response::Done);
    for tablet in &tablets {
        assert_eq!(tested.catalog.dropped_tablets[&tablet.id], tablet.nodes().collect::<Vec<_>>());
        assert!(tested.catalog.tablet(tablet.id).is_none());
    }
    tested.run(Operation::ForgetTablets { tablets: vec![tablets[0].id, TabletId(0)] });
    assert_eq!(tested.catalog.dropped_tablets.len(), 1);
    assert!(matches!(tested.refuse(drop_partition(table, "p1")), Error::UnknownPartition { .. }));
    let if_exists =
        Operation::DropPartitions { table, names: vec!["p1".to_owned()], temporary: false, if_exists: true };
    assert_eq!(tested.run(if_exists), Response::Done);
}

#[test]
fn of_several_partitions_all_are_dropped_or_none() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 1), days("p2", 1, 2), days("p3", 2, 3)]));
    let drop = |names: &[&str], if_exists| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Operation::DropPartitions { table, names, temporary: false, if_exists }
    };
    let left = |tested: &Tested| -> Vec<String> {
        tested.catalog.table_by_id(table).unwrap().partitions.values().map(|p| p.name.clone()).collect()
    };
    assert!(matches!(tested.refuse(drop(&["p1", "p9"], false)), Error::UnknownPartition { .. }));
    assert!(tested.refuse(drop(&["p1", "P1"], true)).to_string().contains("named twice"));
    assert_eq!(left(&tested), ["p1", "p2", "p3"]);
    assert_eq!(tested.run(drop(&["p1", "p9", "p3"], true)), Response::Done);
    assert_eq!(left(&tested), ["p2"]);
}

#[test]
fn partitions_are_renamed_without_case() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 10), days("p2", 10, 20)]));
    let rename =
        |name: &str, to: &str| Operation::RenamePartition { table, name: name.to_owned(), new_name: to.to_owned() };
    assert!(matches!(tested.refuse(rename("p1", "P2")), Error::PartitionExists { .. }));
    assert!(matches!(tested.refuse(rename("p3", "p4")), Error::UnknownPartition { .. }));
    assert_eq!(tested.run(rename("p1", "P1")), Response::Done);
    assert_eq!(tested.partition(table, "p1").name, "P1");
}

#[test]
fn tablets_of_added_partitions_go_on_where_the_last_ended() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![]));
    for day in 0..6 {
        tested.run(add(table, vec![days(&format!("p{day}"), day, day + 1)], true));
    }
    for node in nodes() {
        let table = tested.catalog.table_by_id(table).unwrap();
        assert_eq!(table.tablets().filter(|(_, _, t)| t.nodes().eq([node])).count(), 4);
    }
}

#[test]
fn a_command_that_makes_too_many_tablets_is_refused() {
    let (mut tested, database) = Tested::new();
    let partitions: Vec<_> = (0..100).map(|day| days(&format!("p{day}"), day, day + 1)).collect();
    let with_buckets = |buckets, partitions| {
        let mut spec = by_day("t", partitions);
        spec.distribution.buckets = buckets;
        spec
    };
    let too_many = |error: Error| {
        assert!(matches!(&error, Error::Invalid(why) if why.contains("more than 100000 tablets")), "{error}");
    };
    too_many(tested.refuse(create(database, with_buckets(1001, partitions.clone()))));
    too_many(tested.refuse(create(database, with_buckets(u32::MAX, partitions[..1].to_vec()))));
    let table = tested.create(database, with_buckets(25_001, vec![]));
    too_many(tested.refuse(add(table, partitions[..4].to_vec(), true)));
    tested.run(add(table, partitions[..2].to_vec(), true));
    tested.run(add(table, partitions[2..4].to_vec(), true));
    let truncate = |partitions| Operation::TruncateTable { table, partitions, placement: placement() };
    too_many(tested.refuse(truncate(vec![])));
    assert_eq!(tested.run(truncate(vec!["p1".to_owned()])), Response::Done);
}

#[test]
fn what_was_computed_from_other_properties_is_refused() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 10)]));
    let before = tested.catalog.table_by_id(table).unwrap().properties.clone();
    let p1 = tested.partition(table, "p1").id;
    let maintain = |properties| Operation::MaintainPartitions {
        table,
        add: vec![days("p1", 20, 30), days("p2", 5, 15), days("p3", 10, 20)],
        drop: vec![p1, PartitionId(1)],
        buckets: Some(5),
        placement: placement(),
        properties,
    };
    let set = |name: &str, value: &str, before| Operation::SetTableProperties {
        table,
        properties: [(name.to_owned(), value.to_owned())].into(),
        before,
    };
    assert_eq!(tested.run(set("partition_live_number", "3", before.clone())), Response::Done);
    let changed = Error::PropertiesChanged { table: "t".to_owned() };
    assert_eq!(tested.refuse(maintain(before.clone())), changed);
    assert_eq!(tested.refuse(set("partition_live_number", "4", before.clone())), changed);
    let now = tested.catalog.table_by_id(table).unwrap().properties.clone();
    assert_eq!(tested.run(set("partition_live_number", "", now)), Response::Done);
    assert_eq!(tested.catalog.table_by_id(table).unwrap().properties, before);

    // The old one goes first; of two that overlap, the first is made.
    assert_eq!(ids(tested.run(maintain(before.clone()))).len(), 2);
    assert!(tested.partition(table, "p1").id != p1);
    assert_eq!(tested.partition(table, "p2").tablets.len(), 5);
    assert!(ids(tested.run(maintain(before))).is_empty());
}
