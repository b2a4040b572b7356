//! Loads that replace rows, and loads of chosen partitions.

use std::collections::BTreeSet;
use std::sync::Arc;

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Operation, PartitionExpr, Partitioning, TransactionState, Value};
use tarn_ingest::route::Reach;
use tarn_ingest::{CatalogClient, Error, Replacing, Target};
use tarn_proto::time::TimeUnit;
use tarn_proto::{ColumnId, DatabaseId, TableId};
use tokio_util::sync::CancellationToken;

use super::loads::{LONG, new_load, publishing, write};
use super::world::World;

type Table = (DatabaseId, TableId);

/// The table with `k` in `p0` (0..10) and `p1` (10..20), one row in each.
async fn two_ranges(world: &Arc<World>) -> (Table, CancellationToken) {
    let range = |name: &str, from: i128, to: i128| PartitionSpec {
        name: name.into(),
        bounds: Bounds::Range { lower: Some(vec![Value::Int(from)]), upper: Some(vec![Value::Int(to)]) },
    };
    let ranges = vec![range("p0", 0, 10), range("p1", 10, 20)];
    let table = world.table(Partitioning::Range(vec![ColumnId(1)]), ranges, 2);
    let publisher = publishing(world);
    let load = new_load(world, table, "first").await;
    write(world, &load, table.1, vec![(1, 0), (11, 0)]).await.unwrap();
    load.commit(LONG).await.unwrap();
    (table, publisher)
}

fn rows(world: &World, table: Table) -> Vec<(String, u64)> {
    let mut rows: Vec<_> = world.current(table.1).partitions.values().map(|p| (p.name.clone(), p.rows)).collect();
    rows.sort();
    rows
}

fn counts(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect()
}

fn only(world: &World, table: Table, names: &[&str]) -> Reach {
    let table = world.current(table.1);
    Reach::Only(names.iter().map(|name| table.partition(name).unwrap().id).collect())
}

fn replacing(reach: Reach, dynamic: bool) -> Target {
    Target { reach, replacing: Some(Replacing { dynamic, read: None }) }
}

#[tokio::test]
async fn rows_outside_the_chosen_partitions_are_refused() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let load = new_load(&world, table, "chosen").await;
    load.sink().aim(Target { reach: only(&world, table, &["p1"]), replacing: None }).await.unwrap();
    let error = write(&world, &load, table.1, vec![(12, 0), (2, 0)]).await.unwrap_err();
    assert!(matches!(error, Error::OutsidePartitions { row: 2, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "row 2, whose partition key is (2), belongs to none of the partitions (p1) of table `t` that the statement loads"
    );
    write(&world, &load, table.1, vec![(12, 0)]).await.unwrap();
    load.commit(LONG).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 2)]));
}

#[tokio::test]
async fn a_whole_table_is_replaced_also_where_there_is_no_new_row() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let load = new_load(&world, table, "whole").await;
    load.sink().aim(replacing(Reach::All, false)).await.unwrap();
    write(&world, &load, table.1, vec![(2, 0), (3, 0), (4, 0)]).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 1)]));
    load.commit(LONG).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 3), ("p1", 0)]));
    assert!(world.current(table.1).shadows.is_empty());

    let load = new_load(&world, table, "nothing").await;
    load.sink().aim(replacing(Reach::All, false)).await.unwrap();
    load.commit(LONG).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 0), ("p1", 0)]));
}

#[tokio::test]
async fn chosen_partitions_alone_are_replaced() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let load = new_load(&world, table, "p1").await;
    load.sink().aim(replacing(only(&world, table, &["p1"]), false)).await.unwrap();
    let outside = write(&world, &load, table.1, vec![(1, 0)]).await.unwrap_err();
    assert!(matches!(outside, Error::OutsidePartitions { .. }), "{outside}");
    load.commit(LONG).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 0)]));
}

#[tokio::test]
async fn a_dynamic_overwrite_replaces_the_partitions_that_get_rows() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let load = new_load(&world, table, "dynamic").await;
    load.sink().aim(replacing(Reach::All, true)).await.unwrap();
    assert!(world.current(table.1).shadows.is_empty());
    write(&world, &load, table.1, vec![(12, 0), (13, 0)]).await.unwrap();
    load.commit(LONG).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 2)]));

    let load = new_load(&world, table, "no row").await;
    load.sink().aim(replacing(Reach::All, true)).await.unwrap();
    load.commit(LONG).await.unwrap();
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 2)]));
}

#[tokio::test]
async fn partitions_of_an_expression_are_created_and_replaced_by_the_load() {
    for dynamic in [false, true] {
        let world = World::new();
        let by_month = Partitioning::Expression(vec![PartitionExpr::DateTrunc(TimeUnit::Month, ColumnId(2))]);
        let table = world.table(by_month, vec![], 1);
        let _publisher = publishing(&world);
        let load = new_load(&world, table, "first").await;
        write(&world, &load, table.1, vec![(1, 0), (2, 40)]).await.unwrap();
        load.commit(LONG).await.unwrap();
        let load = new_load(&world, table, "second").await;
        load.sink().aim(replacing(Reach::All, dynamic)).await.unwrap();
        write(&world, &load, table.1, vec![(1, 41), (2, 80), (3, 81)]).await.unwrap();
        load.commit(LONG).await.unwrap();
        let january = u64::from(dynamic);
        assert_eq!(rows(&world, table), counts(&[("p197001", january), ("p197002", 1), ("p197003", 2)]));
    }
}

