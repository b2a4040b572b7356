//! Starts and stops a coordinator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tarn_catalog::Operation;
use tarn_gateway::{FlightSqlServer, Options, TlsConfig, serve_flight};
use tarn_proto::machine::Meter;
use tarn_proto::membership::{Agent, Identity};
use tarn_proto::storage::StorePool;
use tarn_proto::wire::admin_service_server::AdminServiceServer;
use tarn_proto::wire::coordinator_service_server::CoordinatorServiceServer;
use tarn_proto::wire::{DESCRIPTORS, NodeLoad, NodeRole};
use tarn_proto::{NodeId, task};
use tarn_raft::{CatalogRaft, MAX_MESSAGE_BYTES};
use tarn_scan::{QueryRuntime, WorkerSet};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::engine::CoordinatorEngine;
use crate::services::{Admin, CoordinatorServer};
use crate::session::Shared;
use crate::{Config, Error, Members, ReplicatedCatalog, reconcile};

/// Time between two looks at which compute nodes live.
const WORKERS_REFRESH: Duration = Duration::from_millis(250);

/// Wait between two attempts to name a new cluster, which needs a leader.
const NAME_RETRY: Duration = Duration::from_millis(500);

/// A running coordinator.
pub struct Coordinator {
    raft: CatalogRaft,
    catalog: ReplicatedCatalog,
    members: Arc<RwLock<Members>>,
    address: String,
    flight_address: String,
    flight: (CancellationToken, JoinHandle<()>),
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Coordinator {
    /// Recovers the catalog, serves gRPC and Flight SQL, and joins the cluster in the background. `stores` reaches storage
    /// nodes.
    pub async fn start(config: Config, stores: StorePool) -> Result<Self, Error> {
        tarn_gateway::metrics::describe();
        tarn_ingest::metrics::describe();
        let tls = tls(&config).await?;
        let (listener, bound) = listen(config.listen).await?;
        let (flight_listener, flight_bound) = listen(config.flight).await?;
        if is_open(&config.root_password, flight_bound) {
            warn!(
                flight = %flight_bound,
                "`root_password` is empty and Flight SQL listens beyond this machine: whoever reaches it is root"
            );
        }
        let address = config.advertise.clone().unwrap_or_else(|| bound.to_string());
        let flight_address = config.flight_advertise.clone().unwrap_or_else(|| flight_bound.to_string());

        let mut raft = tarn_raft::Config::new(NodeId(config.node_id), &address, &config.data);
        raft.initial_voters = voters(&config.initial_voters)?;
        raft.snapshot_every = config.snapshot_every;
        let raft = CatalogRaft::start(raft).await?;

        let members = Arc::new(RwLock::new(Members::default()));
        let catalog = ReplicatedCatalog::new(raft.clone(), members.clone(), stores);
        let cancel = CancellationToken::new();
        let workers = WorkerSet::default();
        let planner = crate::query::planner(&config, catalog.stores().clone(), workers.clone()).await?;
        let threads = QueryRuntime::new().map_err(|e| Error::Engine(e.to_string()))?;
        let shared = Shared::new(raft.clone(), catalog.clone(), members.clone(), planner, threads);
        let mut tasks = vec![serve(listener, &shared, cancel.clone()).await?];
        let flight = serve_clients(flight_listener, shared.clone(), config.root_password, tls);
        tasks.push(task::spawn("coordinator-membership", {
            let (raft, cancel, shared) = (raft.clone(), cancel.clone(), shared.clone());
            let meter = Meter::new(&config.data);
            let identity = Identity {
                role: NodeRole::Coordinator,
                address: address.clone(),
                flight_address: flight_address.clone(),
                node_id: Some(NodeId(config.node_id)),
                cluster_id: None,
            };
            async move {
                name_cluster(&raft, &cancel).await;
                if let Ok(Some(agent)) = Agent::register(identity.clone(), vec![identity.address], &cancel).await {
                    // Only this task sets it.
                    let _ = shared.incarnation.set(agent.incarnation().to_owned());
                    let running = || shared.processes.running() as u64;
                    let load = || NodeLoad { running: running(), ..meter.measure() };
                    agent.run(cancel, load).await;
                }
            }
        }));
        tasks.push(task::spawn("workers", follow_workers(shared.clone(), workers, cancel.clone())));
        tasks.push(task::spawn(
            "reconcilers",
            reconcile::while_leading(
                raft.clone(),
                catalog.clone(),
                members.clone(),
                shared.planner.clone(),
                Duration::from_secs(config.label_retention_secs),
                reconcile::repair::Settings {
                    lost_after: Duration::from_secs(config.replica_repair_delay_secs),
                    balance: config.balance_replicas,
                },
                cancel.clone(),
            ),
        ));
        info!(node = config.node_id, address, flight = flight_address, "coordinator started");
        Ok(Self { raft, catalog, members, address, flight_address, flight, cancel, tasks })
    }

    /// `host:port` of its gRPC server, as others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `host:port` of its Flight SQL server, as clients reach it.
    pub fn flight_address(&self) -> &str {
        &self.flight_address
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
        self.members.read().quorum(&self.raft.status(), Instant::now())
    }

    /// Ends when consensus has stopped by itself, which no coordinator survives.
    pub async fn failed(&self) -> Error {
        self.raft.stopped().await.into()
    }

    /// Lets clients' statements end within some seconds, hands leadership over and stops.
    pub async fn shutdown(self) {
        let (stop_clients, clients) = self.flight;
        stop_clients.cancel();
        if let Err(error) = clients.await {
            error!(%error, "the Flight SQL server failed");
        }
        self.raft.shutdown().await;
        self.cancel.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a task of the coordinator failed");
            }
        }
    }
}

