//! What a user sees of loads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{ArrayRef, Date32Array, Int32Array, RecordBatch};
use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Operation, PartitionExpr, Partitioning, TransactionState};
use tarn_ingest::load::{Begun, Request};
use tarn_ingest::sink::MAX_CREATED_PARTITIONS;
use tarn_ingest::{CatalogClient, Error, Load, Outcome, Publisher};
use tarn_proto::storage::LoadSpec;
use tarn_proto::time::{TimeUnit, days_from_civil};
use tarn_proto::{ColumnId, DatabaseId, NodeId, TableId};
use tokio_util::sync::CancellationToken;

use super::world::World;

pub const LONG: Duration = Duration::from_secs(30);

pub async fn try_begin(
    world: &Arc<World>,
    (database, table): (DatabaseId, TableId),
    label: &str,
) -> Result<Begun, Error> {
    let request = Request {
        database,
        table,
        spec: LoadSpec::rows(world.current(table).schema.clone()),
        label: Some(label.to_owned()),
        owner: (NodeId(1), "start".into()),
        timeout: LONG,
    };
    Load::begin(world.clone(), world.stores(), request).await
}

async fn begin(world: &Arc<World>, table: (DatabaseId, TableId), label: &str) -> Begun {
    try_begin(world, table, label).await.unwrap()
}

pub async fn new_load(world: &Arc<World>, table: (DatabaseId, TableId), label: &str) -> Box<Load> {
    match begin(world, table, label).await {
        Begun::New(load) => load,
        Begun::Repeated(outcome) => panic!("label used: {outcome:?}"),
    }
}

pub async fn write(world: &Arc<World>, load: &Load, table: TableId, rows: Vec<(i32, i32)>) -> Result<(), Error> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(Date32Array::from_iter_values(rows.iter().map(|r| r.1))),
    ];
    let batch = RecordBatch::try_new(world.current(table).schema.to_arrow(), columns).unwrap();
    let mut router = load.sink().router()?;
    load.sink().write(&mut router, &batch, 1).await
}

pub fn publishing(world: &Arc<World>) -> CancellationToken {
    let cancel = CancellationToken::new();
    let publisher = Publisher::new(world.clone(), world.stores());
    let stop = cancel.clone();
    tarn_proto::task::spawn("publisher", async move { publisher.run(stop).await });
    cancel
}

pub fn visible_rows(world: &World, table: TableId) -> u64 {
    world.current(table).partitions.values().map(|p| p.rows).sum()
}

#[tokio::test]
async fn a_load_is_visible_when_commit_returns() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 4);
    let _publisher = publishing(&world);
    let load = new_load(&world, table, "l1").await;
    let txn = load.txn();
    write(&world, &load, table.1, (0..100).map(|k| (k, 0)).collect()).await.unwrap();
    assert_eq!(visible_rows(&world, table.1), 0);
    let outcome = load.commit(LONG).await.unwrap();
    assert_eq!(outcome, Outcome { txn, label: "l1".into(), status: "VISIBLE", rows: 100, repeated: false });
    assert_eq!(visible_rows(&world, table.1), 100);
}

#[tokio::test]
async fn a_repeated_label_returns_the_first_outcome() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 2);
    let _publisher = publishing(&world);
    let load = new_load(&world, table, "once").await;
    write(&world, &load, table.1, vec![(1, 0), (2, 0)]).await.unwrap();
    let first = load.commit(LONG).await.unwrap();
    match begin(&world, table, "once").await {
        Begun::Repeated(again) => assert_eq!(again, Outcome { repeated: true, ..first }),
        Begun::New(_) => panic!("the label was used"),
    }
    assert_eq!(visible_rows(&world, table.1), 2);
}

#[tokio::test]
async fn a_label_is_refused_while_its_load_may_still_fail() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 2);
    let load = new_load(&world, table, "busy").await;
    match try_begin(&world, table, "busy").await {
        Err(error) => {
            assert!(matches!(&error, Error::LabelInUse { txn, .. } if *txn == load.txn()), "{error}");
            assert!(error.kind().is_retryable());
        }
        Ok(_) => panic!("nothing is known about the first load"),
    }
    load.abort("the source failed").await;
    new_load(&world, table, "busy").await;
}

#[tokio::test]
async fn a_load_whose_caller_goes_away_is_aborted() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let load = new_load(&world, table, "left").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    let mut changes = world.changes();
    drop(load);
    let aborted = async {
        while !matches!(world.catalog().transactions.get(&txn).unwrap().state, TransactionState::Aborted { .. }) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, aborted).await.unwrap();
    new_load(&world, table, "left").await;
}

#[tokio::test]
async fn an_aborted_load_leaves_nothing_and_frees_its_label() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 2);
    let _publisher = publishing(&world);
    let load = new_load(&world, table, "again").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    load.abort("the source failed").await;
    assert!(world.disk.aborted.lock().contains(&txn));
    let load = new_load(&world, table, "again").await;
    write(&world, &load, table.1, vec![(7, 0)]).await.unwrap();
    load.commit(LONG).await.unwrap();
    assert_eq!(visible_rows(&world, table.1), 1);
}

#[tokio::test]
async fn a_storage_node_that_goes_away_fails_the_load_with_its_name() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let load = new_load(&world, table, "lost").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    world.disk.away.store(true, Ordering::SeqCst);
    let second = write(&world, &load, table.1, vec![(2, 0)]).await;
    let error = match second {
        Err(error) => error,
        Ok(()) => load.commit(LONG).await.unwrap_err(),
    };
    assert!(error.kind().is_retryable(), "{error}");
    let text = tarn_proto::error::chain(&error);
    assert!(text.starts_with("cannot load table `t`: storage node n5000: "), "{text}");
    let state = world.catalog().transactions.get(&txn).unwrap().state.clone();
    assert!(!matches!(state, TransactionState::Committed { .. } | TransactionState::Visible { .. }));
}