#[tokio::test]
async fn an_overwrite_that_is_given_up_leaves_the_rows_and_nothing_else() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let load = new_load(&world, table, "given up").await;
    load.sink().aim(replacing(Reach::All, false)).await.unwrap();
    write(&world, &load, table.1, vec![(2, 0)]).await.unwrap();
    let tablets = world.current(table.1).tablets().count();
    load.abort("a bad row").await;
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 1)]));
    assert_eq!(world.current(table.1).tablets().count(), tablets - 4);
    assert_eq!(world.catalog().dropped_tablets.len(), 4);
}

#[tokio::test]
async fn a_load_of_a_partition_that_is_overwritten_fails_and_says_why() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let [early, late] = [new_load(&world, table, "early").await, new_load(&world, table, "late").await];
    write(&world, &early, table.1, vec![(5, 0)]).await.unwrap();
    let mut router = late.sink().router().unwrap();
    let overwrite = new_load(&world, table, "overwrite").await;
    overwrite.sink().aim(replacing(Reach::All, false)).await.unwrap();
    write(&world, &overwrite, table.1, vec![(2, 0)]).await.unwrap();
    overwrite.commit(LONG).await.unwrap();
    let error = early.commit(LONG).await.unwrap_err();
    assert!(error.to_string().contains("has been dropped: load again"), "{error}");
    let batch = arrow::array::RecordBatch::try_new(
        world.current(table.1).schema.to_arrow(),
        vec![Arc::new(arrow::array::Int32Array::from(vec![5])), Arc::new(arrow::array::Date32Array::from(vec![0]))],
    )
    .unwrap();
    let error = late.sink().write(&mut router, &batch, 1).await.unwrap_err();
    assert!(matches!(error, Error::PartitionGone { .. }), "{error}");
    assert_eq!(rows(&world, table), counts(&[("p0", 1), ("p1", 0)]));
}

#[tokio::test]
async fn rows_computed_from_the_table_replace_no_rows_that_they_do_not_know() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let overwrite = new_load(&world, table, "overwrite").await;
    let replacing = Replacing { dynamic: false, read: Some(world.current(table.1)) };
    overwrite.sink().aim(Target { reach: Reach::All, replacing: Some(replacing) }).await.unwrap();
    let load = new_load(&world, table, "load").await;
    write(&world, &load, table.1, vec![(5, 0)]).await.unwrap();
    load.commit(LONG).await.unwrap();
    let error = overwrite.commit(LONG).await.unwrap_err();
    assert!(error.to_string().contains("was loaded while"), "{error}");
    assert_eq!(rows(&world, table), counts(&[("p0", 2), ("p1", 1)]));
    assert!(world.current(table.1).shadows.is_empty());
}

#[tokio::test]
async fn a_partition_that_is_added_while_the_whole_table_is_overwritten_is_replaced_too() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let overwrite = new_load(&world, table, "overwrite").await;
    overwrite.sink().aim(replacing(Reach::All, false)).await.unwrap();
    let bounds = Bounds::Range { lower: Some(vec![Value::Int(20)]), upper: None };
    let add = Operation::AddPartitions {
        table: table.1,
        partitions: vec![PartitionSpec { name: "p2".into(), bounds }],
        fail_if_exists: true,
        placement: world.nodes.clone().into(),
    };
    world.apply(add).unwrap();
    let load = new_load(&world, table, "load").await;
    write(&world, &load, table.1, vec![(5, 0), (25, 0)]).await.unwrap();
    load.commit(LONG).await.unwrap();
    let before: BTreeSet<_> = world.current(table.1).partitions.keys().copied().collect();
    let txn = overwrite.txn();
    overwrite.commit(LONG).await.unwrap();
    assert!(matches!(world.catalog().transaction(txn).unwrap().state, TransactionState::Visible { .. }));
    assert_eq!(rows(&world, table), counts(&[("p0", 0), ("p1", 0), ("p2", 0)]));
    assert!(world.current(table.1).partitions.keys().all(|id| !before.contains(id)));
}

#[tokio::test]
async fn rows_of_a_partition_that_was_truncated_meanwhile_do_not_come_back() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let read = world.current(table.1);
    let truncate = Operation::TruncateTable {
        table: table.1,
        partitions: vec!["p0".to_owned()],
        placement: world.nodes.clone().into(),
    };
    let reading =
        |dynamic| Target { reach: Reach::All, replacing: Some(Replacing { dynamic, read: Some(read.clone()) }) };
    let dynamic = new_load(&world, table, "dynamic").await;
    dynamic.sink().aim(reading(true)).await.unwrap();
    write(&world, &dynamic, table.1, vec![(12, 0)]).await.unwrap();
    world.apply(truncate).unwrap();
    let error = write(&world, &dynamic, table.1, vec![(1, 0)]).await.unwrap_err();
    assert!(matches!(error, Error::PartitionGone { .. }), "{error}");
    let whole = new_load(&world, table, "whole").await;
    let error = whole.sink().aim(reading(false)).await.unwrap_err();
    assert!(matches!(error, Error::PartitionGone { .. }), "{error}");
    assert_eq!(rows(&world, table), counts(&[("p0", 0), ("p1", 1)]));
}

#[tokio::test]
async fn a_partition_that_was_read_and_dropped_meanwhile_refuses_the_overwrite_of_the_whole_table() {
    let world = World::new();
    let (table, _publisher) = two_ranges(&world).await;
    let read = Some(world.current(table.1));
    let drop =
        Operation::DropPartitions { table: table.1, names: vec!["p0".into()], temporary: false, if_exists: false };
    world.apply(drop).unwrap();
    let load = new_load(&world, table, "whole").await;
    let replacing = Some(Replacing { dynamic: false, read });
    let error = load.sink().aim(Target { reach: Reach::All, replacing }).await.unwrap_err();
    assert!(error.to_string().contains("was dropped, truncated or replaced"), "{error}");
    assert_eq!(rows(&world, table), counts(&[("p1", 1)]));
}
