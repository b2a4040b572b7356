//! Databases, tables and views.

use tarn_catalog::command::{Placement, TableSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

fn rename(database: DatabaseId, name: &str, new_name: &str) -> Operation {
    Operation::RenameTable { database, name: name.to_owned(), new_name: new_name.to_owned() }
}

fn truncate(table: TableId, partitions: &[&str]) -> Operation {
    let partitions = partitions.iter().map(|p| (*p).to_owned()).collect();
    Operation::TruncateTable { table, partitions, placement: placement() }
}

#[test]
fn names_of_databases_and_tables_have_case() {
    let (mut tested, database) = Tested::new();
    let create_database = |name: &str| Operation::CreateDatabase { name: name.to_owned(), if_not_exists: false };
    assert!(matches!(tested.run(create_database("Shop")), Response::Database(_)));
    assert_eq!(tested.refuse(create_database("shop")), Error::DatabaseExists("shop".to_owned()));
    tested.create(database, whole("t"));
    tested.create(database, whole("T"));
    assert_eq!(tested.refuse(create(database, whole("t"))), Error::RelationExists("t".to_owned()));
}

#[test]
fn if_not_exists_answers_the_table_that_exists() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, whole("t"));
    let again = Operation::CreateTable {
        database,
        table: Box::new(by_name("t")),
        if_not_exists: true,
        placement: Placement::default(),
    };
    assert_eq!(tested.run(again), Response::Table(table));
    let database_again = Operation::CreateDatabase { name: "shop".to_owned(), if_not_exists: true };
    assert_eq!(tested.run(database_again), Response::Database(database));
}

#[test]
fn an_unpartitioned_table_has_one_partition_of_its_name() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, whole("t"));
    let partition = tested.partition(table, "t");
    assert_eq!(partition.bounds, Bounds::All);
    assert_eq!((partition.visible_version, partition.committed_version), (Version::FIRST, Version::FIRST));
    assert_eq!(partition.tablets.len(), 2);
    assert_ne!(partition.tablets[0].replicas, partition.tablets[1].replicas);
    tested.run(rename(database, "t", "u"));
    assert_eq!(tested.partition(table, "u").name, "u");
    assert_eq!(tested.catalog.table(database, "u").unwrap().id, table);
    assert_eq!(tested.catalog.table(database, "t"), Err(Error::UnknownTable("t".to_owned())));
}

#[test]
fn impossible_tables_are_refused() {
    let (mut tested, database) = Tested::new();
    let changes: [fn(&mut TableSpec); 12] = [
        |t| t.name.clear(),
        |t| t.schema.columns.clear(),
        |t| t.schema.columns[2].name = "DAY".to_owned(),
        |t| t.schema.columns[2].id = ColumnId(1),
        |t| t.schema.keys = vec![ColumnId(2)],
        |t| t.schema.keys = vec![ColumnId(1), ColumnId(2), ColumnId(3), ColumnId(4)],
        |t| t.schema.sort_key = vec![ColumnId(9)],
        |t| t.partitioning = Partitioning::Range(vec![]),
        |t| t.partitioning = Partitioning::Expression(vec![PartitionExpr::Column(ColumnId(9))]),
        |t| t.distribution.columns = vec![ColumnId(2), ColumnId(2)],
        |t| t.distribution.buckets = 0,
        |t| t.partitions = vec![days("p", 1, 2)],
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut table = whole("t");
        change(&mut table);
        let error = tested.refuse(create(database, table));
        assert!(matches!(error, Error::Invalid(_)), "change {i}: {error:?}");
    }
    let overlapping = by_day("t", vec![days("a", 1, 3), days("b", 2, 4)]);
    assert!(matches!(tested.refuse(create(database, overlapping)), Error::PartitionOverlap { .. }));
    let unknown = DatabaseId(9);
    assert_eq!(tested.refuse(create(unknown, whole("t"))), Error::UnknownDatabase("db9".to_owned()));
}

/// `whole` with another model, as that wants it.
fn of_model(model: TableModel) -> TableSpec {
    let mut table = whole("t");
    table.schema.model = model;
    if model.merges_on_read() {
        table.schema.columns[2].aggregation = Some(Aggregation::Replace);
    }
    table
}

