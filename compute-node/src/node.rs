//! A running compute node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datafusion_distributed::Worker;
use tarn_proto::query_id;
use tarn_proto::storage::StorePool;
use tarn_proto::task::spawn;
use tarn_scan::distribute::WorkerChannels;
use tarn_scan::{QueryRuntime, ScanContext};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tracing::{info, warn};
use url::Url;

use crate::counted::Counted;
use crate::membership::{self, Load, Standing};
use crate::memory::QueryRuntimes;
use crate::session::TaskSessions;
use crate::tasks::Tasks;
use crate::{Config, Error, metrics, sweep, trace};

/// A silent peer is given up after one interval and one timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// After the last task, connections have so long to end by themselves.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A compute node of this process. Dropping it stops accepting work; [`ComputeNode::shutdown`] does so in order.
pub struct ComputeNode {
    address: String,
    tasks: Tasks,
    standing: watch::Receiver<Standing>,
    health: HealthReporter,
    leave: CancellationToken,
    close: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    membership: JoinHandle<()>,
    sweep: JoinHandle<()>,
    drain: Duration,
    /// Ends with the node.
    _threads: Arc<QueryRuntime>,
}

impl ComputeNode {
    /// Starts a compute node with its own caches. It serves when this returns, and joins the cluster in the background.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let context = ScanContext::new(StorePool::default(), config.cache()).await?;
        Self::start_with(config, context).await
    }

    /// As [`ComputeNode::start`], sharing the caches and storage connections of the process.
    pub async fn start_with(config: Config, context: Arc<ScanContext>) -> Result<Self, Error> {
        trace::install();
        metrics::describe();
        clear_spill(&config)?;
        let listen =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(|e| listen(e.into()))?;
        let local = listener.local_addr().map_err(|e| listen(e.into()))?;
        let (address, url) = advertised(config.advertise.clone(), local)?;

        let runtimes = Arc::new(QueryRuntimes::new(&config).map_err(Error::Runtime)?);
        let tasks = Tasks::new();
        let sessions = TaskSessions {
            url,
            context,
            runtimes: runtimes.clone(),
            tasks: tasks.clone(),
            peers: WorkerChannels::default(),
        };
        let worker = Worker::from_session_builder(sessions).with_version(env!("CARGO_PKG_VERSION"));
        let sweep = spawn("compute-node-sweep", sweep::run(worker.clone(), tasks.clone()));
        let (health, health_service) = health_reporter();
        let (leave, close) = (CancellationToken::new(), CancellationToken::new());
        let server = Server::builder()
            .trace_fn(query_id::span)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(64 << 20)
            .add_service(health_service)
            .add_service(Counted::new(worker.into_worker_server(), tasks.clone()))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                close.clone().cancelled_owned(),
            );
        // Tasks of queries are children of the server's. Heartbeats are not.
        let threads = QueryRuntime::new().map_err(|e| Error::Runtime(e.into()))?;
        let server = {
            let _entered = threads.enter();
            spawn("compute-node-server", server)
        };

        let alone = config.coordinators.is_empty();
        let (standing_tx, standing) = watch::channel(if alone { Standing::Member } else { Standing::Unknown });
        let load = Load::new(&config, tasks.clone(), runtimes);
        let (joining, coordinators, cancel) = (address.clone(), config.coordinators.clone(), leave.clone());
        let reporter = health.clone();
        let membership = spawn("compute-node-membership", async move {
            let follow = report_health(reporter, standing_tx.subscribe());
            let member = async {
                match coordinators.is_empty() {
                    true => cancel.cancelled().await,
                    false => membership::run(joining, coordinators, load, standing_tx, cancel.clone()).await,
                }
            };
            tokio::select! {
                () = member => {}
                () = follow => {}
            }
        });
        info!(address, "compute node serves");
        let drain = Duration::from_secs(config.drain_seconds);
        Ok(Self { address, tasks, standing, health, leave, close, server, membership, sweep, drain, _threads: threads })
    }

    /// `host:port` at which others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it takes work: it serves, coordinators know it, and it is not being drained.
    pub fn ready(&self) -> bool {
        !self.server.is_finished() && !self.tasks.is_closed() && *self.standing.borrow() == Standing::Member
    }

    /// Tasks that have arrived and not ended.
    pub fn running(&self) -> usize {
        self.tasks.running()
    }

    /// Leaves the cluster: stops heartbeats, refuses tasks of queries that have none here in a way that makes coordinators
    /// run them elsewhere, lets the others end within the configured time, cuts off the rest, and closes the server. Queries
    /// whose tasks were cut off fail with the node's name or run again without it, as when a node is lost.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        self.leave.cancel();
        self.tasks.close();
        self.health.set_service_status("", ServingStatus::NotServing).await;
        let left = self.tasks.drained(self.drain).await;
        self.close.cancel();
        if left > 0 {
            warn!(address = self.address, tasks = left, waited = ?self.drain, "compute node stopped with tasks running");
            // They end with the node's threads.
            return Ok(());
        }
        let stopped = match tokio::time::timeout(CLOSE_TIMEOUT, &mut self.server).await {
            Ok(Ok(stopped)) => stopped,
            // It panicked, which is logged, or a connection does not end.
            Ok(Err(_)) | Err(_) => Ok(()),
        };
        info!(address = self.address, "compute node stopped");
        stopped.map_err(|source| Error::Serve { address: self.address.clone(), source })
    }
}

impl Drop for ComputeNode {
    fn drop(&mut self) {
        self.leave.cancel();
        self.close.cancel();
        self.server.abort();
        self.membership.abort();
        self.sweep.abort();
    }
}

/// Tells the health service what coordinators think of the node.
async fn report_health(health: HealthReporter, mut standing: watch::Receiver<Standing>) {
    loop {
        let status = match *standing.borrow_and_update() {
            Standing::Member => ServingStatus::Serving,
            Standing::Unknown | Standing::Draining => ServingStatus::NotServing,
        };
        health.set_service_status("", status).await;
        if standing.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Removes what an earlier process spilled.
fn clear_spill(config: &Config) -> Result<(), Error> {
    let directory = config.spill_dir();
    let cleared = match std::fs::remove_dir_all(&directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => std::fs::create_dir_all(&directory),
    };
    cleared.map_err(|source| Error::Spill { directory, source })
}

/// The address that others use, and the name by which plans know this worker.
fn advertised(advertise: Option<String>, local: SocketAddr) -> Result<(String, Url), Error> {
    let address = match advertise {
        Some(address) => address,
        None if local.ip().is_unspecified() => return Err(Error::Advertise { address: local.to_string() }),
        None => local.to_string(),
    };
    let url = Url::parse(&format!("http://{address}")).ok().filter(|url| url.host().is_some() && url.path() == "/");
    match url {
        Some(url) => Ok((address, url)),
        None => Err(Error::Advertise { address }),
    }
}
