//! Tables of three replicas, while their nodes fail at any step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tarn_catalog::{Operation, Partitioning, ReplicaState, TransactionState};
use tarn_ingest::{CatalogClient, Error, Pace, Publisher};
use tarn_proto::{DatabaseId, ErrorKind, NodeId, TableId, TxnId};
use tokio_util::sync::CancellationToken;

use super::disk::Trouble;
use super::loads::{LONG, new_load, visible_rows, write};
use super::world::{Fault, World};

/// Long enough for tasks of this process, short enough for many cases.
const PACE: Pace = Pace {
    retry: Duration::from_millis(2),
    for_current: Duration::from_millis(20),
    for_laggards: Duration::from_millis(5),
};

/// Publishes until it is dropped.
struct Leading(CancellationToken);

impl Leading {
    fn new(world: &Arc<World>) -> Self {
        let cancel = CancellationToken::new();
        let publisher = Publisher::new(world.clone(), world.stores()).paced(PACE);
        let stop = cancel.clone();
        drop(tarn_proto::task::spawn("publisher", async move { publisher.run(stop).await }));
        Self(cancel)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn away(world: &World, node: NodeId, away: bool) {
    world.network.disk(node).away.store(away, Ordering::SeqCst);
}

/// Loads rows of keys `0..rows`, and tells whether that was acknowledged. `wait`: for the rows to be visible.
async fn load(
    world: &Arc<World>,
    table: (DatabaseId, TableId),
    rows: i32,
    wait: Duration,
) -> Result<TxnId, (TxnId, Error)> {
    let label = format!("l{}", world.catalog().last_id);
    let load = new_load(world, table, &label).await;
    let txn = load.txn();
    let written = write(world, &load, table.1, (0..rows).map(|key| (key, 0)).collect()).await;
    let done = match written {
        Ok(()) => load.commit(wait).await.map(|_| ()),
        Err(error) => {
            load.abort("a producer failed").await;
            Err(error)
        }
    };
    done.map(|()| txn).map_err(|error| (txn, error))
}

/// Waits until all that is committed is visible and every replica is current.
async fn settled(world: &World) {
    let settle = async {
        loop {
            let behind = world.repair().await;
            if !behind && world.catalog().committed.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, settle).await.expect("replicas catch up and loads become visible");
}

/// Rows by transaction on each node, and nothing else: replicas are equal, and nobody holds rows that are not published.
fn published(world: &World, table: TableId) -> BTreeMap<TxnId, u64> {
    let tablets: Vec<_> = world.current(table).tablets().map(|(_, _, tablet)| tablet.id).collect();
    let on = |node: NodeId| {
        let disk = world.network.disk(node);
        let mut rows: BTreeMap<TxnId, u64> = BTreeMap::new();
        for (txn, count) in tablets.iter().flat_map(|tablet| disk.history(*tablet)).flatten() {
            *rows.entry(txn).or_default() += count;
        }
        rows
    };
    let all: Vec<_> = world.nodes.iter().map(|node| on(*node)).collect();
    assert!(all.windows(2).all(|two| two[0] == two[1]), "replicas differ: {all:?}");
    all.into_iter().next().unwrap()
}

fn states(world: &World, table: TableId, node: NodeId) -> Vec<ReplicaState> {
    let table = world.current(table);
    table.tablets().filter_map(|(_, _, tablet)| tablet.replica(node)).map(|replica| replica.state).collect()
}

#[tokio::test]
async fn every_replica_holds_what_was_loaded() {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 6);
    let _leading = Leading::new(&world);
    let txn = load(&world, table, 100, LONG).await.unwrap();
    assert_eq!(visible_rows(&world, table.1), 100);
    assert_eq!(published(&world, table.1), [(txn, 100)].into());
    // Each node was the primary of some tablets.
    assert!(world.network.disks().iter().all(|disk| disk.finished.lock().contains(&txn)));
}

#[tokio::test]
async fn a_node_that_is_away_when_a_load_begins_is_left_out() {
    for silent in [false, true] {
        let world = World::of(3);
        let table = world.table(Partitioning::None, vec![], 6);
        let _leading = Leading::new(&world);
        let lost = world.nodes[1];
        away(&world, lost, true);
        if silent {
            world.silent.lock().insert(lost);
        }
        let txn = load(&world, table, 100, LONG).await.unwrap();
        assert_eq!(visible_rows(&world, table.1), 100, "it is visible without the node");
        assert!(states(&world, table.1, lost).iter().all(|state| *state == ReplicaState::Behind));
        away(&world, lost, false);
        world.silent.lock().clear();
        settled(&world).await;
        assert_eq!(published(&world, table.1), [(txn, 100)].into());
    }
}

#[tokio::test]
async fn a_primary_that_is_lost_in_the_middle_fails_the_load_by_name_and_leaves_nothing() {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 6);
    let _leading = Leading::new(&world);
    let loading = new_load(&world, table, "lost").await;
    write(&world, &loading, table.1, (0..100).map(|key| (key, 0)).collect()).await.unwrap();
    away(&world, world.nodes[2], true);
    let error = loading.commit(LONG).await.unwrap_err();
    assert!(error.kind().is_retryable(), "{error}");
    assert!(tarn_proto::error::chain(&error).contains(&world.nodes[2].to_string()), "{error}");
    // Repeated, it goes on without the node.
    let txn = load(&world, table, 100, LONG).await.unwrap();
    away(&world, world.nodes[2], false);
    settled(&world).await;
    assert_eq!(published(&world, table.1), [(txn, 100)].into());
}

#[tokio::test]
async fn a_load_that_too_few_nodes_could_hold_is_refused_with_those_that_are_away() {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 1);
    // As the cluster knows, and as it does not know yet.
    world.silent.lock().extend(&world.nodes[1..]);
    let (_, error) = load(&world, table, 10, LONG).await.unwrap_err();
    assert!(matches!(error, Error::NoQuorum { members: 3, needed: 2, .. }), "{error}");
    assert!(error.to_string().contains(&format!("{} at", world.nodes[1])), "{error}");
    world.silent.lock().clear();
    world.nodes[1..].iter().for_each(|node| away(&world, *node, true));
    let (txn, error) = load(&world, table, 10, LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let state = world.catalog().transactions[&txn].state.clone();
    assert!(matches!(state, TransactionState::Aborted { .. }), "{state:?}");
    assert!(!world.disk.has_pending(), "nothing of it stays");
}

#[tokio::test]
async fn rows_that_only_a_replica_that_is_behind_holds_are_published_from_it() {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 1);
    let leading = Leading::new(&world);
    let probe = load(&world, table, 5, LONG).await.unwrap();
    // Who writes this tablet, and the other two.
    let primary = world.network.disks().into_iter().find(|disk| disk.finished.lock().contains(&probe)).unwrap().node;
    let others: Vec<NodeId> = world.nodes.iter().copied().filter(|node| *node != primary).collect();
    let (lacking, behind) = (others[0], others[1]);
    away(&world, behind, true);
    let before = load(&world, table, 7, LONG).await.unwrap();
    assert_eq!(states(&world, table.1, behind), [ReplicaState::Behind]);
    drop(leading);
    // The second load is on its primary and on the replica that lacks the first.
    away(&world, behind, false);
    world.network.disk(lacking).trouble.lock().push_back(Trouble::Refused);
    let only_there = load(&world, table, 9, Duration::ZERO).await.unwrap();
    away(&world, primary, true);
    let _leading = Leading::new(&world);
    let mut changes = world.changes();
    let visible = async {
        while visible_rows(&world, table.1) != 21 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, visible).await.expect("two of three replicas are enough");
    away(&world, primary, false);
    settled(&world).await;
    assert_eq!(published(&world, table.1), [(probe, 5), (before, 7), (only_there, 9)].into());
}