#[test]
fn tables_that_their_model_forbids_are_refused() {
    let (mut tested, database) = Tested::new();
    for (model, name) in [
        (TableModel::Duplicate, "duplicate"),
        (TableModel::Aggregate, "aggregate"),
        (TableModel::Unique, "unique"),
        (TableModel::PrimaryKey, "primary"),
    ] {
        let mut table = TableSpec { name: name.to_owned(), ..of_model(model) };
        tested.create(database, table.clone());
        if model != TableModel::PrimaryKey {
            // Only there a key may not be NULL.
            table.name = format!("{name} nullable");
            table.schema.columns[0].nullable = true;
            tested.create(database, table);
        }
    }
    let aggregated = [TableModel::Aggregate, TableModel::Unique];
    let keyed = [TableModel::Aggregate, TableModel::Unique, TableModel::PrimaryKey];
    type Change = fn(&mut TableSpec);
    let changes: [(&[TableModel], Change, &str); 9] = [
        (
            &[TableModel::Duplicate],
            |t| t.schema.columns[2].aggregation = Some(Aggregation::Sum),
            "has an aggregation, SUM",
        ),
        (&[TableModel::PrimaryKey], |t| t.schema.columns[2].aggregation = Some(Aggregation::Max), "has an aggregation"),
        (&aggregated, |t| t.schema.columns[0].aggregation = Some(Aggregation::Min), "has an aggregation, MIN"),
        (&aggregated, |t| t.schema.columns[2].aggregation = None, "has no aggregation for column `name`"),
        (&keyed, |t| t.distribution.columns = vec![], "has no bucket columns"),
        (&keyed, |t| t.distribution.columns = vec![ColumnId(3)], "among its bucket columns, which is no key"),
        (
            &keyed,
            |t| t.partitioning = Partitioning::Expression(vec![PartitionExpr::Column(ColumnId(3))]),
            "among its partition columns, which is no key",
        ),
        (&aggregated, |t| t.schema.sort_key = vec![ColumnId(2)], "has a sort key that is not its keys in some order"),
        (&[TableModel::PrimaryKey], |t| t.schema.columns[1].nullable = true, "the primary key column `id`"),
    ];
    for (models, change, expected) in changes {
        for model in models {
            let mut table = of_model(*model);
            change(&mut table);
            let error = tested.refuse(create(database, table)).to_string();
            assert!(error.contains(expected), "{model:?}: {error}");
        }
    }
}

#[test]
fn a_primary_key_tables_sort_key_is_free() {
    let (mut tested, database) = Tested::new();
    let mut table = of_model(TableModel::PrimaryKey);
    table.schema.sort_key = vec![ColumnId(3)];
    tested.create(database, table);
}

#[test]
fn a_table_gives_each_of_its_numbers_once() {
    let (mut tested, database) = Tested::new();
    let mut spec = whole("t");
    spec.columns.entry(ColumnId(2)).or_default().default = Some(DefaultValue::AutoIncrement);
    let table = tested.create(database, spec);
    let take = |count| Operation::TakeIncrements { table, count };
    assert_eq!(tested.run(take(3)), Response::Increments { first: 1 });
    assert_eq!(tested.run(take(10)), Response::Increments { first: 4 });
    assert!(matches!(tested.refuse(take(u64::MAX)), Error::Invalid(_)));
    assert!(matches!(tested.refuse(take(i64::MAX as u64)), Error::Invalid(_)));
    assert_eq!(tested.run(take(1)), Response::Increments { first: 14 });
    let other = tested.create(database, whole("u"));
    let of_other = Operation::TakeIncrements { table: other, count: 1 };
    assert!(matches!(tested.refuse(of_other), Error::Invalid(_)));
    tested.run(Operation::DropTable { database, name: "t".to_owned(), if_exists: false, only: None });
    assert!(tested.catalog.increments.is_empty());
    assert_eq!(tested.refuse(take(1)), Error::TableGone(table));
}

#[test]
fn tables_that_swap_names_give_no_number_again() {
    let (mut tested, database) = Tested::new();
    let numbered = |name| {
        let mut spec = whole(name);
        spec.columns.entry(ColumnId(2)).or_default().default = Some(DefaultValue::AutoIncrement);
        spec
    };
    let (table, copy) = (tested.create(database, numbered("t")), tested.create(database, numbered("copy")));
    let take = |table| Operation::TakeIncrements { table, count: 5 };
    tested.run(take(table));
    tested.run(Operation::SwapTables { one: copy, other: table });
    assert_eq!(tested.run(take(copy)), Response::Increments { first: 6 });
    assert_eq!(tested.run(take(table)), Response::Increments { first: 6 });
}

