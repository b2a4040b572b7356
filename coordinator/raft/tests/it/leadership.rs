//! Elections, loss of the leader, and handing over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tarn_proto::{NodeId, task};
use tarn_raft::{CatalogRaft, Config, Error, Timing};
use tokio::task::JoinHandle;

use super::support::{Cluster, command, create, eventually, names, throughout};

/// Nobody is elected by time: whoever follows a leader was made one by it.
fn no_elections(config: &mut Config) {
    config.timing.election_min = Duration::from_secs(100);
    config.timing.election_max = Duration::from_secs(200);
}

type Writer = JoinHandle<BTreeSet<String>>;

/// Starts writers at each of `nodes`, which write until `stop`.
fn write(nodes: Vec<(u64, CatalogRaft)>, stop: &Arc<AtomicBool>) -> Vec<Writer> {
    let lanes = nodes.into_iter().flat_map(|(id, raft)| (0..4).map(move |lane| (id, lane, raft.clone())));
    lanes
        .map(|(id, lane, raft)| {
            let stop = stop.clone();
            task::spawn("writer", async move {
                let mut acknowledged = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("d{id}_{lane}_{}", acknowledged.len());
                    raft.propose(create(&name)).await.unwrap();
                    acknowledged.insert(name);
                }
                acknowledged
            })
        })
        .collect()
}

/// What they were told is written.
async fn collect(writers: Vec<Writer>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.append(&mut writer.await.unwrap());
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_leader_stops_no_writer_and_loses_nothing_acknowledged() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let stop = Arc::new(AtomicBool::new(false));
    let others = cluster.nodes.iter().filter(|(id, _)| **id != leader);
    let writers = write(others.map(|(id, node)| (*id, node.raft.clone())).collect(), &stop);
    let survivor = cluster.follower().await;
    let seen = cluster.nodes[&survivor].raft.clone();
    eventually("writing has begun", || (seen.catalog().databases.len() > 40).then_some(())).await;

    let crashed = Instant::now();
    cluster.crash(leader);
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    let before = seen.catalog().databases.len();
    eventually("writing goes on", || (seen.catalog().databases.len() > before + 40).then_some(())).await;
    assert!(crashed.elapsed() < Duration::from_secs(10), "took {:?}", crashed.elapsed());

    stop.store(true, Ordering::Relaxed);
    let acknowledged = collect(writers).await;
    cluster.restart(leader).await;
    assert_eq!(names(&cluster.agreed().await), acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_it_is_told_under_the_hands_of_writers() {
    let cluster = Cluster::grown(3, no_elections).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = write(cluster.nodes.iter().map(|(id, node)| (*id, node.raft.clone())).collect(), &stop);
    let seen = cluster.nodes[&1].raft.clone();
    for round in 0..6 {
        let before = seen.catalog().databases.len();
        eventually("writing goes on", || (seen.catalog().databases.len() > before + 20).then_some(())).await;
        let leader = cluster.leader().await;
        let to = cluster.nodes.keys().copied().filter(|id| *id != leader).nth(round % 2).unwrap();
        let raft = &cluster.nodes[&leader].raft;
        assert_eq!(raft.transfer_leadership(Some(NodeId(to))).await.unwrap(), NodeId(to));
        assert_eq!(cluster.leader().await, to);
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = collect(writers).await;
    assert_eq!(names(&cluster.agreed().await), acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_not_handed_to_who_cannot_take_it() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let raft = cluster.nodes[&leader].raft.clone();
    let error = raft.transfer_leadership(Some(NodeId(9))).await.unwrap_err();
    assert!(matches!(error, Error::UnknownCoordinator(NodeId(9))), "{error}");

    let dead = cluster.follower().await;
    cluster.crash(dead);
    let alive = cluster.follower().await;
    let silence = Timing::default().election_max * 2;
    throughout(silence, || assert!(raft.leadership().borrow().is_self)).await;
    let error = raft.transfer_leadership(Some(NodeId(dead))).await.unwrap_err();
    assert!(matches!(error, Error::Membership(_)), "{error}");
    assert_eq!(raft.transfer_leadership(None).await.unwrap(), NodeId(alive));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shuts_down_hands_over_first_and_its_directory_can_be_opened_at_once() {
    let mut cluster = Cluster::grown(3, no_elections).await;
    let leader = cluster.leader().await;
    cluster.nodes[&leader].create("before").await.unwrap();
    cluster.nodes[&leader].raft.shutdown().await;
    assert!(!cluster.nodes[&leader].leads());
    let stopped = cluster.nodes[&leader].raft.stopped().await;
    assert!(matches!(stopped, Error::Stopped { .. }), "{stopped}");
    cluster.crash(leader);
    let next = cluster.leader().await;
    cluster.nodes[&next].create("after").await.unwrap();
    cluster.restart(leader).await;
    assert_eq!(cluster.agreed().await.databases.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_shuts_down_without_an_heir() {
    let mut cluster = Cluster::new(1).await;
    cluster.nodes[&1].create("kept").await.unwrap();
    let asked = Instant::now();
    cluster.nodes[&1].raft.shutdown().await;
    assert!(asked.elapsed() < Duration::from_secs(3), "took {:?}", asked.elapsed());
    cluster.crash(1);
    cluster.restart(1).await;
    assert_eq!(cluster.agreed().await.databases.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_hears_nobody_neither_raises_the_term_nor_unseats_the_leader_when_it_is_back() {
    let mut cluster = Cluster::new(3).await;
    let (leader, deaf) = (cluster.leader().await, cluster.follower().await);
    let term = cluster.nodes[&leader].raft.status().term;
    cluster.nodes.get_mut(&deaf).unwrap().cut_off();
    let raft = cluster.nodes[&deaf].raft.clone();
    throughout(Timing::default().election_max * 4, || assert_eq!(raft.status().term, term)).await;
    cluster.nodes[&leader].create("meanwhile").await.unwrap();
    cluster.nodes.get_mut(&deaf).unwrap().reconnect().await;
    cluster.agreed().await;
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.nodes[&leader].raft.status().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_reaches_nobody_confirms_neither_reads_nor_writes() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.nodes[&leader].create("before").await.unwrap();
    let others: Vec<u64> = cluster.nodes.keys().copied().filter(|id| *id != leader).collect();
    for id in &others {
        cluster.nodes.get_mut(id).unwrap().cut_off();
    }
    let raft = cluster.nodes[&leader].raft.clone();
    let error = raft.read_index().await.unwrap_err();
    assert!(matches!(error, Error::NoQuorum | Error::NotLeader { .. }), "{error}");
    let write = tokio::time::timeout(Duration::from_secs(3), raft.propose_here(command(1, create("alone")))).await;
    assert!(!matches!(write, Ok(Ok(_))), "acknowledged without a majority");

    for id in &others {
        cluster.nodes.get_mut(id).unwrap().reconnect().await;
    }
    cluster.nodes[&leader].create("after").await.unwrap();
    let names = names(&cluster.agreed().await);
    assert!(names.contains("before") && names.contains("after"), "{names:?}");
}
