//! The running node: engine, gRPC server and membership, from start to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tarn_proto::machine::Meter;
use tarn_proto::membership::{Agent, Identity};
use tarn_proto::storage::TabletStore;
use tarn_proto::wire::replication_service_server::ReplicationServiceServer;
use tarn_proto::wire::storage_service_server::StorageServiceServer;
use tarn_proto::wire::{NodeLoad, NodeRole};
use tarn_proto::{NodeId, machine, query_id, task, wire};
use tarn_tablet::{DiskLevel, Engine};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info, warn};

use crate::compaction::Compaction;
use crate::conversion::Conversions;
use crate::fence::Fence;
use crate::flight::FlightServer;
use crate::identity::Kept;
use crate::replication::{Replication, ReplicationServer, Scrubber};
use crate::service::StorageServer;
use crate::store::LocalStore;
use crate::{Config, Error, identity, indexing, metrics};

/// As the clients have it: a message holds at most one record batch or a piece of a segment.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// What a writer may send before the node has taken it; memory for it is outside the write buffers.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same for all streams of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Longest wait for running calls at shutdown. What is cut off is repeated by its caller.
const DRAIN: Duration = Duration::from_secs(10);

/// A storage node that runs. Dropping it stops it without waiting for running calls; [`StorageNode::shutdown`] waits.
pub struct StorageNode {
    engine: Arc<Engine>,
    store: Arc<LocalStore>,
    agent: Arc<Agent>,
    node_id: NodeId,
    address: String,
    cancel: DropGuard,
    server: JoinHandle<()>,
    membership: JoinHandle<()>,
    compaction: Compaction,
    indexing: JoinHandle<()>,
    scrubber: Option<Scrubber>,
}

impl StorageNode {
    /// Opens the tablets, serves them and registers with the coordinators. Waits until one of them answers; dropping the
    /// future gives up.
    pub async fn start(config: Config) -> Result<Self, Error> {
        if config.coordinators.is_empty() {
            return Err(Error::NoCoordinators);
        }
        metrics::describe();
        if let Err(error) = machine::raise_open_files() {
            warn!(%error, "the process keeps its limit of open files; merges of many segments may meet it");
        }
        let (engine, kept, fence) = {
            let config = config.clone();
            blocking(move || {
                let kept = identity::load(&config.data)?;
                let engine = Engine::open(config.engine(kept.node.is_some()));
                let engine = engine.map_err(|source| Error::Engine { data: config.data.clone(), source })?;
                Ok((engine, kept, Fence::load(&config.data)?))
            })
            .await?
        };
        let listen = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = reachable(config.advertise.clone(), listener.local_addr().map_err(listen)?)?;
        let cancel = CancellationToken::new();
        let stop = cancel.clone().drop_guard();
        let replication = Replication::new(&engine, &config, kept.node, &address, cancel.clone());
        let conversions = Conversions::new(engine.clone(), cancel.clone());
        let store = Arc::new(LocalStore::new(engine.clone(), replication.clone(), conversions, fence));
        // A node that does not know who it is does not answer for who had its address before.
        let mut unserved = Some(listener);
        let mut server = None;
        if kept.node.is_some()
            && let Some(listener) = unserved.take()
        {
            server = Some(serve(listener, &store, &replication, cancel.clone()).await);
        }
        let threads = config.compaction_threads();
        let compaction = Compaction::start(engine.clone(), threads, config.superseded_retention(), cancel.clone());
        let indexing = indexing::start(engine.clone(), cancel.clone());
        let scrubber = Scrubber::start(engine.clone(), &config);

        let identity = Identity {
            role: NodeRole::Storage,
            address: address.clone(),
            flight_address: String::new(),
            node_id: kept.node,
            cluster_id: kept.cluster.clone(),
        };
        let other = |source| Error::OtherCluster { data: config.data.clone(), source };
        let Some(agent) = Agent::register(identity, config.coordinators.clone(), &cancel).await.map_err(other)? else {
            return Err(Error::Background);
        };
        let meter = Meter::new(&config.data);
        let agent = Arc::new(agent);
        let (node_id, cluster) = (agent.node_id(), agent.cluster_id());
        replication.set_node(node_id);
        if let Some(listener) = unserved {
            server = Some(serve(listener, &store, &replication, cancel.clone()).await);
        }
        let server = server.expect("there was one listener");
        if kept != (Kept { node: Some(node_id), cluster: Some(cluster.clone()) }) {
            if let Some(before) = kept.node.filter(|before| *before != node_id) {
                warn!(%before, now = %node_id, "the coordinators gave this node another id");
            }
            blocking(move || identity::save(&config.data, node_id, &cluster)).await?;
        }
        let membership = {
            let (agent, engine) = (agent.clone(), engine.clone());
            let load = move || {
                let usage = engine.usage();
                let disk_level = match engine.disk_level() {
                    DiskLevel::Ok => wire::DiskLevel::Ok,
                    DiskLevel::Low => wire::DiskLevel::Low,
                    DiskLevel::Full => wire::DiskLevel::Full,
                };
                NodeLoad {
                    running: usage.loads,
                    tablets: usage.tablets,
                    data_bytes: usage.bytes,
                    disk_level: disk_level.into(),
                    ..meter.measure()
                }
            };
            task::spawn("storage-membership", async move { agent.run(cancel, load).await })
        };
        info!(node = %node_id, address, tablets = engine.tablet_count(), "storage node started");
        Ok(Self {
            engine,
            store,
            agent,
            node_id,
            address,
            cancel: stop,
            server,
            membership,
            compaction,
            indexing,
            scrubber,
        })
    }