/// Keeps the set of compute nodes that queries are planned for as membership has it.
async fn follow_workers(shared: Arc<Shared>, workers: WorkerSet, cancel: CancellationToken) {
    let mut tick = tokio::time::interval(WORKERS_REFRESH);
    while cancel.run_until_cancelled(tick.tick()).await.is_some() {
        let (members, now) = (shared.members.read().clone(), Instant::now());
        let catalog = shared.raft.catalog();
        let alive = catalog.compute_nodes().filter(|node| !node.draining && members.is_alive(node.id, now));
        workers.replace(alive.filter_map(|node| format!("http://{}", node.address).parse().ok()).collect());
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

/// Whether others than the users of this machine are let in without a password.
const fn is_open(root_password: &str, flight: SocketAddr) -> bool {
    root_password.is_empty() && !flight.ip().to_canonical().is_loopback()
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn tls(config: &Config) -> Result<Option<TlsConfig>, Error> {
    let read =
        async |path: &Path| tokio::fs::read(path).await.map_err(|source| Error::Tls { path: path.to_owned(), source });
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => {
            let tls = TlsConfig { cert: read(cert).await?, key: read(key).await? };
            match tls.check() {
                Ok(()) => Ok(Some(tls)),
                Err(source) => Err(Error::Certificate { cert: cert.clone(), key: key.clone(), source }),
            }
        }
        (None, None) => Ok(None),
        _ => Err(Error::HalfTls),
    }
}

/// Serves Flight SQL until the token is cancelled.
fn serve_clients(
    listener: TcpListener,
    shared: Arc<Shared>,
    root_password: String,
    tls: Option<TlsConfig>,
) -> (CancellationToken, JoinHandle<()>) {
    let engine = Arc::new(CoordinatorEngine::new(shared, root_password));
    let server = FlightSqlServer::new(engine, Options::default());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let task = task::spawn("coordinator-flight", async move {
        if let Err(error) = serve_flight(listener, server, tls, cancel).await {
            error!(error = tarn_proto::error::chain(&error), "the Flight SQL server stopped");
        }
    });
    (stop, task)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Serves gRPC until `cancel`.
async fn serve(listener: TcpListener, shared: &Shared, cancel: CancellationToken) -> Result<JoinHandle<()>, Error> {
    let (raft, members) = (&shared.raft, &shared.members);
    let processes = shared.processes.clone();
    let coordinator = CoordinatorServer { raft: raft.clone(), members: members.clone(), processes };
    let admin = Admin { raft: raft.clone(), catalog: shared.catalog.clone(), members: members.clone() };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<CoordinatorServiceServer<CoordinatorServer>>().await;
    reporter.set_serving::<AdminServiceServer<Admin>>().await;
    // Many clients still speak the version before.
    let (reflection, reflection_before) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let router = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .add_service(raft.grpc_service())
        .add_service(CoordinatorServiceServer::new(coordinator).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(AdminServiceServer::new(admin))
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_before);
    Ok(task::spawn("coordinator-grpc", async move {
        let incoming = TcpListenerStream::new(listener);
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, cancel.cancelled()).await {
            error!(%error, "the gRPC server stopped");
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_password_is_open_unless_it_listens_on_loopback() {
        let open = |password, address: &str| is_open(password, address.parse().unwrap());
        for inside in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!open("", inside), "{inside}");
        }
        for outside in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(open("", outside) && !open("secret", outside), "{outside}");
        }
    }
}
