//! Starts and stops a coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tarn_catalog::Operation;
use tarn_proto::membership::{Agent, Identity};
use tarn_proto::storage::StorePool;
use tarn_proto::wire::admin_service_server::AdminServiceServer;
use tarn_proto::wire::coordinator_service_server::CoordinatorServiceServer;
use tarn_proto::wire::{DESCRIPTORS, NodeLoad, NodeRole};
use tarn_proto::{NodeId, task};
use tarn_raft::{CatalogRaft, MAX_MESSAGE_BYTES};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::services::{Admin, CoordinatorServer};
use crate::{Config, Error, Members, ReplicatedCatalog, reconcile};

/// Wait between two attempts to name a new cluster, which needs a leader.
const NAME_RETRY: Duration = Duration::from_millis(500);

/// A running coordinator.
pub struct Coordinator {
    raft: CatalogRaft,
    catalog: ReplicatedCatalog,
    members: Arc<RwLock<Members>>,
    address: String,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Coordinator {
    /// Recovers the catalog, serves gRPC, and joins the cluster in the background. `stores` reaches storage nodes.
    pub async fn start(config: Config, stores: StorePool) -> Result<Self, Error> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| Error::Listen { address: config.listen, source })?;
        let bound =
            listener.local_addr().map_err(|source| Error::Listen { address: config.listen, source })?;
        let address = config.advertise.clone().unwrap_or_else(|| bound.to_string());

        let mut raft = tarn_raft::Config::new(NodeId(config.node_id), &address, &config.data);
        raft.initial_voters = voters(&config.initial_voters)?;
        raft.snapshot_every = config.snapshot_every;
        let raft = CatalogRaft::start(raft).await?;

        let members = Arc::new(RwLock::new(Members::default()));
        let catalog = ReplicatedCatalog::new(raft.clone(), members.clone(), stores);
        let cancel = CancellationToken::new();
        let mut tasks = vec![serve(listener, &raft, &catalog, &members, cancel.clone()).await?];
        tasks.push(task::spawn("coordinator-membership", {
            let (raft, cancel) = (raft.clone(), cancel.clone());
            let identity = Identity {
                role: NodeRole::Coordinator,
                address: address.clone(),
                flight_address: String::new(),
                node_id: Some(NodeId(config.node_id)),
            };
            async move {
                name_cluster(&raft, &cancel).await;
                if let Some(agent) = Agent::register(identity.clone(), vec![identity.address], &cancel).await {
                    agent.run(cancel, NodeLoad::default).await;
                }
            }
        }));
        tasks.push(task::spawn(
            "reconcilers",
            reconcile::while_leading(
                raft.clone(),
                catalog.clone(),
                members.clone(),
                Duration::from_secs(config.label_retention_secs),
                cancel.clone(),
            ),
        ));
        info!(node = config.node_id, address, "coordinator started");
        Ok(Self { raft, catalog, members, address, cancel, tasks })
    }

    /// `host:port` of its gRPC server, as others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The replicated catalog.
    pub const fn catalog(&self) -> &ReplicatedCatalog {
        &self.catalog
    }

    /// Which nodes live, as heard here.
    pub fn members(&self) -> Members {
        self.members.read().clone()
    }

    /// Why it cannot serve now, if so.
    pub fn ready(&self) -> Result<(), String> {
        match self.raft.leadership().borrow().leader {
            Some(_) => Ok(()),
            None => Err("no coordinator leads".to_owned()),
        }
    }

    /// Ends when consensus has stopped by itself, which no coordinator survives.
    pub async fn failed(&self) -> Error {
        self.raft.stopped().await.into()
    }

    /// Hands leadership over, finishes running calls and stops.
    pub async fn shutdown(self) {
        self.raft.shutdown().await;
        self.cancel.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a task of the coordinator failed");
            }
        }
    }
}

fn voters(configured: &BTreeMap<String, String>) -> Result<BTreeMap<NodeId, String>, Error> {
    configured
        .iter()
        .map(|(id, address)| match id.parse() {
            Ok(number) if (1..=1000).contains(&number) => Ok((NodeId(number), address.clone())),
            _ => Err(Error::VoterId(id.clone())),
        })
        .collect()
}

/// Gives a new cluster its name. Every coordinator tries; the first stays.
async fn name_cluster(raft: &CatalogRaft, cancel: &CancellationToken) {
    while raft.catalog().cluster_id.is_none() {
        let operation = Operation::InitializeCluster { cluster_id: uuid::Uuid::new_v4().to_string() };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            named = raft.propose(operation) => if let Err(error) = named {
                warn!(%error, "the cluster has no name yet");
                tokio::time::sleep(NAME_RETRY).await;
            }
        }
    }
}

async fn serve(
    listener: TcpListener,
    raft: &CatalogRaft,
    catalog: &ReplicatedCatalog,
    members: &Arc<RwLock<Members>>,
    cancel: CancellationToken,
) -> Result<JoinHandle<()>, Error> {
    let coordinator = CoordinatorServer { raft: raft.clone(), members: members.clone() };
    let admin = Admin { raft: raft.clone(), catalog: catalog.clone(), members: members.clone() };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<CoordinatorServiceServer<CoordinatorServer>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let router = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .add_service(raft.grpc_service())
        .add_service(CoordinatorServiceServer::new(coordinator).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(AdminServiceServer::new(admin))
        .add_service(health)
        .add_service(reflection);
    Ok(task::spawn("coordinator-grpc", async move {
        let incoming = TcpListenerStream::new(listener);
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, cancel.cancelled()).await {
            error!(%error, "the gRPC server stopped");
        }
    }))
}