#[test]
fn tables_are_placed_on_registered_storage_nodes_only() {
    let (mut tested, database) = Tested::new();
    let Response::Node(compute) = tested.run(register(Role::Compute, "c:1", None)) else { panic!("no node") };
    let on = |nodes: Vec<NodeId>| Operation::CreateTable {
        database,
        table: Box::new(whole("t")),
        if_not_exists: false,
        placement: nodes.into(),
    };
    assert_eq!(tested.refuse(on(vec![])), Error::NoStorageNode);
    assert_eq!(tested.refuse(on(vec![NodeId(9)])), Error::UnknownNode(NodeId(9)));
    assert!(matches!(tested.refuse(on(vec![compute])), Error::Invalid(_)));
}

#[test]
fn truncating_gives_new_partitions_and_tablets() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 1), days("p2", 1, 2)]));
    let (old, kept) = (tested.partition(table, "p1").clone(), tested.partition(table, "p2").clone());
    let txn = tested.begin(database, "l", table);
    tested.commit(txn, vec![write(old.tablets[0].id)]);
    tested.run(Operation::MakeVisible { txn, changed: Vec::new() });
    assert_eq!(tested.partition(table, "p1").rows, 10);

    assert_eq!(tested.run(truncate(table, &["P1", "p1"])), Response::Done);
    let new = tested.partition(table, "p1");
    assert!(new.id != old.id && new.bounds == old.bounds && new.rows == 0 && new.visible_version == Version::FIRST);
    assert_eq!(*tested.partition(table, "p2"), kept);
    assert_eq!(tested.catalog.dropped_tablets.len(), 2);

    assert!(matches!(tested.refuse(truncate(table, &["p1", "p9"])), Error::UnknownPartition { .. }));
    assert_eq!(tested.run(truncate(table, &[])), Response::Done);
    assert_ne!(tested.partition(table, "p2").id, kept.id);
    assert_eq!(tested.catalog.dropped_tablets.len(), 6);
}

#[test]
fn dropping_a_database_drops_what_is_in_it() {
    let (mut tested, database) = Tested::new();
    tested.create(database, whole("t"));
    tested.run(create_view(database, "v", "SELECT 1", false));
    let drop = |if_exists| Operation::DropDatabase { name: "shop".to_owned(), if_exists };
    assert_eq!(tested.run(drop(false)), Response::Done);
    assert!(tested.catalog.relations.is_empty() && tested.catalog.tablets.is_empty());
    assert_eq!(tested.catalog.dropped_tablets.len(), 2);
    assert_eq!(tested.refuse(drop(false)), Error::UnknownDatabase("shop".to_owned()));
    assert_eq!(tested.run(drop(true)), Response::Done);
}

#[test]
fn a_table_takes_the_place_of_another_at_once() {
    let (mut tested, database) = Tested::new();
    let old = tested.create(database, whole("t"));
    let new = tested.create(database, whole("beside"));
    let replace = |old, new| Operation::ReplaceTable { old, new, name: "t".to_owned() };
    let named = |tested: &Tested, name| tested.catalog.relation(database, name).map(Relation::id);
    assert_eq!(tested.refuse(replace(None, new)), Error::RelationExists("t".to_owned()));
    assert_eq!(tested.refuse(replace(Some(new), new)), Error::RelationExists("t".to_owned()));
    assert_eq!(tested.refuse(replace(Some(old), TableId(7))), Error::TableGone(TableId(7)));
    assert_eq!((named(&tested, "t"), named(&tested, "beside")), (Some(old), Some(new)));

    assert_eq!(tested.run(replace(Some(old), new)), Response::Done);
    assert_eq!((named(&tested, "t"), named(&tested, "beside")), (Some(new), None));
    assert_eq!(tested.partition(new, "t").name, "t");
    assert_eq!(tested.catalog.dropped_tablets.len(), 2, "the old one's");
    // Its answer was lost.
    assert_eq!(tested.run(replace(Some(old), new)), Response::Done);
    assert_eq!(tested.catalog.dropped_tablets.len(), 2);

    // Somebody has put another table there meanwhile: it stays, and so does the one beside.
    let third = tested.create(database, whole("beside"));
    assert_eq!(tested.refuse(replace(Some(old), third)), Error::RelationExists("t".to_owned()));
    // Or has dropped it: the place is free.
    tested.run(drop_table(database, "t"));
    assert_eq!(tested.run(replace(Some(new), third)), Response::Done);
    assert_eq!(named(&tested, "t"), Some(third));
    let view = create_view(database, "v", "SELECT 1", false);
    tested.run(view);
    let over_view = Operation::ReplaceTable { old: None, new: third, name: "v".to_owned() };
    assert_eq!(tested.refuse(over_view), Error::IsView("v".to_owned()));
}

