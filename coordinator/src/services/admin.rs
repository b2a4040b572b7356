//! What operators ask. What only the leader can do is forwarded to it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tarn_catalog::{Operation, Role};
use tarn_ingest::CatalogClient;
use tarn_proto::NodeId;
use tarn_proto::channel::{connect, connect_with_timeout};
use tarn_proto::wire::admin_service_client::AdminServiceClient;
use tarn_proto::wire::admin_service_server::AdminService;
use tarn_proto::wire::{
    AddCoordinatorRequest, AddCoordinatorResponse, ClusterStatusRequest, ClusterStatusResponse, CoordinatorStatus,
    DrainNodeRequest, DrainNodeResponse, NodeRole, NodeStatus, RemoveCoordinatorRequest, RemoveCoordinatorResponse,
    RemoveNodeRequest, RemoveNodeResponse, TakeSnapshotRequest, TakeSnapshotResponse, TransferLeadershipRequest,
    TransferLeadershipResponse,
};
use tarn_raft::CatalogRaft;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::status;
use crate::{Members, ReplicatedCatalog};

/// Longest wait for a coordinator that is to be added.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// `AdminService`.
pub struct Admin {
    pub raft: CatalogRaft,
    pub catalog: ReplicatedCatalog,
    pub members: Arc<RwLock<Members>>,
}

impl Admin {
    /// The leader's own service, or `None` when this coordinator leads.
    fn leader(&self) -> Result<Option<AdminServiceClient<Channel>>, Status> {
        let leadership = self.raft.leadership().borrow().clone();
        match leadership.leader {
            _ if leadership.is_self => Ok(None),
            Some((_, address)) => {
                let channel = connect(&address).map_err(|e| Status::internal(e.to_string()))?;
                Ok(Some(AdminServiceClient::new(channel)))
            }
            None => Err(Status::unavailable("no coordinator leads now: try again in a second")),
        }
    }

    /// Whether a coordinator answers at `address` that is of no other cluster. Adding one that does not would leave a
    /// member that never catches up.
    async fn check_newcomer(&self, address: &str) -> Result<(), Status> {
        let channel =
            connect_with_timeout(address, ANSWER_WITHIN).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let asked = AdminServiceClient::new(channel).cluster_status(ClusterStatusRequest {}).await;
        let theirs = asked
            .map_err(|_| Status::failed_precondition(format!("no coordinator answers at {address}: start it first")))?;
        let theirs = theirs.into_inner().cluster_id;
        match self.raft.catalog().cluster_id.as_deref() {
            Some(ours) if !theirs.is_empty() && theirs != ours => Err(Status::failed_precondition(format!(
                "the coordinator at {address} belongs to another cluster: empty its data folder first"
            ))),
            _ => Ok(()),
        }
    }

    async fn change(&self, operation: Operation) -> Result<(), Status> {
        match self.catalog.propose(operation).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Status::new(error.kind.grpc_code(), error.message)),
        }
    }
}

