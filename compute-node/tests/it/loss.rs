//! Nodes that are lost, queries that are dropped.

use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tarn_compute_node::Config;
use tarn_planner::distributed::{lost_worker, without};
use tarn_proto::task::spawn;

use crate::cluster::{Cluster, answer, plan, rows, until};

const GROUPS: &str = "select customer, count(*), sum(amount) from orders group by customer";

#[tokio::test]
async fn a_node_that_is_gone_is_named_and_the_others_answer() {
    let mut cluster = Cluster::start(3).await;
    let lost = cluster.nodes[1].url();
    let session = cluster.session("q-1");
    let planned = plan(&session, GROUPS).await;
    cluster.nodes[1].kill();
    let error = rows(&session, &planned).await.unwrap_err();
    assert_eq!(lost_worker(&error), Some(lost.clone()), "{error}");
    let rest = without(&cluster.workers, &lost);
    let session = cluster.session_on(&rest, "q-1-again", None);
    assert_eq!(answer(&session, GROUPS).await.unwrap().len(), 97);
}

#[tokio::test]
async fn a_node_that_dies_while_it_works_is_named() {
    let mut cluster = Cluster::start(2).await;
    cluster.store.open.send_replace(false);
    let session = cluster.session("q-1");
    let planned = plan(&session, GROUPS).await;
    let lost = cluster.nodes[1].url();
    let query = spawn("test-query", async move { rows(&session, &planned).await });
    until("work on both nodes", || cluster.running().iter().all(|running| *running > 0)).await;
    cluster.nodes[1].kill();
    let error = query.await.unwrap().unwrap_err();
    assert_eq!(lost_worker(&error), Some(lost), "{error}");
    cluster.store.open.send_replace(true);
    until("the end of the other node's tasks", || cluster.running() == [0]).await;
}

#[tokio::test]
async fn dropping_the_stream_ends_the_tasks() {
    let cluster = Cluster::start(2).await;
    cluster.store.open.send_replace(false);
    let session = cluster.session("q-1");
    let planned = plan(&session, GROUPS).await;
    let mut stream = execute_stream(planned, session.task_ctx()).unwrap();
    let reading = spawn("test-query", async move { stream.next().await.is_some() });
    until("work on both nodes", || cluster.running().iter().all(|running| *running > 0)).await;
    until("reads", || cluster.store.open.receiver_count() > 0).await;
    reading.abort();
    // The store still holds back its rows: the tasks end because nobody wants them.
    until("the end of all tasks", || cluster.running() == [0, 0]).await;
    until("the end of all reads", || cluster.store.open.receiver_count() == 0).await;
}

#[tokio::test]
async fn a_node_that_cannot_wait_any_longer_cuts_its_tasks_off_and_is_named() {
    let mut cluster = Cluster::start_with(2, Config { drain_seconds: 0, ..Config::default() }).await;
    cluster.store.open.send_replace(false);
    let leaving = cluster.nodes[1].url();
    let session = cluster.session("q-1");
    let planned = plan(&session, GROUPS).await;
    let query = spawn("test-query", async move { rows(&session, &planned).await });
    until("work on both nodes", || cluster.running().iter().all(|running| *running > 0)).await;
    cluster.nodes[1].node.take().unwrap().shutdown().await.unwrap();
    let error = query.await.unwrap().unwrap_err();
    assert_eq!(lost_worker(&error), Some(leaving), "{error}");
    cluster.store.open.send_replace(true);
    until("the end of the other node's tasks", || cluster.running() == [0]).await;
}

#[tokio::test]
async fn a_node_that_shuts_down_ends_its_work_and_sends_new_work_elsewhere() {
    let mut cluster = Cluster::start(2).await;
    cluster.store.open.send_replace(false);
    let leaving = cluster.nodes[1].url();
    let (session, late) = (cluster.session("q-1"), cluster.session("q-2"));
    let planned = plan(&session, GROUPS).await;
    let query = spawn("test-query", async move { rows(&session, &planned).await });
    until("work on both nodes", || cluster.running().iter().all(|running| *running > 0)).await;
    let node = cluster.nodes[1].node.take().unwrap();
    let shutdown = spawn("test-shutdown", node.shutdown());
    tokio::task::yield_now().await;
    let error = answer(&late, GROUPS).await.unwrap_err();
    assert_eq!(lost_worker(&error), Some(leaving), "{error}");
    assert!(!shutdown.is_finished());
    cluster.store.open.send_replace(true);
    assert_eq!(query.await.unwrap().unwrap().len(), 97);
    shutdown.await.unwrap().unwrap();
}