    /// The id that the coordinators gave this node.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// `host:port` of its gRPC server, as others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The tablets, for callers in this process.
    pub fn store(&self) -> Arc<dyn TabletStore> {
        self.store.clone()
    }

    /// Why it cannot do its work now, if so.
    pub fn ready(&self) -> Result<(), String> {
        if self.server.is_finished() {
            return Err("the gRPC server has stopped, see the log".to_owned());
        }
        let now = self.agent.node_id();
        if now != self.node_id {
            return Err(format!("the coordinators call this node {now} instead of {}: restart it", self.node_id));
        }
        match self.engine.usage().read_only {
            0 => Ok(()),
            tablets => Err(format!("{tablets} tablets are read-only since a write failed: repair the disk, restart")),
        }
    }

    /// Stops taking calls, finishes running ones (for ten seconds at most) and stops.
    pub async fn shutdown(self) {
        drop(self.cancel);
        finish("gRPC server", self.server).await;
        finish("membership", self.membership).await;
        finish("compaction", self.compaction.scheduler).await;
        finish("superseded rowsets", self.compaction.collector).await;
        finish("indexes", self.indexing).await;
        if let Some(scrubber) = self.scrubber
            && let Err(error) = tokio::task::spawn_blocking(move || scrubber.stop()).await
        {
            error!(%error, "cannot wait for the scrubber");
        }
        info!(node = %self.node_id, "storage node stopped");
    }
}

async fn finish(what: &str, mut task: JoinHandle<()>) {
    match tokio::time::timeout(DRAIN, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!(what, %error, "a task of the storage node failed"),
        Err(_) => {
            warn!(what, "running calls are cut off");
            task.abort();
            drop(task.await);
        }
    }
}

/// The address others reach this node at.
fn reachable(advertise: Option<String>, bound: SocketAddr) -> Result<String, Error> {
    match advertise {
        Some(address) => Ok(address),
        None if bound.ip().is_unspecified() => Err(Error::Advertise(bound)),
        None => Ok(bound.to_string()),
    }
}

async fn serve(
    listener: TcpListener,
    store: &Arc<LocalStore>,
    replication: &Arc<Replication>,
    cancel: CancellationToken,
) -> JoinHandle<()> {
    let storage = StorageServiceServer::new(StorageServer { store: store.clone() })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let flight = FlightServiceServer::new(FlightServer { store: store.clone() })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let replication = ReplicationServiceServer::new(ReplicationServer { replication: replication.clone() })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<StorageServiceServer<StorageServer>>().await;
    let router = tonic::transport::Server::builder()
        .trace_fn(query_id::span)
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(Some(STREAM_WINDOW_BYTES))
        .initial_connection_window_size(Some(CONNECTION_WINDOW_BYTES))
        .add_service(storage)
        .add_service(flight)
        .add_service(replication)
        .add_service(health);
    task::spawn("storage-grpc", async move {
        let incoming = TcpListenerStream::new(listener);
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, cancel.cancelled_owned()).await {
            error!(%error, "the gRPC server stopped");
        }
    })
}

/// Runs what blocks on the disk on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Background)?
}