const fn is_visible(operation: &Operation) -> bool {
    matches!(operation, Operation::MakeVisible { .. })
}

#[tokio::test]
async fn another_leader_goes_on_where_one_stopped() {
    for fault in [|| Fault::Lost, || Fault::Unanswered] {
        let world = World::of(3);
        let table = world.table(Partitioning::None, vec![], 3);
        world.faults.lock().push((is_visible, fault()));
        let leading = Leading::new(&world);
        let first = load(&world, table, 10, Duration::ZERO).await.unwrap();
        let asked = async {
            while !world.faults.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, asked).await.unwrap();
        drop(leading);
        let _leading = Leading::new(&world);
        let second = load(&world, table, 20, LONG).await.unwrap();
        settled(&world).await;
        assert_eq!(visible_rows(&world, table.1), 30);
        assert_eq!(published(&world, table.1), [(first, 10), (second, 20)].into());
    }
}

#[tokio::test]
async fn a_node_that_hangs_delays_nobody_and_collects_no_calls() {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 2);
    let _leading = Leading::new(&world);
    let stuck = world.network.disk(world.nodes[1]);
    stuck.hangs.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        load(&world, table, 1, LONG).await.unwrap();
    }
    assert_eq!(visible_rows(&world, table.1), 100);
    let most = stuck.most_hanging.load(Ordering::SeqCst);
    assert!((1..=64).contains(&most), "{most} calls");
}