async fn done(result: impl Future<Output = Result<(), tarn_raft::Error>>) -> Result<(), Status> {
    result.await.map_err(|e| status(&e))
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn cluster_status(
        &self,
        _: Request<ClusterStatusRequest>,
    ) -> Result<Response<ClusterStatusResponse>, Status> {
        let raft = self.raft.status();
        let catalog = self.raft.catalog();
        let (members, now) = (self.members.read(), Instant::now());
        let leader_id = raft.leader.as_ref().map(|(id, _)| id.get()).unwrap_or_default();
        let voters = raft.voters.iter().map(|v| (v, true));
        let observers = raft.observers.iter().map(|o| (o, false));
        let coordinators = voters
            .chain(observers)
            .map(|((id, address), voter)| {
                let member = members.get(*id);
                let role = match voter {
                    true if id.get() == leader_id => "leader",
                    true => "voter",
                    false => "observer",
                };
                CoordinatorStatus {
                    node_id: id.get(),
                    address: address.clone(),
                    flight_address: member.map(|m| m.flight_address.clone()).unwrap_or_default(),
                    role: role.to_owned(),
                    alive: *id == raft.node_id || members.is_alive(*id, now),
                    version: member.map(|m| m.version.clone()).unwrap_or_default(),
                    last_applied: if *id == raft.node_id { raft.last_applied } else { 0 },
                    registered: catalog.nodes.get(id).is_some_and(|node| node.role == Role::Coordinator),
                }
            })
            .collect();
        let nodes = catalog
            .nodes
            .values()
            .filter(|node| node.role != Role::Coordinator)
            .map(|node| {
                let member = members.get(node.id);
                let role = match node.role {
                    Role::Coordinator => NodeRole::Coordinator,
                    Role::Storage => NodeRole::Storage,
                    Role::Compute => NodeRole::Compute,
                };
                NodeStatus {
                    node_id: node.id.get(),
                    role: role.into(),
                    address: node.address.clone(),
                    alive: members.is_alive(node.id, now),
                    draining: node.draining,
                    version: member.map(|m| m.version.clone()).unwrap_or_default(),
                    load: member.map(|m| m.load),
                    last_heartbeat_age_ms: members
                        .silence(node.id, now)
                        .and_then(|s| u64::try_from(s.as_millis()).ok())
                        .unwrap_or(u64::MAX),
                }
            })
            .collect();
        Ok(Response::new(ClusterStatusResponse {
            cluster_id: catalog.cluster_id.as_deref().unwrap_or_default().to_owned(),
            leader_id,
            term: raft.term,
            last_log_index: raft.last_log_index,
            snapshot_index: raft.snapshot_index,
            coordinators,
            nodes,
        }))
    }

    async fn add_coordinator(
        &self,
        request: Request<AddCoordinatorRequest>,
    ) -> Result<Response<AddCoordinatorResponse>, Status> {
        if let Some(mut leader) = self.leader()? {
            return leader.add_coordinator(request.into_inner()).await;
        }
        let r = request.into_inner();
        let status = self.raft.status();
        let known = status.voters.get(&NodeId(r.node_id)).or_else(|| status.observers.get(&NodeId(r.node_id)));
        // One that is a member at another address is refused whether it answers or not.
        if known.is_none_or(|known| *known == r.address) {
            self.check_newcomer(&r.address).await?;
        }
        done(self.raft.add_coordinator(NodeId(r.node_id), r.address, r.voter)).await?;
        Ok(Response::new(AddCoordinatorResponse {}))
    }

    async fn remove_coordinator(
        &self,
        request: Request<RemoveCoordinatorRequest>,
    ) -> Result<Response<RemoveCoordinatorResponse>, Status> {
        if let Some(mut leader) = self.leader()? {
            return leader.remove_coordinator(request.into_inner()).await;
        }
        let node = NodeId(request.into_inner().node_id);
        done(self.raft.remove_coordinator(node)).await?;
        self.members.write().forget(node);
        Ok(Response::new(RemoveCoordinatorResponse {}))
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        if let Some(mut leader) = self.leader()? {
            return leader.transfer_leadership(request.into_inner()).await;
        }
        let to = request.into_inner().node_id;
        let to = (to != 0).then_some(NodeId(to));
        let leader = self.raft.transfer_leadership(to).await.map_err(|e| status(&e))?;
        Ok(Response::new(TransferLeadershipResponse { leader_id: leader.get() }))
    }

    async fn drain_node(&self, request: Request<DrainNodeRequest>) -> Result<Response<DrainNodeResponse>, Status> {
        let r = request.into_inner();
        self.change(Operation::SetDraining { node: NodeId(r.node_id), draining: !r.undo }).await?;
        Ok(Response::new(DrainNodeResponse {}))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<Response<RemoveNodeResponse>, Status> {
        let node = NodeId(request.into_inner().node_id);
        // Also one that is drained: its next heartbeat would register it again.
        if self.members.read().is_alive(node, Instant::now()) {
            return Err(Status::failed_precondition(format!("node {node} is alive: stop it first, then remove it")));
        }
        self.change(Operation::RemoveNode { node }).await?;
        self.members.write().forget(node);
        Ok(Response::new(RemoveNodeResponse {}))
    }

    async fn take_snapshot(&self, _: Request<TakeSnapshotRequest>) -> Result<Response<TakeSnapshotResponse>, Status> {
        let snapshot_index = self.raft.take_snapshot().await.map_err(|e| status(&e))?;
        Ok(Response::new(TakeSnapshotResponse { snapshot_index }))
    }
}
