//! How a node joins a cluster and stays in it: it registers with any coordinator, then tells every coordinator once a
//! second that it lives.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::NodeId;
use crate::channel::connect_with_timeout;
use crate::wire::coordinator_service_client::CoordinatorServiceClient;
use crate::wire::{HeartbeatRequest, HeartbeatResponse, NodeLoad, NodeRole, RegisterRequest, RegisterResponse};

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
    /// The cluster whose data it holds.
    pub cluster_id: Option<String>,
}

/// A node that holds data of one cluster has asked another to take it in.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the node's data belong to cluster {ours}, and the coordinator at {coordinator} to cluster {theirs}: name the \
     coordinators of {ours}, or empty the data directory to join {theirs} without data"
)]
pub struct OtherCluster {
    /// Whose data the node holds.
    pub ours: String,
    /// The coordinator that was asked.
    pub coordinator: String,
    /// Its cluster.
    pub theirs: String,
}

/// Why a node is not registered.
enum Refusal {
    /// For now.
    Status(Status),
    /// For ever.
    OtherCluster(OtherCluster),
}

/// What comes back while a node sends heartbeats.
enum Heard {
    /// The answer of a coordinator, if there is one.
    Beat(String, Option<HeartbeatResponse>),
    /// A registration has ended.
    Registered,
}

/// A registered node's membership. Cheap calls only; [`Agent::run`] does the work.
pub struct Agent {
    identity: Identity,
    node_id: Mutex<NodeId>,
    cluster_id: Mutex<String>,
    incarnation: String,
    coordinators: Mutex<Vec<String>>,
    channels: Mutex<HashMap<String, Channel>>,
    draining: watch::Sender<bool>,
}

impl Agent {
    /// Registers with the first of `coordinators` (`host:port`) that answers, trying again until `cancel`. `None` when
    /// cancelled first.
    pub async fn register(
        identity: Identity,
        coordinators: Vec<String>,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, OtherCluster> {
        let agent = Self {
            node_id: Mutex::new(identity.node_id.unwrap_or(NodeId(0))),
            cluster_id: Mutex::new(identity.cluster_id.clone().unwrap_or_default()),
            incarnation: uuid::Uuid::new_v4().to_string(),
            coordinators: Mutex::new(coordinators),
            channels: Mutex::default(),
            draining: watch::channel(false).0,
            identity,
        };
        let mut complained = false;
        loop {
            match agent.register_once().await {
                Ok(()) => return Ok(Some(agent)),
                Err(Refusal::OtherCluster(refusal)) => return Err(refusal),
                Err(Refusal::Status(reason)) if !complained => {
                    warn!(%reason, "cannot register yet; trying again every second");
                    complained = true;
                }
                Err(Refusal::Status(_)) => {}
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                () = tokio::time::sleep(HEARTBEAT_EVERY) => {}
            }
        }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        *self.node_id.lock()
    }

    /// The cluster that a storage node is registered with. Nodes without data may join any, and tell none.
    pub fn cluster_id(&self) -> String {
        self.cluster_id.lock().clone()
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

    /// Sends heartbeats until `cancel`. `load` is asked before each. A coordinator that does not answer delays its own
    /// heartbeats, not those of the others.
    pub async fn run(&self, cancel: CancellationToken, load: impl Fn() -> NodeLoad + Send) {
        let mut tick = tokio::time::interval(HEARTBEAT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut calls: FuturesUnordered<BoxFuture<'_, Heard>> = FuturesUnordered::new();
        let mut asked: HashSet<String> = HashSet::new();
        let mut registering = false;
        let mut newest = NodeLoad::default();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = tick.tick() => {
                    newest = load();
                    for address in self.coordinators() {
                        if asked.insert(address.clone()) {
                            calls.push(Box::pin(self.beat(address, newest)));
                        }
                    }
                }
                Some(heard) = calls.next() => match heard {
                    Heard::Registered => registering = false,
                    Heard::Beat(address, answer) => {
                        asked.remove(&address);
                        let Some(answer) = answer else { continue };
                        if !answer.known && !std::mem::replace(&mut registering, true) {
                            calls.push(Box::pin(self.register_again()));
                        }
                        // Coordinators that it has just learnt of hear it now, not in a second.
                        for address in self.learn(answer) {
                            if asked.insert(address.clone()) {
                                calls.push(Box::pin(self.beat(address, newest)));
                            }
                        }
                    }
                }
            }
        }
    }

    async fn beat(&self, address: String, load: NodeLoad) -> Heard {
        let request = HeartbeatRequest {
            node_id: self.node_id().get(),
            role: self.identity.role.into(),
            address: self.identity.address.clone(),
            flight_address: self.identity.flight_address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation.clone(),
            load: Some(load),
        };
        let answer = match self.client(&address) {
            Ok(mut client) => client.heartbeat(request).await.ok(),
            Err(_) => None,
        };
        Heard::Beat(address, answer.map(tonic::Response::into_inner))
    }

    /// Takes what a coordinator told, and returns coordinators that were not known.
    fn learn(&self, answer: HeartbeatResponse) -> Vec<String> {
        self.draining.send_if_modified(|d| std::mem::replace(d, answer.draining) != answer.draining);
        if answer.coordinators.is_empty() {
            return Vec::new();
        }
        let mut known = self.coordinators.lock();
        let before = std::mem::replace(&mut *known, answer.coordinators);
        known.iter().filter(|address| !before.contains(address)).cloned().collect()
    }

    async fn register_again(&self) -> Heard {
        match self.register_once().await {
            Ok(()) => {}
            Err(Refusal::Status(reason)) => {
                warn!(%reason, "coordinators do not know this node and it cannot register again");
            }
            Err(Refusal::OtherCluster(reason)) => warn!(%reason, "coordinators do not take this node in"),
        }
        Heard::Registered
    }

    async fn register_once(&self) -> Result<(), Refusal> {
        let mut last = Status::unavailable("no coordinator is configured");
        for coordinator in self.coordinators() {
            let ours = self.cluster_id();
            let request = RegisterRequest {
                role: self.identity.role.into(),
                address: self.identity.address.clone(),
                node_id: self.node_id().get(),
                cluster_id: ours.clone(),
            };
            let answer = match self.client(&coordinator) {
                Ok(mut client) => client.register(request).await,
                Err(status) => Err(status),
            };
            match answer.map(tonic::Response::into_inner) {
                Ok(RegisterResponse { node_id: 0, cluster_id: theirs }) => {
                    return Err(Refusal::OtherCluster(OtherCluster { ours, coordinator, theirs }));
                }
                Ok(RegisterResponse { node_id, cluster_id }) => {
                    *self.node_id.lock() = NodeId(node_id);
                    info!(node = node_id, cluster = cluster_id, coordinator, "registered");
                    if self.identity.role == NodeRole::Storage {
                        *self.cluster_id.lock() = cluster_id;
                    }
                    return Ok(());
                }
                Err(status) => last = status,
            }
        }
        Err(Refusal::Status(last))
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
