//! Transactions that replace partitions.

use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

/// A table of two days with ten rows in each.
fn world() -> (Tested, DatabaseId, TableId) {
    let (mut tested, database) = Tested::new();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 1), days("p2", 1, 2)]));
    let txn = tested.begin(database, "first", table);
    let writes = ["p1", "p2"].map(|p| write(tested.partition(table, p).tablets[0].id));
    tested.commit(txn, writes.to_vec());
    tested.run(visible(txn));
    (tested, database, table)
}

fn visible(txn: TxnId) -> Operation {
    Operation::MakeVisible { txn, changed: Vec::new() }
}

fn commit(txn: TxnId, writes: Vec<TabletWrite>) -> Operation {
    Operation::CommitTransaction { txn, writes }
}

fn abort(txn: TxnId) -> Operation {
    Operation::AbortTransaction { txn, reason: "a bad row".to_owned() }
}

fn id(tested: &Tested, table: TableId, partition: &str) -> PartitionId {
    tested.partition(table, partition).id
}

/// A transaction that overwrites the named partitions, and a write into the first of its shadows.
fn overwriting(tested: &mut Tested, table: TableId, label: &str, partitions: &[&str]) -> (TxnId, TabletWrite) {
    let database = tested.catalog.table_by_id(table).unwrap().database;
    let txn = tested.begin(database, label, table);
    let partitions: Vec<_> = partitions.iter().map(|p| (id(tested, table, p), None)).collect();
    let Response::Partitions(shadows) = tested.prepare(txn, &partitions, false) else { panic!("not prepared") };
    let shadow = tested.catalog.table_by_id(table).unwrap().shadows[&shadows[0]].clone();
    (txn, write(shadow.tablets[1].id))
}

fn rows(tested: &Tested, table: TableId) -> Vec<(String, u64)> {
    let table = tested.catalog.table_by_id(table).unwrap();
    let mut rows: Vec<_> = table.partitions.values().map(|p| (p.name.clone(), p.rows)).collect();
    rows.sort();
    rows
}

fn expected(p1: u64, p2: u64) -> Vec<(String, u64)> {
    vec![("p1".to_owned(), p1), ("p2".to_owned(), p2)]
}

#[test]
fn all_partitions_are_replaced_in_the_step_that_makes_the_load_visible() {
    let (mut tested, _, table) = world();
    let old: Vec<_> = tested.partition(table, "p1").tablets.iter().map(|t| t.id).collect();
    let (txn, row) = overwriting(&mut tested, table, "o", &["p1", "p2"]);
    assert_eq!(rows(&tested, table), expected(10, 10));
    tested.commit(txn, vec![row]);
    assert_eq!(rows(&tested, table), expected(10, 10), "committed is not visible");
    assert_eq!(tested.run(visible(txn)), Response::Done);
    assert_eq!(rows(&tested, table), expected(10, 0), "a partition without new rows is empty");
    assert_eq!(tested.partition(table, "p1").visible_version, Version(2));
    assert_eq!(tested.partition(table, "p1").tablets[1].rows, 10);
    assert!(tested.catalog.table_by_id(table).unwrap().shadows.is_empty());
    assert!(old.iter().all(|tablet| tested.catalog.dropped_tablets.contains_key(tablet)));
    assert_eq!(tested.run(visible(txn)), Response::Done, "it may be repeated");
}

#[test]
fn an_aborted_or_expired_overwrite_leaves_nothing() {
    let (mut tested, _, table) = world();
    let (aborted, _) = overwriting(&mut tested, table, "aborted", &["p1"]);
    let (expired, _) = overwriting(&mut tested, table, "expired", &["p1", "p2"]);
    assert_eq!(tested.catalog.table_by_id(table).unwrap().shadows.len(), 3);
    tested.run(abort(aborted));
    assert_eq!(tested.catalog.table_by_id(table).unwrap().shadows.len(), 2);
    tested.now_ms += 2000;
    tested.run(Operation::ExpireTransactions { label_retention_ms: 1, generated_retention_ms: 1 });
    assert!(matches!(tested.catalog.transaction(expired).unwrap().state, TransactionState::Aborted { .. }));
    assert!(tested.catalog.table_by_id(table).unwrap().shadows.is_empty());
    assert_eq!(rows(&tested, table), expected(10, 10));
    let table = tested.catalog.table_by_id(table).unwrap();
    assert_eq!(tested.catalog.tablets.len(), table.tablets().count());
}

