//! A coordinator that knows nothing but ids: it gives every address the next one and remembers heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tarn_proto::task;
use tarn_proto::wire::coordinator_service_server::{CoordinatorService, CoordinatorServiceServer};
use tarn_proto::wire::*;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
pub struct Registry {
    pub ids: Arc<Mutex<BTreeMap<String, u64>>>,
    pub registrations: Arc<Mutex<Vec<RegisterRequest>>>,
    pub beats: Arc<Mutex<Vec<HeartbeatRequest>>>,
    /// Whether heartbeats are taken and never answered.
    pub silent: bool,
    pub next: Arc<AtomicU64>,
}

impl Registry {
    /// Serves on a free port until the process ends.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = tonic::transport::Server::builder().add_service(CoordinatorServiceServer::new(self.clone()));
        drop(task::spawn("test-coordinator", router.serve_with_incoming(TcpListenerStream::new(listener))));
        address
    }
}

#[tonic::async_trait]
impl CoordinatorService for Registry {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        self.registrations.lock().push(request.clone());
        if !request.cluster_id.is_empty() && request.cluster_id != "test" {
            return Ok(Response::new(RegisterResponse { node_id: 0, cluster_id: "test".to_owned() }));
        }
        let node_id = match request.node_id {
            0 => 1001 + self.next.fetch_add(1, Ordering::SeqCst),
            id => id,
        };
        self.ids.lock().insert(request.address, node_id);
        Ok(Response::new(RegisterResponse { node_id, cluster_id: "test".to_owned() }))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        self.beats.lock().push(request.into_inner());
        if self.silent {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(HeartbeatResponse { coordinators: Vec::new(), draining: false, known: true }))
    }

    async fn propose(&self, _: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn read_index(&self, _: Request<ReadIndexRequest>) -> Result<Response<ReadIndexResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_queries(&self, _: Request<ListQueriesRequest>) -> Result<Response<ListQueriesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn kill_query(&self, _: Request<KillQueryRequest>) -> Result<Response<KillQueryResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
