//! What nodes and other coordinators ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tarn_catalog::{Command, Operation, Response as Answer, Role};
use tarn_proto::NodeId;
use tarn_proto::wire::coordinator_service_server::CoordinatorService;
use tarn_proto::wire::{
    HeartbeatRequest, HeartbeatResponse, KillQueryRequest, KillQueryResponse, ListQueriesRequest, ListQueriesResponse,
    NodeRole, ProposeRequest, ProposeResponse, ReadIndexRequest, ReadIndexResponse, RegisterRequest, RegisterResponse,
};
use tarn_raft::CatalogRaft;
use tonic::{Request, Response, Status};

use super::status;
use crate::Members;
use crate::processes::Processes;

/// Longest wait for a new cluster's name when a node registers, shorter than the node's.
const NAMED_WITHIN: Duration = Duration::from_millis(1500);

/// `CoordinatorService`.
pub struct CoordinatorServer {
    pub raft: CatalogRaft,
    pub members: Arc<RwLock<Members>>,
    pub processes: Processes,
}

impl CoordinatorServer {
    /// The cluster's name. A new cluster gets it with its first leader.
    async fn cluster_id(&self) -> Result<Arc<str>, Status> {
        let mut applied = self.raft.applied();
        let named = async {
            loop {
                applied.mark_unchanged();
                let id = self.raft.catalog().cluster_id;
                if id.is_some() || applied.changed().await.is_err() {
                    return id;
                }
            }
        };
        match tokio::time::timeout(NAMED_WITHIN, named).await {
            Ok(Some(id)) => Ok(id),
            Ok(None) | Err(_) => Err(Status::unavailable("the cluster has no name yet: it needs a leader")),
        }
    }
}

#[tonic::async_trait]
impl CoordinatorService for CoordinatorServer {
    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        let command = Command::decode(&request.into_inner().command)
            .map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let (answer, log_index) = self.raft.propose_here(command).await.map_err(|e| status(&e))?;
        Ok(Response::new(ProposeResponse { response: answer.encode().into(), log_index }))
    }

    async fn read_index(&self, _: Request<ReadIndexRequest>) -> Result<Response<ReadIndexResponse>, Status> {
        let log_index = self.raft.read_index().await.map_err(|e| status(&e))?;
        Ok(Response::new(ReadIndexResponse { log_index }))
    }

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        let role = match request.role() {
            NodeRole::Coordinator => Role::Coordinator,
            NodeRole::Storage => Role::Storage,
            NodeRole::Compute => Role::Compute,
            NodeRole::Unspecified => return Err(Status::invalid_argument("a node must say its role")),
        };
        let cluster_id = self.cluster_id().await?.to_string();
        if !request.cluster_id.is_empty() && request.cluster_id != cluster_id {
            return Ok(Response::new(RegisterResponse { node_id: 0, cluster_id }));
        }
        let node_id = (request.node_id != 0).then_some(NodeId(request.node_id));
        let operation = Operation::RegisterNode { role, address: request.address, node_id };
        let node = match self.raft.propose(operation).await.map_err(|e| status(&e))? {
            Answer::Node(node) => node,
            other => return Err(Status::internal(format!("unexpected answer to RegisterNode: {other:?}"))),
        };
        Ok(Response::new(RegisterResponse { node_id: node.get(), cluster_id }))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let beat = request.into_inner();
        let catalog = self.raft.catalog();
        // An id that belongs to another address is not this node's any more.
        let node = catalog.nodes.get(&NodeId(beat.node_id)).filter(|n| n.address == beat.address);
        let coordinators = {
            let status = self.raft.status();
            status.voters.into_values().chain(status.observers.into_values()).collect()
        };
        let answer =
            HeartbeatResponse { coordinators, draining: node.is_some_and(|n| n.draining), known: node.is_some() };
        if node.is_some() {
            self.members.write().heard(beat, Instant::now());
        }
        Ok(Response::new(answer))
    }

    async fn list_queries(&self, _: Request<ListQueriesRequest>) -> Result<Response<ListQueriesResponse>, Status> {
        Ok(Response::new(ListQueriesResponse { queries: self.processes.list() }))
    }

    async fn kill_query(&self, request: Request<KillQueryRequest>) -> Result<Response<KillQueryResponse>, Status> {
        let KillQueryRequest { id, connection } = request.into_inner();
        Ok(Response::new(KillQueryResponse { found: self.processes.kill(&id, connection) }))
    }
}
