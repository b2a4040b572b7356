//! Loads whose caller or whose answers get lost on the way.

use std::future::Future;
use std::sync::Arc;

use tarn_catalog::{Operation, Partitioning, TransactionState};
use tarn_ingest::{CatalogClient, Error};
use tarn_proto::{ErrorKind, TxnId};
use tokio::sync::Notify;

use super::loads::{LONG, new_load, publishing, try_begin, visible_rows, write};
use super::world::{Fault, World};

const fn is_begin(operation: &Operation) -> bool {
    matches!(operation, Operation::BeginTransaction { .. })
}

const fn is_commit(operation: &Operation) -> bool {
    matches!(operation, Operation::CommitTransaction { .. })
}

const fn is_abort(operation: &Operation) -> bool {
    matches!(operation, Operation::AbortTransaction { .. })
}

/// The state of the one transaction there is.
fn state(world: &World) -> Option<TransactionState> {
    world.catalog().transactions.values().next().map(|t| t.state.clone())
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("it happens")
}

async fn aborted(world: &World) {
    let mut changes = world.changes();
    within(async {
        while !matches!(state(world), Some(TransactionState::Aborted { .. })) {
            changes.changed().await.unwrap();
        }
    })
    .await;
}

async fn forgotten(world: &World, txn: TxnId) {
    within(async {
        while !world.disk.aborted.lock().contains(&txn) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_a_commit() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let _publisher = publishing(&world);
    let load = new_load(&world, table, "l").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    world.faults.lock().push((is_commit, Fault::Unanswered));
    let outcome = load.commit(LONG).await.unwrap();
    assert_eq!((outcome.status, outcome.rows), ("VISIBLE", 1));
    assert_eq!(visible_rows(&world, table.1), 1);
    assert!(!world.disk.aborted.lock().contains(&txn), "its rows must stay");
}

#[tokio::test]
async fn a_commit_that_did_not_arrive_never_will() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let load = new_load(&world, table, "l").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    world.faults.lock().push((is_commit, Fault::Lost));
    let error = load.commit(LONG).await.unwrap_err();
    assert!(matches!(error, Error::NotCommitted { .. }) && error.kind().is_retryable(), "{error}");
    assert!(matches!(state(&world), Some(TransactionState::Aborted { .. })));
    assert!(world.disk.aborted.lock().contains(&txn), "nothing of it stays");
}

#[tokio::test]
async fn an_outcome_that_nobody_can_tell_is_not_to_be_repeated_blindly() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let load = new_load(&world, table, "unclear").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    world.faults.lock().push((is_commit, Fault::Lost));
    world.faults.lock().push((is_abort, Fault::Lost));
    let error = load.commit(LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(error.to_string().contains("label `unclear`"), "{error}");
    // The label is free, and the rows are gone, as soon as the catalog answers again.
    aborted(&world).await;
    forgotten(&world, txn).await;
}

#[tokio::test]
async fn a_load_that_was_left_keeps_no_rows() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let load = new_load(&world, table, "left").await;
    let txn = load.txn();
    write(&world, &load, table.1, vec![(1, 0)]).await.unwrap();
    drop(load);
    forgotten(&world, txn).await;
    within(async {
        while Arc::strong_count(&world.disk.writers) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(world.disk.finished.lock().is_empty(), "what is not all there must not be kept");
}

#[tokio::test]
async fn a_begin_whose_answer_was_lost_does_not_hold_its_label() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    world.faults.lock().push((is_begin, Fault::Unanswered));
    let Err(error) = try_begin(&world, table, "l").await else { panic!("no answer") };
    assert!(error.kind().is_retryable(), "{error}");
    aborted(&world).await;
    new_load(&world, table, "l").await;
}

#[tokio::test]
async fn a_load_that_another_attempt_began_is_let_alone() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let running = new_load(&world, table, "l").await;
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    // The first proposal is not answered; the one that asks again is watched.
    world.faults.lock().push((is_begin, Fault::Unanswered));
    world.faults.lock().push((is_begin, Fault::Held(waits.clone(), go.clone())));
    let Err(error) = try_begin(&world, table, "l").await else { panic!("no answer") };
    assert!(error.kind().is_retryable(), "{error}");
    let mut changes = world.changes();
    within(waits.notified()).await;
    go.notify_one();
    within(changes.changed()).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(state(&world), Some(TransactionState::Prepare));
    running.abort("the test is over").await;
}

#[tokio::test]
async fn a_caller_that_leaves_before_its_load_has_begun_leaves_no_load() {
    let world = World::new();
    let table = world.table(Partitioning::None, vec![], 1);
    let (waits, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    world.faults.lock().push((is_begin, Fault::Held(waits.clone(), go.clone())));
    tokio::select! {
        biased;
        _ = try_begin(&world, table, "l") => panic!("it is held"),
        () = waits.notified() => {}
    }
    go.notify_one();
    aborted(&world).await;
    new_load(&world, table, "l").await;
}