#[tokio::test]
async fn a_partition_that_is_dropped_before_it_is_visible_holds_up_nothing() {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 2);
    let dropped = load(&world, table, 10, Duration::ZERO).await.unwrap();
    let truncate =
        Operation::TruncateTable { table: table.1, partitions: vec![], placement: world.nodes.clone().into() };
    world.apply(truncate).unwrap();
    away(&world, world.nodes[0], true);
    let _leading = Leading::new(&world);
    load(&world, table, 20, LONG).await.unwrap();
    assert_eq!(visible_rows(&world, table.1), 20);
    let state = world.catalog().transactions[&dropped].state.clone();
    assert!(matches!(state, TransactionState::Visible { .. }), "{state:?}");
}

/// What goes wrong around one load.
#[derive(Clone, Debug)]
struct Round {
    rows: i32,
    /// A node that is away while it runs, and whether that is known.
    away: Option<(usize, bool)>,
    /// What becomes of each node's next calls.
    trouble: Vec<Vec<Trouble>>,
    /// Another coordinator leads from here on.
    new_leader: bool,
    /// Replicas that are behind are brought up before the next load.
    repair: bool,
}

fn round() -> impl Strategy<Value = Round> {
    let trouble = prop_oneof![6 => Just(Trouble::None), 1 => Just(Trouble::Refused), 1 => Just(Trouble::Unanswered)];
    let calls = prop::collection::vec(trouble, 0..8);
    let away = prop::option::of((0usize..3, any::<bool>()));
    (1i32..40, away, prop::collection::vec(calls, 3), any::<bool>(), any::<bool>())
        .prop_map(|(rows, away, trouble, new_leader, repair)| Round { rows, away, trouble, new_leader, repair })
}

async fn run(rounds: Vec<Round>) {
    let world = World::of(3);
    let table = world.table(Partitioning::None, vec![], 4);
    let mut leading = Leading::new(&world);
    let mut acknowledged = BTreeMap::new();
    for Round { rows, away: lost, trouble, new_leader, repair } in rounds {
        for (node, trouble) in world.nodes.iter().zip(trouble) {
            *world.network.disk(*node).trouble.lock() = trouble.into();
        }
        if let Some((node, known)) = lost {
            away(&world, world.nodes[node], true);
            if known {
                world.silent.lock().insert(world.nodes[node]);
            }
        }
        match load(&world, table, rows, Duration::from_millis(5)).await {
            Ok(txn) => {
                acknowledged.insert(txn, rows as u64);
            }
            Err((_, error)) => assert!(error.kind().is_retryable(), "{error}"),
        }
        if new_leader {
            leading = Leading::new(&world);
        }
        if let Some((node, _)) = lost {
            away(&world, world.nodes[node], false);
            world.silent.lock().clear();
        }
        if repair {
            world.repair().await;
        }
    }
    world.network.disks().iter().for_each(|disk| disk.trouble.lock().clear());
    settled(&world).await;
    assert_eq!(published(&world, table.1), acknowledged, "what was acknowledged, once, and nothing else");
    assert_eq!(visible_rows(&world, table.1), acknowledged.values().sum::<u64>());
    drop(leading);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_acknowledged_is_on_every_replica_once_whatever_fails(rounds in prop::collection::vec(round(), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(rounds));
    }
}
