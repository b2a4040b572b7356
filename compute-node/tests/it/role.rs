//! The node as a member of a cluster.

use tarn_compute_node::{ComputeNode, Config, Error};
use tarn_proto::ErrorKind;
use tarn_proto::task::spawn;
use tarn_proto::wire::coordinator_service_server::{CoordinatorService, CoordinatorServiceServer};
use tarn_proto::wire::*;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::cluster::until;

/// A coordinator that remembers the last heartbeat.
struct Coordinator {
    heartbeat: watch::Sender<Option<HeartbeatRequest>>,
    draining: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl CoordinatorService for Coordinator {
    async fn propose(&self, _: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        Err(Status::unimplemented("test"))
    }

    async fn read_index(&self, _: Request<ReadIndexRequest>) -> Result<Response<ReadIndexResponse>, Status> {
        Err(Status::unimplemented("test"))
    }

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        assert_eq!(request.get_ref().role(), NodeRole::Compute);
        Ok(Response::new(RegisterResponse { node_id: 42, cluster_id: "test".to_owned() }))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        self.heartbeat.send_replace(Some(request.into_inner()));
        let draining = *self.draining.borrow();
        Ok(Response::new(HeartbeatResponse { coordinators: Vec::new(), draining, known: true }))
    }

    async fn list_queries(&self, _: Request<ListQueriesRequest>) -> Result<Response<ListQueriesResponse>, Status> {
        Err(Status::unimplemented("test"))
    }

    async fn kill_query(&self, _: Request<KillQueryRequest>) -> Result<Response<KillQueryResponse>, Status> {
        Err(Status::unimplemented("test"))
    }
}

fn config(data: &tempfile::TempDir) -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), data_dir: data.path().to_owned(), ..Config::default() }
}

#[tokio::test]
async fn a_node_joins_tells_its_load_and_is_drained() {
    let (heartbeat, heard) = watch::channel(None);
    let (drain, draining) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let coordinator = listener.local_addr().unwrap().to_string();
    let service = CoordinatorServiceServer::new(Coordinator { heartbeat, draining });
    let server = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
    let server = spawn("test-coordinator", server);

    let data = tempfile::tempdir().unwrap();
    let node = ComputeNode::start(Config { coordinators: vec![coordinator], ..config(&data) }).await.unwrap();
    until("readiness", || node.ready()).await;
    until("a heartbeat", || heard.borrow().is_some()).await;
    let beat = heard.borrow().clone().unwrap();
    assert_eq!((beat.node_id, beat.role(), beat.address.as_str()), (42, NodeRole::Compute, node.address()));
    let load = beat.load.unwrap();
    assert!(load.cores > 0 && load.memory_used_bytes > 0 && load.disk_used_bytes > 0, "{load:?}");
    assert!(
        load.memory_total_bytes >= load.memory_used_bytes && load.disk_total_bytes >= load.disk_used_bytes,
        "{load:?}"
    );

    drain.send_replace(true);
    until("draining", || !node.ready()).await;
    drain.send_replace(false);
    until("readiness again", || node.ready()).await;
    node.shutdown().await.unwrap();
    server.abort();
}

#[tokio::test]
async fn a_node_without_its_coordinator_is_not_ready() {
    let data = tempfile::tempdir().unwrap();
    let node = ComputeNode::start(Config { coordinators: vec!["127.0.0.1:1".to_owned()], ..config(&data) }).await;
    let node = node.unwrap();
    assert!(!node.ready());
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn addresses_that_nobody_can_use_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let everywhere = Config { listen: "0.0.0.0:0".parse().unwrap(), ..config(&data) };
    let error = ComputeNode::start(everywhere.clone()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(matches!(error, Error::Advertise { .. }));
    let named = Config { advertise: Some("node-1:9040".to_owned()), ..everywhere };
    assert_eq!(ComputeNode::start(named).await.unwrap().address(), "node-1:9040");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = Config { listen: listener.local_addr().unwrap(), ..config(&data) };
    assert!(matches!(ComputeNode::start(taken).await, Err(Error::Listen { .. })));
}