#[test]
fn a_drop_of_one_table_spares_another_of_its_name() {
    let (mut tested, database) = Tested::new();
    let first = tested.create(database, whole("t"));
    let drop = |only, if_exists| Operation::DropTable { database, name: "t".to_owned(), if_exists, only: Some(only) };
    tested.run(rename(database, "t", "u"));
    let second = tested.create(database, whole("t"));
    assert_eq!(tested.refuse(drop(first, false)), Error::UnknownTable("t".to_owned()));
    assert_eq!(tested.run(drop(first, true)), Response::Done);
    assert!([first, second].iter().all(|id| tested.catalog.table_by_id(*id).is_some()));
    assert_eq!(tested.run(drop(second, false)), Response::Done);
    assert!(tested.catalog.table_by_id(second).is_none());
}

#[test]
fn renaming_keeps_ids() {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, whole("t"));
    tested.create(database, whole("u"));
    assert_eq!(tested.refuse(rename(database, "t", "u")), Error::RelationExists("u".to_owned()));
    assert_eq!(tested.refuse(rename(database, "x", "y")), Error::UnknownTable("x".to_owned()));
    let to = |name: &str, new: &str| Operation::RenameDatabase { name: name.to_owned(), new_name: new.to_owned() };
    assert_eq!(tested.run(to("shop", "store")), Response::Done);
    assert_eq!(tested.catalog.database("store").unwrap().id, database);
    assert_eq!(tested.catalog.table(database, "t").unwrap().id, table);
    assert_eq!(tested.refuse(to("shop", "x")), Error::UnknownDatabase("shop".to_owned()));
    assert_eq!(tested.refuse(to("store", "store")), Error::DatabaseExists("store".to_owned()));
}

#[test]
fn views_and_tables_share_names_and_are_told_apart() {
    let (mut tested, database) = Tested::new();
    tested.create(database, whole("t"));
    let Response::Table(view) = tested.run(create_view(database, "v", "SELECT 1", false)) else { panic!("no view") };
    let drop_view = |name: &str, if_exists| Operation::DropView { database, name: name.to_owned(), if_exists };
    assert_eq!(tested.refuse(create(database, whole("v"))), Error::RelationExists("v".to_owned()));
    assert_eq!(tested.refuse(create_view(database, "t", "SELECT 1", false)), Error::RelationExists("t".to_owned()));
    assert_eq!(tested.refuse(create_view(database, "t", "SELECT 1", true)), Error::IsTable("t".to_owned()));
    assert_eq!(tested.refuse(drop_table(database, "v")), Error::IsView("v".to_owned()));
    assert_eq!(tested.refuse(drop_view("t", true)), Error::IsTable("t".to_owned()));
    assert_eq!(tested.refuse(truncate(view, &[])), Error::IsView("v".to_owned()));
    assert_eq!(tested.refuse(begin(database, "l", view)), Error::IsView("v".to_owned()));

    assert_eq!(tested.run(create_view(database, "v", "SELECT 2", true)), Response::Table(view));
    let Some(Relation::View(replaced)) = tested.catalog.relation(database, "v") else { panic!("no view") };
    assert_eq!(replaced.query, "SELECT 2");
    assert_eq!(tested.run(drop_view("v", false)), Response::Done);
    assert_eq!(tested.refuse(drop_view("v", false)), Error::UnknownView("v".to_owned()));
    assert_eq!(tested.run(drop_view("v", true)), Response::Done);
}
