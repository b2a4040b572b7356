//! Coordinators come and go.

use tarn_proto::NodeId;
use tarn_raft::Error;

use super::support::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_is_added_catches_up_is_promoted_and_votes() {
    let mut cluster = Cluster::new(1).await;
    cluster.nodes[&1].create("before").await.unwrap();
    let address = cluster.start_stranger(2).await;
    let raft = cluster.nodes[&1].raft.clone();

    raft.add_coordinator(NodeId(2), address.clone(), false).await.unwrap();
    assert_eq!(raft.status().observers, [(NodeId(2), address.clone())].into());
    cluster.agreed().await;
    cluster.nodes[&2].create("through the observer").await.unwrap();
    // Again, and it stays.
    raft.add_coordinator(NodeId(2), address.clone(), false).await.unwrap();

    raft.add_coordinator(NodeId(2), address.clone(), true).await.unwrap();
    assert_eq!(raft.status().voters.keys().copied().collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
    raft.add_coordinator(NodeId(2), address, true).await.unwrap();
    assert_eq!(raft.transfer_leadership(Some(NodeId(2))).await.unwrap(), NodeId(2));
    cluster.nodes[&1].create("led by the new one").await.unwrap();
    assert_eq!(cluster.agreed().await.databases.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_voter_is_replaced_by_another_coordinator() {
    let mut cluster = Cluster::new(3).await;
    let dead = cluster.follower().await;
    cluster.crash(dead);
    let leader = cluster.leader().await;
    let raft = cluster.nodes[&leader].raft.clone();
    raft.remove_coordinator(NodeId(dead)).await.unwrap();
    let address = cluster.start_stranger(4).await;
    raft.add_coordinator(NodeId(4), address, true).await.unwrap();
    let voters: Vec<u64> = raft.status().voters.keys().map(|id| id.get()).collect();
    let expected: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != dead).collect();
    assert_eq!(voters, expected);
    // The new one is part of the majority now.
    cluster.crash(leader);
    let next = cluster.leader().await;
    cluster.nodes[&next].create("by two of three").await.unwrap();
    cluster.agreed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_remove_itself() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let raft = cluster.nodes[&leader].raft.clone();
    raft.remove_coordinator(NodeId(leader)).await.unwrap();
    eventually("it leads no more", || (!raft.leadership().borrow().is_self).then_some(())).await;
    cluster.crash(leader);
    let next = cluster.leader().await;
    cluster.nodes[&next].create("without it").await.unwrap();
    assert!(!cluster.nodes[&next].raft.status().voters.contains_key(&NodeId(leader)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_changes_of_the_members_are_refused() {
    let cluster = Cluster::new(1).await;
    cluster.leader().await;
    let raft = &cluster.nodes[&1].raft;
    let unknown = raft.remove_coordinator(NodeId(5)).await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownCoordinator(NodeId(5))), "{unknown}");
    let last = raft.remove_coordinator(NodeId(1)).await.unwrap_err();
    assert!(last.to_string().contains("last voter"), "{last}");
    let moved = raft.add_coordinator(NodeId(1), "127.0.0.1:1".to_owned(), true).await.unwrap_err();
    assert!(moved.to_string().contains("remove it first"), "{moved}");
    let demoted = raft.add_coordinator(NodeId(1), cluster.nodes[&1].address.clone(), false).await.unwrap_err();
    assert!(demoted.to_string().contains("is a voter"), "{demoted}");
    let malformed = raft.add_coordinator(NodeId(2), "nonsense address".to_owned(), true).await.unwrap_err();
    assert!(matches!(malformed, Error::Address(_)), "{malformed}");
    assert_eq!(raft.status().voters.len() + raft.status().observers.len(), 1);
}
