//! Temporary partitions, and putting them in the place of others.

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

fn add(table: TableId, partitions: Vec<PartitionSpec>) -> Operation {
    Operation::AddTemporaryPartitions { table, partitions, placement: placement() }
}

fn replace(table: TableId, partitions: &[&str], temporary: &[&str]) -> Operation {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Operation::ReplacePartitions {
        table,
        partitions: names(partitions),
        temporary: names(temporary),
        strict_range: true,
        temporary_names: false,
    }
}

/// The same without `strict_range`.
fn loosely(operation: Operation, temporary_names: bool) -> Operation {
    match operation {
        Operation::ReplacePartitions { table, partitions, temporary, .. } => {
            Operation::ReplacePartitions { table, partitions, temporary, strict_range: false, temporary_names }
        }
        other => other,
    }
}

/// A table of the days 0..10 and 10..20, and temporary partitions of the first.
fn world() -> (Tested, TableId) {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 10), days("p2", 10, 20)]));
    tested.run(add(table, vec![days("ta", 0, 5), days("tb", 5, 10)]));
    (tested, table)
}

fn layout(tested: &Tested, table: TableId) -> Vec<(String, Bounds)> {
    let table = tested.catalog.table_by_id(table).unwrap();
    let mut found: Vec<_> = table.partitions.values().map(|p| (p.name.clone(), p.bounds.clone())).collect();
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found
}

fn named(specs: Vec<PartitionSpec>) -> Vec<(String, Bounds)> {
    specs.into_iter().map(|spec| (spec.name, spec.bounds)).collect()
}

#[test]
fn temporary_partitions_overlap_none_of_their_kind_and_share_no_name() {
    let (mut tested, table) = world();
    let overlap = tested.refuse(add(table, vec![days("tc", 9, 11)]));
    assert!(matches!(overlap, Error::PartitionOverlap { partition, other, .. } if partition == "tc" && other == "tb"));
    for taken in ["TA", "p2"] {
        assert!(matches!(tested.refuse(add(table, vec![days(taken, 30, 31)])), Error::PartitionExists { .. }));
    }
    let declared = Operation::AddPartitions {
        table,
        partitions: vec![days("ta", 30, 31)],
        fail_if_exists: true,
        placement: placement(),
    };
    assert!(matches!(tested.refuse(declared), Error::PartitionExists { .. }));
    let rename = Operation::RenamePartition { table, name: "p1".to_owned(), new_name: "TB".to_owned() };
    assert!(matches!(tested.refuse(rename), Error::PartitionExists { .. }));
    let whole = tested.catalog.databases.keys().next().copied().map(|d| tested.create(d, whole("w"))).unwrap();
    assert!(matches!(tested.refuse(add(whole, vec![days("tw", 0, 1)])), Error::Invalid(_)));
}

#[test]
fn partitions_are_replaced_by_temporary_ones_that_hold_the_same_keys() {
    let (mut tested, table) = world();
    let dropped: Vec<_> = tested.partition(table, "p1").tablets.iter().map(|t| t.id).collect();
    assert_eq!(tested.run(replace(table, &["p1"], &["ta", "tb"])), Response::Done);
    assert_eq!(layout(&tested, table), named(vec![days("ta", 0, 5), days("tb", 5, 10), days("p2", 10, 20)]));
    assert!(tested.catalog.table_by_id(table).unwrap().temporary.is_empty());
    assert!(dropped.iter().all(|tablet| tested.catalog.dropped_tablets.contains_key(tablet)));
}

#[test]
fn as_many_as_there_were_keep_their_names_unless_the_temporary_ones_are_asked_for() {
    let (mut tested, table) = world();
    tested.run(add(table, vec![days("tc", 10, 20)]));
    assert_eq!(tested.run(replace(table, &["p2"], &["tc"])), Response::Done);
    assert_eq!(layout(&tested, table), named(vec![days("p1", 0, 10), days("p2", 10, 20)]));
    tested.run(add(table, vec![days("td", 10, 20)]));
    assert_eq!(tested.run(loosely(replace(table, &["P2"], &["TD"]), true)), Response::Done);
    assert_eq!(layout(&tested, table), named(vec![days("p1", 0, 10), days("td", 10, 20)]));
}

