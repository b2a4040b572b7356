//! Runs roles: settings, telemetry, HTTP, the role itself, and its end.
//!
//! ```text
//!  settings ─► telemetry ─► HTTP (alive, not ready) ─► Server: dev | coordinator | storage node | compute node
//!                                                        │ ready            until SIGTERM, SIGINT or its failure
//!                                                        ▼
//!                                                     graceful stop, last traces
//! ```

mod dev;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarn_compute_node::ComputeNode;
use tarn_coordinator::Coordinator;
use tarn_proto::storage::StorePool;
use tarn_proto::task;
use tarn_storage_node::StorageNode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cli::{ComputeNodeArgs, CoordinatorArgs, DevArgs, Role, ServerArgs, StorageNodeArgs};
use crate::config::{self, ProcessConfig};
use crate::process::{Signals, server_runtime, stop_within};
use crate::telemetry::Telemetry;
use dev::{Dev, DevConfig};

/// A role that runs. Lives once in a process.
enum Server {
    Dev(Dev),
    Coordinator(Coordinator),
    StorageNode(StorageNode),
    ComputeNode(ComputeNode),
}

impl Server {
    /// Why it cannot do its work now, if so.
    fn ready(&self) -> Result<(), String> {
        match self {
            Self::Dev(dev) => dev.ready(),
            Self::Coordinator(coordinator) => coordinator.ready(),
            Self::StorageNode(node) => node.ready(),
            Self::ComputeNode(node) if node.ready() => Ok(()),
            Self::ComputeNode(_) => Err("not registered with a coordinator".to_owned()),
        }
    }

    /// Ends when the role has stopped by itself.
    async fn failed(&self) -> anyhow::Error {
        match self {
            Self::Dev(dev) => dev.failed().await,
            Self::Coordinator(coordinator) => coordinator.failed().await.into(),
            Self::StorageNode(_) | Self::ComputeNode(_) => std::future::pending().await,
        }
    }

    /// Stops it gracefully.
    async fn shutdown(self) {
        match self {
            Self::Dev(dev) => dev.shutdown().await,
            Self::Coordinator(coordinator) => coordinator.shutdown().await,
            Self::StorageNode(node) => node.shutdown().await,
            Self::ComputeNode(node) => {
                if let Err(failure) = node.shutdown().await {
                    warn!(error = tarn_proto::error::chain(&failure), "the compute node did not stop cleanly");
                }
            }
        }
    }
}

/// `tarn dev`.
pub fn dev(args: &DevArgs) -> anyhow::Result<()> {
    run(Role::Dev, &args.server, args, async |config: DevConfig| Ok(Server::Dev(Dev::start(config).await?)))
}

/// `tarn coordinator`.
pub fn coordinator(args: &CoordinatorArgs) -> anyhow::Result<()> {
    run(Role::Coordinator, &args.server, args, async |config| {
        let coordinator = Coordinator::start(config, StorePool::default()).await?;
        info!(address = coordinator.address(), flight = coordinator.flight_address(), "coordinator started");
        Ok(Server::Coordinator(coordinator))
    })
}

/// `tarn storage-node`.
pub fn storage_node(args: &StorageNodeArgs) -> anyhow::Result<()> {
    run(Role::StorageNode, &args.server, args, async |config| {
        let node = StorageNode::start(config).await?;
        info!(address = node.address(), "storage node started");
        Ok(Server::StorageNode(node))
    })
}

/// `tarn compute-node`.
pub fn compute_node(args: &ComputeNodeArgs) -> anyhow::Result<()> {
    run(Role::ComputeNode, &args.server, args, async |config| {
        let node = ComputeNode::start(config).await?;
        info!(address = node.address(), "compute node started");
        Ok(Server::ComputeNode(node))
    })
}

/// Checks a configuration file, and the environment over it, for a role.
pub fn check_config(file: &Path, role: Role) -> anyhow::Result<()> {
    match role {
        Role::Dev => config::check::<DevConfig>(file).map(drop)?,
        Role::Coordinator => config::check::<tarn_coordinator::Config>(file).map(drop)?,
        Role::StorageNode => config::check::<tarn_storage_node::Config>(file).map(drop)?,
        Role::ComputeNode => config::check::<tarn_compute_node::Config>(file).map(drop)?,
    }
    Ok(())
}

/// Runs a role until a signal or its failure.
fn run<R: DeserializeOwned>(
    role: Role,
    args: &ServerArgs,
    flags: &impl Serialize,
    start: impl AsyncFnOnce(R) -> anyhow::Result<Server>,
) -> anyhow::Result<()> {
    let (process, settings) = config::load(args, flags)?;
    server_runtime()?.block_on(async {
        let telemetry = Telemetry::start(&process, role.name())?;
        info!(version = env!("CARGO_PKG_VERSION"), role = role.name(), "starting");
        let outcome = serve(&process, &telemetry, start(settings)).await;
        if let Err(failure) = &outcome {
            error!(error = tarn_proto::error::chain(failure.as_ref()), "the {} failed", role.name());
        }
        telemetry.stop();
        outcome
    })
}

async fn serve(
    process: &ProcessConfig,
    telemetry: &Telemetry,
    start: impl Future<Output = anyhow::Result<Server>>,
) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let running: Arc<RwLock<Option<Arc<Server>>>> = Arc::default();
    let cancel = CancellationToken::new();
    let http = match process.http() {
        Some(address) => Some(serve_http(address, running.clone(), telemetry, cancel.clone()).await?),
        None => None,
    };
    let server = tokio::select! {
        biased;
        signal = signals.next() => {
            info!(signal, "stopping before the start has ended");
            return Ok(());
        }
        server = start => Arc::new(server?),
    };
    *running.write().unwrap_or_else(PoisonError::into_inner) = Some(server.clone());
    let failure = tokio::select! {
        biased;
        signal = signals.next() => {
            info!(signal, deadline_s = process.shutdown_timeout().as_secs(), "stopping");
            None
        }
        failure = server.failed() => Some(failure),
    };
    *running.write().unwrap_or_else(PoisonError::into_inner) = None;
    let server = Arc::into_inner(server).expect("readiness is asked under the lock, so nobody else holds the server");
    let stopped = stop_within(signals, process.shutdown_timeout(), server.shutdown()).await;
    cancel.cancel();
    if let Some(http) = http {
        http.await.context("the HTTP server panicked")?;
    }
    match failure {
        Some(failure) => Err(failure),
        None => stopped,
    }
}

/// Serves `/metrics`, `/healthz` and `/readyz`: alive from now on, ready when the server in `running` is.
async fn serve_http(
    address: &str,
    running: Arc<RwLock<Option<Arc<Server>>>>,
    telemetry: &Telemetry,
    cancel: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listener =
        TcpListener::bind(address).await.map_err(|e| anyhow!(e).context(format!("cannot serve HTTP at {address}")))?;
    let ready = move || match running.read().unwrap_or_else(PoisonError::into_inner).as_deref() {
        Some(server) => server.ready(),
        None => Err("starting or stopping".to_owned()),
    };
    let metrics = telemetry.metrics.clone();
    Ok(task::spawn("http", async move {
        if let Err(error) = tarn_gateway::http::serve_http(listener, ready, metrics, cancel).await {
            error!(%error, "the HTTP server stopped");
        }
    }))
}