#[test]
fn preparing_may_be_repeated_and_goes_on() {
    let (mut tested, database, table) = world();
    let txn = tested.begin(database, "o", table);
    let [p1, p2] = ["p1", "p2"].map(|p| (id(&tested, table, p), None));
    let first = tested.prepare(txn, &[p1], false);
    assert_eq!(tested.prepare(txn, &[p1], false), first);
    let Response::Partitions(both) = tested.prepare(txn, &[p1, p2], false) else { panic!("not prepared") };
    assert_eq!(first, Response::Partitions(vec![both[0]]));
    assert_eq!(tested.catalog.table_by_id(table).unwrap().shadows.len(), 2);
}

#[test]
fn a_load_that_commits_after_an_overwrite_of_its_partition_is_refused() {
    let (mut tested, database, table) = world();
    let load = tested.begin(database, "load", table);
    let [one, two] = ["p1", "p2"].map(|p| tested.partition(table, p).tablets[0].id);
    let (txn, row) = overwriting(&mut tested, table, "o", &["p1"]);
    tested.commit(txn, vec![row]);
    let refused = tested.refuse(commit(load, vec![write(one), write(two)]));
    let overwritten =
        Error::PartitionOverwritten { table: "t".to_owned(), partition: "p1".to_owned(), txn: load, by: txn };
    assert_eq!(refused, overwritten);
    tested.run(visible(txn));
    assert_eq!(tested.refuse(commit(load, vec![write(one)])), Error::TabletGone { txn: load });
    tested.commit(load, vec![write(two)]);
}

#[test]
fn a_load_that_committed_before_an_overwrite_is_overwritten() {
    let (mut tested, database, table) = world();
    let load = tested.begin(database, "load", table);
    let writes = ["p1", "p2"].map(|p| write(tested.partition(table, p).tablets[0].id));
    tested.commit(load, writes.to_vec());
    let (txn, row) = overwriting(&mut tested, table, "o", &["p1"]);
    tested.commit(txn, vec![row]);
    assert_eq!(tested.run(visible(txn)), Response::Done);
    assert_eq!(rows(&tested, table), expected(10, 10));
    assert_eq!(tested.run(visible(load)), Response::Done);
    assert_eq!(rows(&tested, table), expected(10, 20));
}

#[test]
fn of_two_overwrites_of_one_partition_the_second_to_commit_is_refused() {
    let (mut tested, _, table) = world();
    let (first, row) = overwriting(&mut tested, table, "first o", &["p1"]);
    let (second, other) = overwriting(&mut tested, table, "second o", &["p1", "p2"]);
    tested.commit(first, vec![row]);
    let refused = tested.refuse(commit(second, vec![other.clone()]));
    assert!(matches!(refused, Error::PartitionOverwritten { by, .. } if by == first));
    tested.run(visible(first));
    let gone = Error::OverwrittenPartitionGone { table: "t".to_owned(), txn: second };
    assert_eq!(tested.refuse(commit(second, vec![other])), gone);
    assert_eq!(tested.run(abort(second)), Response::Done);
    assert_eq!(rows(&tested, table), expected(10, 10));
}

#[test]
fn an_overwrite_from_the_table_itself_is_refused_when_somebody_loaded_it_meanwhile() {
    let (mut tested, database, table) = world();
    let p1 = id(&tested, table, "p1");
    let [stale, fresh, load] = ["stale", "fresh", "load"].map(|label| tested.begin(database, label, table));
    tested.prepare(stale, &[(p1, Some(Version(2)))], false);
    tested.prepare(fresh, &[(p1, Some(Version(3)))], false);
    tested.commit(load, vec![write(tested.partition(table, "p1").tablets[0].id)]);
    // Committed and not visible counts as well: nobody can have read it.
    let refused = tested.refuse(commit(stale, vec![]));
    let loaded = Error::ReadPartitionLoaded { table: "t".to_owned(), partition: "p1".to_owned(), txn: stale };
    assert_eq!(refused, loaded);
    tested.run(visible(load));
    tested.commit(fresh, vec![]);
}

#[test]
fn a_partition_that_goes_before_the_commit_refuses_it_and_later_takes_the_rows_along() {
    let (mut tested, _, table) = world();
    let truncate = |partition: &str| Operation::TruncateTable {
        table,
        partitions: vec![partition.to_owned()],
        placement: placement(),
    };
    let (early, row) = overwriting(&mut tested, table, "early", &["p1"]);
    tested.run(truncate("p1"));
    assert!(matches!(tested.refuse(commit(early, vec![row])), Error::OverwrittenPartitionGone { .. }));
    tested.run(abort(early));

    let (late, row) = overwriting(&mut tested, table, "late", &["p1"]);
    tested.commit(late, vec![row.clone()]);
    tested.run(truncate("p1"));
    assert_eq!(tested.run(visible(late)), Response::Done);
    assert_eq!(rows(&tested, table), expected(0, 10));
    assert!(tested.catalog.dropped_tablets.contains_key(&row.tablet));
}