#[test]
fn other_keys_are_refused_unless_the_range_need_not_be_strict() {
    let (mut tested, table) = world();
    let differ = tested.refuse(replace(table, &["p1"], &["ta"]));
    assert!(matches!(&differ, Error::BoundsDiffer { .. }), "{differ}");
    assert!(differ.to_string().contains("strict_range"), "{differ}");
    assert_eq!(tested.run(loosely(replace(table, &["p1"], &["ta"]), false)), Response::Done);
    assert_eq!(layout(&tested, table), named(vec![days("p1", 0, 5), days("p2", 10, 20)]));
    let overlap = tested.refuse(loosely(replace(table, &["p2"], &["tb", "tb"]), false));
    assert!(matches!(overlap, Error::Invalid(_)));
    tested.run(add(table, vec![days("tc", 3, 5)]));
    let overlap = tested.refuse(loosely(replace(table, &["p2"], &["tc"]), false));
    assert!(matches!(overlap, Error::PartitionOverlap { partition, other, .. } if partition == "tc" && other == "p1"));
}

#[test]
fn lists_are_compared_by_their_values() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_list("t", vec![names("p1", &["a", "b"]), names("p2", &["c"])]));
    tested.run(add(table, vec![names("t1", &["c", "a"]), names("t2", &["b"])]));
    assert!(matches!(tested.refuse(replace(table, &["p1"], &["t1", "t2"])), Error::BoundsDiffer { .. }));
    assert_eq!(tested.run(replace(table, &["p1", "p2"], &["t1", "t2"])), Response::Done);
    assert_eq!(layout(&tested, table), named(vec![names("p1", &["a", "c"]), names("p2", &["b"])]));
}

#[test]
fn unknown_partitions_are_named() {
    let (mut tested, table) = world();
    assert!(matches!(tested.refuse(replace(table, &["p9"], &["ta"])), Error::UnknownPartition { .. }));
    let unknown = Error::UnknownTemporaryPartition { table: "t".to_owned(), partition: "p1".to_owned() };
    assert_eq!(tested.refuse(replace(table, &["p1"], &["p1"])), unknown);
    let drop = |name: &str, if_exists| {
        let names = vec![name.to_owned()];
        Operation::DropPartitions { table, names, temporary: true, if_exists }
    };
    assert_eq!(tested.refuse(drop("p1", false)), unknown);
    assert_eq!(tested.run(drop("p1", true)), Response::Done);
    assert_eq!(tested.run(drop("TA", false)), Response::Done);
    assert_eq!(tested.catalog.table_by_id(table).unwrap().temporary.len(), 1);
}

#[test]
fn a_load_into_a_temporary_partition_goes_on_while_it_takes_another_place() {
    let (mut tested, table) = world();
    let database = tested.catalog.table_by_id(table).unwrap().database;
    let [waits, comes] = ["waits", "comes"].map(|label| tested.begin(database, label, table));
    let tablet = tested.catalog.table_by_id(table).unwrap().temporary_partition("ta").unwrap().tablets[0].id;
    tested.commit(waits, vec![write(tablet)]);
    tested.run(replace(table, &["p1"], &["ta", "tb"]));
    tested.commit(comes, vec![write(tablet)]);
    for txn in [waits, comes] {
        assert_eq!(tested.run(Operation::MakeVisible { txn, changed: Vec::new() }), Response::Done);
    }
    assert_eq!(tested.partition(table, "ta").rows, 20);
}

#[test]
fn truncating_and_dropping_a_table_takes_its_temporary_partitions_along() {
    let (mut tested, table) = world();
    let truncate = Operation::TruncateTable { table, partitions: vec![], placement: placement() };
    assert_eq!(tested.run(truncate), Response::Done);
    assert!(tested.catalog.table_by_id(table).unwrap().temporary.is_empty());
    tested.run(add(table, vec![days("tc", 0, 5)]));
    let database = tested.catalog.table_by_id(table).unwrap().database;
    tested.run(drop_table(database, "t"));
    assert!(tested.catalog.tablets.is_empty());
}
