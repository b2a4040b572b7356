//! How a node joins a cluster and stays in it: it registers with any coordinator, then tells every coordinator once a
//! second that it lives.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::NodeId;
use crate::channel::connect_with_timeout;
use crate::wire::coordinator_service_client::CoordinatorServiceClient;
use crate::wire::{HeartbeatRequest, NodeLoad, NodeRole, RegisterRequest};

/// Time between two heartbeats. Coordinators call a node dead after [`DEAD_AFTER`].
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// A node that has been silent for so long gets no new work.
pub const DEAD_AFTER: Duration = Duration::from_millis(3500);
/// Longest wait for one coordinator's answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What it does.
    pub role: NodeRole,
    /// `host:port` of its gRPC server, as others reach it.
    pub address: String,
    /// Flight SQL address of a coordinator, else empty.
    pub flight_address: String,
    /// The id it had before.
    pub node_id: Option<NodeId>,
}

/// A registered node's membership. Cheap calls only; [`Agent::run`] does the work.
pub struct Agent {
    identity: Identity,
    node_id: Mutex<NodeId>,
    incarnation: String,
    coordinators: Mutex<Vec<String>>,
    channels: Mutex<HashMap<String, Channel>>,
    draining: watch::Sender<bool>,
}

impl Agent {
    /// Registers with the first of `coordinators` (`host:port`) that answers, trying again until `cancel`. `None` when
    /// cancelled first.
    pub async fn register(identity: Identity, coordinators: Vec<String>, cancel: &CancellationToken) -> Option<Self> {
        let agent = Self {
            node_id: Mutex::new(identity.node_id.unwrap_or(NodeId(0))),
            incarnation: uuid::Uuid::new_v4().to_string(),
            coordinators: Mutex::new(coordinators),
            channels: Mutex::default(),
            draining: watch::channel(false).0,
            identity,
        };
        let mut complained = false;
        loop {
            match agent.register_once().await {
                Ok(()) => return Some(agent),
                Err(reason) if !complained => {
                    warn!(%reason, "cannot register yet; trying again every second");
                    complained = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return None,
                () = tokio::time::sleep(HEARTBEAT_EVERY) => {}
            }
        }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        *self.node_id.lock()
    }

    /// Differs for each start of the process; heartbeats carry it.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Tells whether an operator drains this node.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// gRPC addresses of the coordinators, as last heard.
    pub fn coordinators(&self) -> Vec<String> {
        self.coordinators.lock().clone()
    }

    /// Sends heartbeats until `cancel`. `load` is asked before each.
    pub async fn run(&self, cancel: CancellationToken, load: impl Fn() -> NodeLoad + Send) {
        let mut tick = tokio::time::interval(HEARTBEAT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = tick.tick() => {
                    let (load, known) = (load(), self.coordinators());
                    self.beat(load).await;
                    // Coordinators that it has just learnt of hear it now, not in a second.
                    if self.coordinators() != known {
                        self.beat(load).await;
                    }
                }
            }
        }
    }

    async fn beat(&self, load: NodeLoad) {
        let request = HeartbeatRequest {
            node_id: self.node_id().get(),
            role: self.identity.role.into(),
            address: self.identity.address.clone(),
            flight_address: self.identity.flight_address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation.clone(),
            load: Some(load),
        };
        let calls = self.coordinators().into_iter().map(|address| {
            let request = request.clone();
            async move { self.client(&address)?.heartbeat(request).await.map(tonic::Response::into_inner) }
        });
        let mut unknown = false;
        for reply in futures::future::join_all(calls).await.into_iter().flatten() {
            unknown |= !reply.known;
            self.draining.send_if_modified(|d| std::mem::replace(d, reply.draining) != reply.draining);
            if !reply.coordinators.is_empty() {
                *self.coordinators.lock() = reply.coordinators;
            }
        }
        if unknown && let Err(reason) = self.register_once().await {
            warn!(%reason, "coordinators do not know this node and it cannot register again");
        }
    }

    async fn register_once(&self) -> Result<(), Status> {
        let mut last = Status::unavailable("no coordinator is configured");
        for address in self.coordinators() {
            let request = RegisterRequest {
                role: self.identity.role.into(),
                address: self.identity.address.clone(),
                node_id: self.node_id().get(),
            };
            match self.client(&address) {
                Ok(mut client) => match client.register(request).await {
                    Ok(reply) => {
                        let reply = reply.into_inner();
                        *self.node_id.lock() = NodeId(reply.node_id);
                        info!(node = reply.node_id, cluster = reply.cluster_id, coordinator = address, "registered");
                        return Ok(());
                    }
                    Err(status) => last = status,
                },
                Err(status) => last = status,
            }
        }
        Err(last)
    }

    fn client(&self, address: &str) -> Result<CoordinatorServiceClient<Channel>, Status> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let channel =
                    connect_with_timeout(address, CALL_TIMEOUT).map_err(|e| Status::invalid_argument(e.to_string()))?;
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(CoordinatorServiceClient::new(channel))
    }
}