#[test]
fn a_table_that_is_overwritten_as_a_whole_gets_no_partition_before_the_commit() {
    let (mut tested, database, table) = world();
    let txn = tested.begin(database, "o", table);
    let all = |tested: &Tested| {
        let table = tested.catalog.table_by_id(table).unwrap();
        table.partitions.keys().map(|id| (*id, None)).collect::<Vec<_>>()
    };
    let partitions = all(&tested);
    tested.prepare(txn, &partitions, true);
    tested.run(Operation::AddPartitions {
        table,
        partitions: vec![days("p3", 5, 6)],
        fail_if_exists: true,
        placement: placement(),
    });
    assert!(
        matches!(tested.refuse(commit(txn, vec![])), Error::PartitionAddedMeanwhile { partition, .. } if partition == "p3")
    );
    let partitions = all(&tested);
    tested.prepare(txn, &partitions, true);
    // What is dropped before the commit, and has no new rows, is not missed.
    tested.run(Operation::DropPartitions { table, names: vec!["p2".to_owned()], temporary: false, if_exists: false });
    tested.commit(txn, vec![]);
    tested.run(visible(txn));
    assert_eq!(rows(&tested, table), [("p1".to_owned(), 0), ("p3".to_owned(), 0)]);
}

#[test]
fn a_renamed_partition_keeps_its_new_name_and_a_temporary_one_its_place() {
    let (mut tested, database, table) = world();
    tested.run(Operation::AddTemporaryPartitions { table, partitions: vec![days("tp", 0, 1)], placement: placement() });
    let tp = tested.catalog.table_by_id(table).unwrap().temporary_partition("tp").unwrap().id;
    let txn = tested.begin(database, "o", table);
    let p1 = id(&tested, table, "p1");
    tested.prepare(txn, &[(p1, None), (tp, None)], false);
    tested.run(Operation::RenamePartition { table, name: "p1".to_owned(), new_name: "first".to_owned() });
    tested.commit(txn, vec![]);
    tested.run(visible(txn));
    assert_eq!(rows(&tested, table), [("first".to_owned(), 0), ("p2".to_owned(), 10)]);
    let changed = tested.catalog.table_by_id(table).unwrap();
    assert!(changed.temporary_partition("tp").is_some_and(|p| p.id != tp));
}

#[test]
fn only_what_was_prepared_can_be_written() {
    let (mut tested, database, table) = world();
    let (txn, row) = overwriting(&mut tested, table, "o", &["p1"]);
    let p2 = write(tested.partition(table, "p2").tablets[0].id);
    assert!(matches!(tested.refuse(commit(txn, vec![row.clone(), p2])), Error::Invalid(_)));
    let plain = tested.begin(database, "plain", table);
    assert!(matches!(tested.refuse(commit(plain, vec![row])), Error::Invalid(_)));
    let unknown = PartitionId(1);
    let gone = tested.prepare(txn, &[(unknown, None)], false);
    assert!(matches!(gone, Response::Refused(Error::OverwrittenPartitionGone { .. })));
    tested.run(abort(txn));
    let over = tested.prepare(txn, &[], false);
    assert!(matches!(over, Response::Refused(Error::TransactionState { .. })));
}

#[test]
fn dropping_the_table_takes_the_shadows_along() {
    let (mut tested, database, table) = world();
    let (open, _) = overwriting(&mut tested, table, "open", &["p1"]);
    let (committed, row) = overwriting(&mut tested, table, "committed", &["p2"]);
    tested.commit(committed, vec![row]);
    tested.run(drop_table(database, "t"));
    assert!(tested.catalog.tablets.is_empty());
    assert_eq!(tested.run(visible(committed)), Response::Done);
    assert_eq!(tested.run(abort(open)), Response::Done);
}

#[test]
fn rows_that_come_from_a_partition_which_is_gone_replace_nothing() {
    let (mut tested, database, table) = world();
    let p1 = id(&tested, table, "p1");
    let p2 = id(&tested, table, "p2");
    let read = [(p1, Some(Version(2))), (p2, Some(Version(2)))];
    let drop = Operation::DropPartitions { table, names: vec!["p2".to_owned()], temporary: false, if_exists: false };
    let [early, late] = ["early", "late"].map(|label| tested.begin(database, label, table));
    tested.prepare(early, &read, true);
    assert_eq!(tested.run(drop), Response::Done);
    let gone = |txn| Error::OverwrittenPartitionGone { table: "t".to_owned(), txn };
    assert_eq!(tested.refuse(commit(early, vec![])), gone(early));
    assert_eq!(tested.prepare(late, &read, true), Response::Refused(gone(late)));
    assert_eq!(rows(&tested, table), [("p1".to_owned(), 10)]);
}
