//! Runs roles: settings, telemetry, HTTP, the role itself, and its end.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarn_compute_node::ComputeNode;
use tarn_coordinator::{Coordinator, Embedded};
use tarn_storage_node::StorageNode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::cli::{ComputeNodeArgs, CoordinatorArgs, DevArgs, Role, ServerArgs, StorageNodeArgs};
use crate::config::{self, ProcessConfig};
use crate::process::{Signals, server_runtime, until_stopped};
use crate::telemetry::Telemetry;

/// Settings of `tarn dev`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DevConfig {
    /// Each role has a folder in it.
    data: PathBuf,
    /// Where Flight SQL is served.
    flight: String,
    /// The coordinator's other settings.
    coordinator: tarn_coordinator::Config,
    /// The storage node's other settings.
    storage_node: tarn_storage_node::Config,
}

impl Default for DevConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tarn-data"),
            flight: "127.0.0.1:9408".to_owned(),
            coordinator: tarn_coordinator::Config::default(),
            storage_node: tarn_storage_node::Config::default(),
        }
    }
}

/// A role that runs.
struct Running {
    /// Why it cannot do its work now, if so.
    ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Stops it gracefully.
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}
