//! Several coordinators, and nodes that register with them.

use std::net::SocketAddr;

use tarn_ingest::CatalogClient;
use tarn_proto::wire::admin_service_client::AdminServiceClient;
use tarn_proto::wire::coordinator_service_server::CoordinatorService;
use tarn_proto::wire::{AddCoordinatorRequest, RegisterRequest, RemoveCoordinatorRequest};
use tarn_proto::{channel, task};
use tempfile::TempDir;
use tonic::Request;

use super::*;
use crate::processes::Processes;
use crate::services::CoordinatorServer;

/// Given to everything that must happen at last, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    while !holds() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        poll.tick().await;
    }
}

fn config(id: u64, voters: &BTreeMap<String, String>, data: &TempDir) -> Config {
    Config {
        node_id: id,
        data: data.path().into(),
        listen: voters[&id.to_string()].parse().unwrap(),
        flight: SocketAddr::from(([127, 0, 0, 1], 0)),
        initial_voters: voters.clone(),
        cache_memory_bytes: 16 << 20,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_lost_its_data_comes_back_only_by_being_removed_and_added() {
    let free: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let voters: BTreeMap<String, String> =
        (1..).zip(&free).map(|(id, l): (u64, _)| (id.to_string(), l.local_addr().unwrap().to_string())).collect();
    drop(free);
    let folders: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |id: u64, data: &TempDir| Coordinator::start(config(id, &voters, data), StorePool::default());

    // Two form the cluster, the third comes when it is at work.
    let (one, two) = tokio::join!(start(1, &folders[0]), start(2, &folders[1]));
    let (one, two) = (one.unwrap(), two.unwrap());
    let registered = |id: u64| one.catalog().catalog().nodes.contains_key(&NodeId(id));
    eventually("the first two have registered", || registered(1) && registered(2)).await;
    let three = start(3, &folders[2]).await.unwrap();
    eventually("the third has registered", || registered(3)).await;
    three.shutdown().await;

    let emptied = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let error = start(3, &emptied).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("remove-coordinator 3") && text.contains("add-coordinator 3"), "{text}");
    }
    // With its data it goes on.
    start(3, &folders[2]).await.unwrap().shutdown().await;

    let mut admin = AdminServiceClient::new(channel::connect(one.address()).unwrap());
    // It may have led: another is elected within seconds.
    let deadline = Instant::now() + PATIENCE;
    while let Err(status) = admin.remove_coordinator(RemoveCoordinatorRequest { node_id: 3 }).await {
        assert!(Instant::now() < deadline, "{status}");
        tokio::task::yield_now().await;
    }
    let three = start(3, &emptied).await.unwrap();
    let add = AddCoordinatorRequest { node_id: 3, address: three.address().to_owned(), voter: true };
    admin.add_coordinator(add).await.unwrap();
    eventually("it has the catalog", || three.catalog().catalog().nodes.contains_key(&NodeId(3))).await;
    for coordinator in [three, two, one] {
        coordinator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_data_of_another_cluster_is_not_taken_in() {
    let world = World::new().await;
    let server =
        CoordinatorServer { raft: world.one.raft.clone(), members: Arc::default(), processes: Processes::default() };
    let request = |cluster: &str| RegisterRequest {
        role: NodeRole::Storage.into(),
        address: "127.0.0.1:3".to_owned(),
        node_id: 0,
        cluster_id: cluster.to_owned(),
    };
    let raft = world.one.raft.clone();
    let named = task::spawn("test-name", async move {
        raft.propose(Operation::InitializeCluster { cluster_id: "ours".to_owned() }).await
    });
    let before = world.one.raft.catalog().nodes.len();
    let refused = server.register(Request::new(request("theirs"))).await.unwrap().into_inner();
    assert_eq!((refused.node_id, refused.cluster_id.as_str()), (0, "ours"));
    assert_eq!(world.one.raft.catalog().nodes.len(), before);
    named.await.unwrap().unwrap();
    for cluster in ["", "ours"] {
        let taken = server.register(Request::new(request(cluster))).await.unwrap().into_inner();
        assert!(taken.node_id != 0 && taken.cluster_id == "ours", "{taken:?}");
    }
    world.one.raft.shutdown().await;
}
