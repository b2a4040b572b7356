//! The life of a load transaction.

use std::collections::BTreeMap;

use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

/// A table of two days, and the tablets of each.
fn two_days() -> (Tested, DatabaseId, TableId, [Vec<TabletId>; 2]) {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 1), days("p2", 1, 2)]));
    let tablets = ["p1", "p2"].map(|p| tested.partition(table, p).tablets.iter().map(|t| t.id).collect());
    (tested, database, table, tablets)
}

fn visible(txn: TxnId) -> Operation {
    Operation::MakeVisible { txn, changed: Vec::new() }
}

fn abort(txn: TxnId) -> Operation {
    Operation::AbortTransaction { txn, reason: "a bad row".to_owned() }
}

fn commit(txn: TxnId, writes: Vec<TabletWrite>) -> Operation {
    Operation::CommitTransaction { txn, writes }
}

fn expire(label_retention_ms: u64) -> Operation {
    Operation::ExpireTransactions { label_retention_ms, generated_retention_ms: 50 }
}

fn drop_partition(table: TableId, name: &str) -> Operation {
    Operation::DropPartitions { table, names: vec![name.to_owned()], temporary: false, if_exists: false }
}

fn state(txn: TxnId, state: &str, action: &str) -> Error {
    Error::TransactionState { txn, state: state.to_owned(), action: action.to_owned() }
}

#[test]
fn a_load_becomes_visible_in_all_its_partitions_at_once() {
    let (mut tested, database, table, [one, two]) = two_days();
    let txn = tested.begin(database, "l", table);
    let versions = tested.commit(txn, vec![write(one[0]), write(one[1]), write(two[1])]);
    let (p1, p2) = (tested.partition(table, "p1").id, tested.partition(table, "p2").id);
    assert_eq!(versions, BTreeMap::from([(p1, Version(2)), (p2, Version(2))]));
    assert_eq!(tested.partition(table, "p1").visible_version, Version::FIRST);
    assert_eq!(tested.partition(table, "p1").committed_version, Version(2));

    tested.now_ms = 77;
    assert_eq!(tested.run(visible(txn)), Response::Done);
    let first = tested.partition(table, "p1");
    assert_eq!((first.visible_version, first.rows, first.bytes, first.visible_ms), (Version(2), 20, 200, 77));
    let second = tested.partition(table, "p2");
    assert_eq!((second.visible_version, second.rows), (Version(2), 10));
    assert_eq!(second.tablets.iter().map(|t| t.rows).collect::<Vec<_>>(), [0, 10]);
    assert_eq!(
        tested.catalog.transaction(txn).unwrap().state,
        TransactionState::Visible { rows: 30, versions, visible_ms: 77 }
    );
}

#[test]
fn every_step_may_be_repeated() {
    let (mut tested, database, table, [one, _]) = two_days();
    let txn = tested.begin(database, "l", table);
    let versions = tested.commit(txn, vec![write(one[0])]);
    assert_eq!(tested.commit(txn, vec![write(one[0])]), versions);
    assert_eq!(tested.run(visible(txn)), Response::Done);
    assert_eq!(tested.run(visible(txn)), Response::Done);
    assert_eq!(tested.commit(txn, vec![]), versions);
    assert_eq!(tested.partition(table, "p1").rows, 10);

    let other = tested.begin(database, "m", table);
    assert_eq!(tested.run(abort(other)), Response::Done);
    assert_eq!(tested.run(abort(other)), Response::Done);
}

#[test]
fn steps_out_of_order_are_refused() {
    let (mut tested, database, table, [one, _]) = two_days();
    let txn = tested.begin(database, "l", table);
    assert_eq!(tested.refuse(visible(txn)), state(txn, "PREPARE", "made visible"));
    tested.commit(txn, vec![write(one[0])]);
    assert_eq!(tested.refuse(abort(txn)), state(txn, "COMMITTED", "aborted"));
    tested.run(visible(txn));
    assert_eq!(tested.refuse(abort(txn)), state(txn, "VISIBLE", "aborted"));

    let other = tested.begin(database, "m", table);
    tested.run(abort(other));
    assert_eq!(tested.refuse(commit(other, vec![])), state(other, "ABORTED", "committed"));
    assert_eq!(tested.refuse(visible(other)), state(other, "ABORTED", "made visible"));
    let unknown = TxnId(1);
    assert_eq!(tested.refuse(commit(unknown, vec![])), Error::UnknownTransaction(unknown));
}