#[tokio::test]
async fn every_producer_learns_which_storage_node_went_away() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let load = new_load(&world, table, "lost").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    world.disk.away.store(true, Ordering::SeqCst);
    // Batches wait in a queue: the producer that learns first is not the one whose batch failed.
    let mut first = Ok(());
    for _ in 0..1000 {
        first = write(&world, &load, table.1, vec![(2, 0)]).await;
        if first.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    world.disk.away.store(false, Ordering::SeqCst);
    for told in [first, write(&world, &load, table.1, vec![(3, 0)]).await] {
        let error = told.unwrap_err();
        assert!(error.kind().is_retryable(), "{error}");
        assert!(tarn_proto::error::chain(&error).contains("storage node n5000: "), "{error}");
    }
    // Also a node whose writer has ended is told.
    load.abort("a producer failed").await;
    assert!(world.disk.aborted.lock().contains(&txn));
}

#[tokio::test]
async fn a_committed_load_becomes_visible_when_its_node_is_back() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 2);
    let load = new_load(&world, table, "slow").await;
    write(&world, &load, table.1, vec![(1, 0), (2, 0), (3, 0)]).await.unwrap();
    // No publisher runs: nothing can become visible. It is done all the same, and nobody should load it again.
    let outcome = load.commit(Duration::ZERO).await.unwrap();
    assert_eq!((outcome.status, outcome.rows), ("COMMITTED", 3));
    assert_eq!(visible_rows(&world, table.1), 0);

    world.disk.away.store(true, Ordering::SeqCst);
    let _publisher = publishing(&world);
    world.disk.away.store(false, Ordering::SeqCst);
    let mut changes = world.changes();
    let visible = async {
        while visible_rows(&world, table.1) != 3 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, visible).await.unwrap();
}

#[tokio::test]
async fn loads_become_visible_in_commit_order() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 3);
    for i in 0..20 {
        let load = new_load(&world, table, &format!("l{i}")).await;
        write(&world, &load, table.1, vec![(i, 0)]).await.unwrap();
        load.commit(Duration::ZERO).await.unwrap();
    }
    // The world checks that each tablet gets its versions in order.
    let _publisher = publishing(&world);
    let mut changes = world.changes();
    let visible = async {
        while visible_rows(&world, table.1) != 20 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, visible).await.unwrap();
    let partition = world.current(table.1).partitions.values().next().unwrap().clone();
    for tablet in &partition.tablets {
        assert_eq!(world.disk.version(tablet.id), partition.visible_version);
    }
}

#[tokio::test]
async fn partitions_of_an_expression_are_created_by_the_load() {
    let world = World::new();
    let by_day = Partitioning::Expression(vec![PartitionExpr::DateTrunc(TimeUnit::Month, ColumnId(2))]);
    let table = world.table(by_day, vec![], 2);
    let _publisher = publishing(&world);
    let load = new_load(&world, table, "months").await;
    let day = |y, m, d| days_from_civil(y, m, d) as i32;
    let rows = vec![(1, day(2024, 2, 29)), (2, day(2024, 3, 1)), (3, day(2024, 2, 1))];
    write(&world, &load, table.1, rows).await.unwrap();
    load.commit(LONG).await.unwrap();
    let table = world.current(table.1);
    let mut partitions: Vec<_> = table.partitions.values().map(|p| (p.name.as_str(), p.rows)).collect();
    partitions.sort();
    assert_eq!(partitions, [("p202402", 2), ("p202403", 1)]);
}

#[tokio::test]
async fn a_partition_dropped_before_commit_fails_the_load() {
    let world = World::new();
    let all = PartitionSpec { name: "p0".into(), bounds: Bounds::Range { lower: None, upper: None } };
    let table = world.table(Partitioning::Range(vec![ColumnId(1)]), vec![all], 1);
    let load = new_load(&world, table, "gone").await;
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    let drop =
        Operation::DropPartitions { table: table.1, names: vec!["p0".into()], temporary: false, if_exists: false };
    world.apply(drop).unwrap();
    let error = load.commit(LONG).await.unwrap_err();
    assert!(error.to_string().contains("has been dropped"), "{error}");
}

#[tokio::test]
async fn producers_that_miss_the_same_partitions_count_them_once() {
    let world = World::new();
    let by_key = Partitioning::Expression(vec![PartitionExpr::Column(ColumnId(1))]);
    let table = world.table(by_key, vec![], 1);
    let load = new_load(&world, table, "many").await;
    let rows = MAX_CREATED_PARTITIONS as i32 / 2 + 1;
    let batch = RecordBatch::try_new(
        world.current(table.1).schema.to_arrow(),
        vec![
            Arc::new(Int32Array::from_iter_values(0..rows)) as ArrayRef,
            Arc::new(Date32Array::from_iter_values((0..rows).map(|_| 0))),
        ],
    )
    .unwrap();
    // Both begin before there is any partition.
    let mut routers = [load.sink().router().unwrap(), load.sink().router().unwrap()];
    for router in &mut routers {
        load.sink().write(router, &batch, 1).await.unwrap();
    }
    assert_eq!(world.current(table.1).partitions.len(), rows as usize);
    load.abort("the test is over").await;
}
