//! Changing and reading the catalog through any coordinator.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tarn_catalog::Response;
use tarn_proto::ErrorKind;
use tarn_raft::{Error, MAX_COMMAND_BYTES};

use super::support::{Cluster, PATIENCE, POLL, command, create, names};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_through_any_coordinator_is_seen_there_at_once_and_everywhere_by_a_linearizable_read() {
    let cluster = Cluster::new(3).await;
    for round in 0..10 {
        for (id, node) in &cluster.nodes {
            let name = format!("d{round}_{id}");
            node.create(&name).await.unwrap();
            assert!(names(&node.raft.catalog()).contains(&name), "the proposer reads its own change");
            for other in cluster.nodes.values() {
                assert!(names(&other.raft.linearizable_catalog().await.unwrap()).contains(&name));
            }
        }
    }
    assert_eq!(cluster.agreed().await.databases.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_arrives_as_such_through_any_coordinator() {
    let cluster = Cluster::new(3).await;
    cluster.nodes[&1].create("sales").await.unwrap();
    for node in cluster.nodes.values() {
        let error = node.create("sales").await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)) && error.kind() == ErrorKind::AlreadyExists, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_answers_were_lost_happens_once() {
    let cluster = Cluster::new(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    cluster.nodes[&leader].lose_answers.store(3, Ordering::SeqCst);
    let id = cluster.nodes[&follower].create("once").await.unwrap();
    assert_eq!(cluster.nodes[&leader].lose_answers.load(Ordering::SeqCst), 0);
    let catalog = cluster.agreed().await;
    assert_eq!(catalog.databases.keys().copied().collect::<Vec<_>>(), [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_repeated_at_the_next_leader_is_answered_from_memory() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let first = cluster.nodes[&leader].raft.propose_here(command(7, create("once"))).await.unwrap();
    cluster.crash(leader);
    let next = cluster.leader().await;
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(POLL);
    // Who the others take for the leader may be still on its way to be one.
    let again = loop {
        poll.tick().await;
        match cluster.nodes[&next].raft.propose_here(command(7, create("once"))).await {
            Ok(again) => break again,
            Err(error @ Error::NotLeader { .. }) => assert!(Instant::now() < deadline, "{error}"),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(first.0, again.0);
    assert!(first.1 < again.1);
    let other = cluster.nodes[&next].raft.propose_here(command(8, create("once"))).await.unwrap();
    assert!(matches!(other.0, Response::Refused(_)));
    assert_eq!(cluster.agreed().await.databases.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_refuses_to_propose_itself_and_names_the_leader() {
    let cluster = Cluster::new(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let node = &cluster.nodes[&follower];
    let address = &cluster.nodes[&leader].address;
    for error in [
        node.raft.propose_here(command(1, create("x"))).await.unwrap_err(),
        node.raft.read_index().await.unwrap_err(),
        node.raft.transfer_leadership(None).await.unwrap_err(),
    ] {
        match error {
            Error::NotLeader { leader: Some((id, at)) } => assert_eq!((id.get(), &at), (leader, address)),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_too_large_is_refused_and_the_largest_one_is_not() {
    let cluster = Cluster::new(3).await;
    let follower = cluster.follower().await;
    let error = cluster.nodes[&follower].create("x".repeat(MAX_COMMAND_BYTES + 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // Refused or not is the catalog's business; it must be able to cross the wire and the log.
    match cluster.nodes[&follower].create("x".repeat(MAX_COMMAND_BYTES - 1000)).await {
        Ok(_) | Err(Error::Refused(_)) => {}
        Err(other) => panic!("{other}"),
    }
    cluster.agreed().await;
}
