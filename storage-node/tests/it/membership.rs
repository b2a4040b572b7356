//! The node as a member of a cluster, and across restarts.

use tarn_proto::wire::NodeRole;
use tarn_proto::{ErrorKind, TabletId, TxnId};
use tarn_storage_node::{Config, StorageNode};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::contract::{publish_of, unpublished, write};
use crate::coordinator::Registry;
use crate::node::Node;
use crate::read_back::arrivals;
use crate::rows::plain_table;
use crate::writers::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_registers_once_keeps_its_id_and_tells_its_load() {
    let node = Node::start().await;
    let id = node.node.node_id();
    assert_eq!(id.get(), 1001);
    node.node.ready().unwrap();
    node.local().create_tablets(&plain_table(), &[TabletId(1), TabletId(2)]).await.unwrap();
    write(&*node.local(), 1, "a", &[TabletId(1)], 0..100).await;
    wait_until(|| async {
        let beats = node.registry.beats.lock();
        beats.last().and_then(|b| b.load).is_some_and(|load| load.tablets == 2 && load.data_bytes > 0)
    })
    .await;
    let beat = node.registry.beats.lock().last().cloned().unwrap();
    assert_eq!((beat.node_id, beat.role()), (id.get(), NodeRole::Storage));
    assert_eq!(beat.address, node.node.address());
    let load = beat.load.unwrap();
    assert!(load.cores > 0 && load.memory_used_bytes > 0 && load.disk_used_bytes > 0, "{load:?}");
    assert!(
        load.memory_total_bytes >= load.memory_used_bytes && load.disk_total_bytes >= load.disk_used_bytes,
        "{load:?}"
    );

    let node = node.restart().await;
    assert_eq!(node.node.node_id(), id);
    let registrations = node.registry.registrations.lock().clone();
    assert_eq!(registrations.iter().map(|r| r.node_id).collect::<Vec<_>>(), [0, id.get()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn published_and_pending_rowsets_survive_a_restart() {
    let node = Node::start().await;
    let store = node.remote();
    store.create_tablets(&plain_table(), &[TabletId(1), TabletId(2)]).await.unwrap();
    write(&*store, 10, "a", &[TabletId(1), TabletId(2)], 0..50).await;
    let both = [publish_of(TabletId(1), 2, true), publish_of(TabletId(2), 2, true)];
    store.publish(TxnId(10), &both).await.unwrap();
    write(&*store, 11, "a", &[TabletId(1)], 50..60).await;
    write(&*store, 12, "a", &[TabletId(2)], 60..70).await;
    let reports = store.tablets().await.unwrap();

    let node = node.restart().await;
    let store = node.remote();
    assert_eq!(store.tablets().await.unwrap(), reports);
    store.publish(TxnId(10), &both).await.unwrap();
    store.publish(TxnId(11), &[publish_of(TabletId(1), 3, true)]).await.unwrap();
    store.abort(TxnId(12)).await.unwrap();
    let gone = unpublished(&*store, 12, publish_of(TabletId(2), 3, true)).await.unwrap();
    assert!(gone.contains("no rowset of transaction txn12"), "{gone}");
    assert_eq!(arrivals(&*store, &plain_table(), TabletId(1), 3).await, (0..60).collect::<Vec<_>>());
    assert_eq!(arrivals(&*store, &plain_table(), TabletId(2), 2).await, (0..50).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(node.tablet_folder(2)).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_metadata_does_not_start_as_an_empty_one() {
    let Node { node, config, folder: _folder, .. } = Node::start().await;
    node.shutdown().await;
    std::fs::remove_dir_all(config.data.join("meta")).unwrap();
    let error = StorageNode::start(config.clone()).await.err().unwrap();
    let text = tarn_proto::error::chain(&error);
    assert!(text.contains("metadata") && text.contains("restore it"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_data_of_another_cluster_does_not_register() {
    let Node { node, config, registry, folder: _folder } = Node::start().await;
    node.shutdown().await;
    let cluster = config.data.join("cluster-id");
    assert_eq!(std::fs::read_to_string(&cluster).unwrap(), "test\n");
    std::fs::write(&cluster, "another\n").unwrap();
    let error = StorageNode::start(config.clone()).await.err().unwrap();
    let text = tarn_proto::error::chain(&error);
    assert!(text.contains("belong to cluster another") && text.contains("cluster test"), "{text}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(registry.ids.lock().len(), 1, "the other cluster has not taken it in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_does_not_answer_does_not_slow_heartbeats_to_the_others() {
    let silent = Registry { silent: true, ..Registry::default() };
    let address = silent.serve().await;
    let node = Node::with(|config| config.coordinators.push(address)).await;
    // Each heartbeat that is not answered takes two seconds; those that are go out every second.
    wait_until(|| async { node.registry.beats.lock().len() >= silent.beats.lock().len() + 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_service_answers() {
    let node = Node::start().await;
    let channel = tarn_proto::channel::connect(node.node.address()).unwrap();
    let request = HealthCheckRequest { service: "tarn.v1.StorageService".to_owned() };
    let answer = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    node.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_work_says_why() {
    let node = Node::start().await;
    let taken = Config { listen: node.node.address().parse().unwrap(), ..node.config.clone() };
    let error = StorageNode::start(taken.clone()).await.err().unwrap();
    assert!(error.to_string().contains("cannot open the tablets"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let error = StorageNode::start(Config { data: folder.path().join("a"), ..taken.clone() }).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("cannot listen on"), "{error}");

    let everywhere = Config {
        data: folder.path().join("b"),
        listen: "0.0.0.0:0".parse().unwrap(),
        coordinators: node.config.coordinators.clone(),
        ..Config::default()
    };
    let error = StorageNode::start(everywhere).await.err().unwrap();
    assert!(error.to_string().contains("set `advertise`"), "{error}");

    let alone = Config { data: folder.path().join("c"), ..Config::default() };
    let error = StorageNode::start(alone).await.err().unwrap();
    assert!(error.to_string().contains("`coordinators` is empty"), "{error}");
}
