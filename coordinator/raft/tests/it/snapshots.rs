//! Snapshots, the log behind them, and restarts.

use tarn_catalog::Operation;
use tarn_proto::NodeId;

use super::support::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_was_away_too_long_is_brought_back_by_a_snapshot_of_many_pieces() {
    let mut cluster = Cluster::new(3).await;
    let away = cluster.follower().await;
    cluster.crash(away);
    let leader = cluster.leader().await;
    let node = &cluster.nodes[&leader];
    let database = node.create("wide").await.unwrap();
    for n in 0..4 {
        // Together more than one piece of a snapshot, on disk and on the wire.
        let operation = Operation::CreateView {
            database,
            name: format!("v{n}"),
            columns: Vec::new(),
            query: "select 1 -- ".to_owned() + &"x".repeat(900_000),
            comment: String::new(),
            or_replace: false,
            if_not_exists: false,
        };
        node.raft.propose(operation).await.unwrap();
    }
    let index = node.raft.take_snapshot().await.unwrap();
    assert!(index >= 5);
    let leading = node.raft.clone();
    eventually("the log is gone", || (leading.status().purged_index >= index).then_some(())).await;

    cluster.restart(away).await;
    cluster.agreed().await;
    assert!(cluster.nodes[&away].raft.status().snapshot_index >= index, "it was not a snapshot that brought it back");
    // It reads that snapshot itself when it starts again, alone.
    let expected = cluster.nodes[&away].raft.catalog();
    let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
    for id in ids {
        cluster.crash(id);
    }
    cluster.restart(away).await;
    assert_eq!(cluster.nodes[&away].raft.catalog().relations, expected.relations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_purged_behind_snapshots_and_restarts_lose_nothing() {
    let mut cluster = Cluster::tuned(3, |config| config.snapshot_every = 20).await;
    for n in 0..100 {
        cluster.nodes[&(n % 3 + 1)].create(format!("d{n}")).await.unwrap();
    }
    for (id, node) in &cluster.nodes {
        eventually(&format!("node {id} purges"), || {
            let status = node.raft.status();
            (status.purged_index > 40 && status.snapshot_index > status.purged_index).then_some(())
        })
        .await;
    }
    let expected = cluster.agreed().await;
    for id in 1..=3 {
        cluster.crash(id);
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    assert_eq!(cluster.agreed().await, expected);

    let address = cluster.start_stranger(4).await;
    let leader = cluster.leader().await;
    cluster.nodes[&leader].raft.add_coordinator(NodeId(4), address, false).await.unwrap();
    cluster.nodes[&4].create("after all").await.unwrap();
    assert_eq!(cluster.agreed().await.databases.len(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_taken_by_the_coordinator_that_is_asked() {
    let cluster = Cluster::new(3).await;
    cluster.nodes[&1].create("d").await.unwrap();
    cluster.agreed().await;
    let follower = cluster.follower().await;
    let raft = &cluster.nodes[&follower].raft;
    let index = raft.take_snapshot().await.unwrap();
    assert_eq!(raft.status().snapshot_index, index);
    assert_eq!(raft.take_snapshot().await.unwrap(), index, "nothing new, nothing written");
    let leader = cluster.leader().await;
    assert_eq!(cluster.nodes[&leader].raft.status().snapshot_index, 0);
}