#[test]
fn versions_become_visible_in_commit_order() {
    let (mut tested, database, table, [one, two]) = two_days();
    let [a, b, c] = ["a", "b", "c"].map(|label| tested.begin(database, label, table));
    tested.commit(b, vec![write(one[0])]);
    tested.commit(a, vec![write(one[0]), write(two[0])]);
    tested.commit(c, vec![write(two[0])]);
    let waiting = |tested: &Tested| tested.catalog.committed_transactions().map(|t| t.id).collect::<Vec<_>>();
    assert_eq!(waiting(&tested), [b, a, c]);
    assert!(matches!(tested.refuse(visible(a)), Error::NotNextVersion { version: Version(3), .. }));
    assert!(matches!(tested.refuse(visible(c)), Error::NotNextVersion { .. }));
    for (txn, left) in [(b, vec![a, c]), (a, vec![c]), (c, vec![])] {
        assert_eq!(tested.run(visible(txn)), Response::Done);
        assert_eq!(waiting(&tested), left);
    }
}

#[test]
fn a_repeated_label_returns_the_first_outcome() {
    let (mut tested, database, table, [one, _]) = two_days();
    let txn = tested.begin(database, "l", table);
    let used = |state| Response::LabelUsed { txn, state };
    assert_eq!(tested.run(begin(database, "l", table)), used(TransactionState::Prepare));
    tested.commit(txn, vec![write(one[0])]);
    tested.run(visible(txn));
    tested.run(drop_table(database, "t"));
    let finished = tested.catalog.transaction(txn).unwrap().state.clone();
    assert_eq!(tested.run(begin(database, "l", table)), used(finished));
    assert_eq!(tested.refuse(begin(database, "m", table)), Error::TableGone(table));
}

#[test]
fn labels_are_unique_in_their_database_only() {
    let (mut tested, database, table, _) = two_days();
    tested.begin(database, "l", table);
    tested.run(Operation::CreateDatabase { name: "other".to_owned(), if_not_exists: false });
    let other = tested.catalog.database("other").unwrap().id;
    assert!(matches!(tested.refuse(begin(other, "l", table)), Error::Invalid(_)));
    let table = tested.create(other, whole("t"));
    tested.begin(other, "l", table);
    assert!(matches!(tested.refuse(begin(other, "", table)), Error::Invalid(_)));
    assert!(matches!(tested.refuse(begin(DatabaseId(0), "l", table)), Error::UnknownDatabase(_)));
}

#[test]
fn the_label_of_an_aborted_load_is_free() {
    let (mut tested, database, table, _) = two_days();
    let first = tested.begin(database, "l", table);
    tested.run(abort(first));
    let second = tested.begin(database, "l", table);
    assert_ne!(first, second);
    assert_eq!(tested.catalog.transaction_by_label(database, "l").unwrap().id, second);

    // Forgetting the aborted one does not free the label of the new one.
    tested.now_ms = 500;
    tested.run(expire(100));
    assert!(tested.catalog.transaction(first).is_none());
    assert_eq!(tested.catalog.transaction_by_label(database, "l").unwrap().id, second);
}

#[test]
fn writes_are_checked() {
    let (mut tested, database, table, [one, _]) = two_days();
    let other = tested.create(database, whole("other"));
    let foreign = tested.partition(other, "other").tablets[0].id;
    let txn = tested.begin(database, "l", table);
    assert!(matches!(tested.refuse(commit(txn, vec![write(foreign)])), Error::Invalid(_)));
    assert!(matches!(tested.refuse(commit(txn, vec![write(one[0]), write(one[0])])), Error::Invalid(_)));
    assert_eq!(tested.refuse(commit(txn, vec![write(one[0]), write(TabletId(0))])), Error::TabletGone { txn });
    assert_eq!(tested.partition(table, "p1").committed_version, Version::FIRST);
    assert_eq!(tested.commit(txn, vec![]), BTreeMap::new());
    assert_eq!(tested.run(visible(txn)), Response::Done);
}

#[test]
fn an_open_load_into_a_dropped_partition_fails_at_commit() {
    let (mut tested, database, table, [one, two]) = two_days();
    let txn = tested.begin(database, "l", table);
    tested.run(drop_partition(table, "p1"));
    assert_eq!(tested.refuse(commit(txn, vec![write(one[0]), write(two[0])])), Error::TabletGone { txn });
    tested.run(drop_table(database, "t"));
    assert_eq!(tested.refuse(commit(txn, vec![])), Error::TabletGone { txn });
    assert_eq!(tested.run(abort(txn)), Response::Done);
}

#[test]
fn a_committed_load_is_finished_without_the_partitions_that_are_gone() {
    let (mut tested, database, table, [one, two]) = two_days();
    let [a, b] = ["a", "b"].map(|label| tested.begin(database, label, table));
    for txn in [a, b] {
        tested.commit(txn, vec![write(one[0]), write(two[0])]);
    }
    tested.run(drop_partition(table, "p1"));
    assert!(matches!(tested.refuse(visible(b)), Error::NotNextVersion { .. }), "p2 still has an order");
    assert_eq!(tested.run(visible(a)), Response::Done);
    assert_eq!(tested.partition(table, "p2").rows, 10);
    tested.run(drop_table(database, "t"));
    assert_eq!(tested.run(visible(b)), Response::Done);
    assert!(matches!(tested.catalog.transaction(b).unwrap().state, TransactionState::Visible { rows: 20, .. }));
}

#[test]
fn a_label_is_not_endless() {
    let (mut tested, database, table, _) = two_days();
    tested.begin(database, &"ä".repeat(128), table);
    assert!(matches!(tested.refuse(begin(database, &"a".repeat(129), table)), Error::Invalid(_)));
}

#[test]
fn a_generated_label_is_forgotten_sooner() {
    let (mut tested, database, table, _) = two_days();
    let generated = "insert_0189e2a3-7c41-7bb1-9d6e-0123456789ab";
    let labels = [generated, "insert_of_may", "insert_0189e2a3-7c41-7bb1-9d6e-0123456789ag"];
    let all = labels.map(|label| tested.begin(database, label, table));
    for txn in all {
        tested.run(abort(txn));
    }
    tested.now_ms = 51;
    tested.run(expire(100));
    let left: Vec<_> = tested.catalog.transactions.keys().copied().collect();
    assert_eq!(left, all[1..], "50 ms for a generated label, 100 ms for a client's");
}

#[test]
fn transactions_expire() {
    let (mut tested, database, table, [one, _]) = two_days();
    let [open, committed, done] = ["open", "committed", "done"].map(|l| tested.begin(database, l, table));
    tested.commit(done, vec![write(one[0])]);
    tested.run(visible(done));
    tested.commit(committed, vec![write(one[0])]);

    tested.now_ms = 999;
    tested.run(expire(5000));
    assert_eq!(tested.catalog.transaction(open).unwrap().state, TransactionState::Prepare);
    tested.now_ms = 1000;
    tested.run(expire(5000));
    assert!(matches!(tested.catalog.transaction(open).unwrap().state, TransactionState::Aborted { .. }));
    tested.now_ms = 5001;
    tested.run(expire(5000));
    assert!(tested.catalog.transaction(done).is_none());
    assert!(tested.catalog.transaction_by_label(database, "done").is_none());
    assert!(tested.catalog.transaction(open).is_some(), "aborted at 1000");
    tested.now_ms = 1_000_000;
    tested.run(expire(5000));
    let left: Vec<_> = tested.catalog.transactions.keys().copied().collect();
    assert_eq!(left, [committed], "what is committed is never given up");
}
