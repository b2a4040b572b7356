//! Settings of a server: a TOML file, `TARN_*` variables over it, flags over those. Unknown keys are refused with the
//! place they stand in and the nearest known key.
//!
//! Every file holds the settings of one role and of its process ([`ProcessConfig`]) side by side. Variables name nested
//! keys with two underscores: `TARN_CACHE__MEMORY_BYTES` is `cache.memory_bytes`.

mod error;
mod layer;

use std::path::Path;
use std::time::Duration;

use figment::Figment;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use error::Error;
use layer::Layer;

use crate::cli::{LogFormat, ServerArgs};

/// `http` of a process that serves none.
const OFF: &str = "off";

/// Settings of a server process, whatever its role.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` are served, or `off`.
    pub http: String,
    /// What to log.
    pub log: Option<String>,
    /// How to log.
    pub log_format: LogFormat,
    /// OTLP (gRPC) endpoint that gets the traces, e.g. `http://127.0.0.1:4317`.
    pub otlp_endpoint: Option<String>,
    /// Longest graceful stop, in seconds.
    pub shutdown_timeout_secs: u64,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            http: "127.0.0.1:8030".to_owned(),
            log: None,
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            shutdown_timeout_secs: 30,
        }
    }
}

impl ProcessConfig {
    const KEYS: &'static [&'static str] = &["http", "log", "log_format", "otlp_endpoint", "shutdown_timeout_secs"];

    /// The HTTP address, unless it is off.
    pub fn http(&self) -> Option<&str> {
        (self.http != OFF).then_some(self.http.as_str())
    }

    /// Longest graceful stop.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_secs)
    }
}

/// Reads the settings of a server: `args.config`, the environment, and `flags`.
pub fn load<R: DeserializeOwned>(args: &ServerArgs, flags: &impl Serialize) -> Result<(ProcessConfig, R), Error> {
    let mut layers = Vec::new();
    if let Some(file) = &args.config {
        layers.push(Layer::file(file)?);
    }
    layers.push(Layer::environment(std::env::vars()));
    layers.push(Layer::flags(flags)?);
    layers.push(Layer::settings(&args.set));
    extract(&layers)
}

/// Reads the settings of a server without flags.
pub fn check<R: DeserializeOwned>(file: &Path) -> Result<(ProcessConfig, R), Error> {
    extract(&[Layer::file(file)?, Layer::environment(std::env::vars())])
}

fn extract<R: DeserializeOwned>(layers: &[Layer]) -> Result<(ProcessConfig, R), Error> {
    let merged = |process: bool| {
        layers.iter().fold(Figment::new(), |figment, layer| {
            figment.merge(layer.keep(|key| ProcessConfig::KEYS.contains(&key) == process))
        })
    };
    let process = merged(true).extract_lossy().map_err(Error::wrong)?;
    let role = merged(false).extract_lossy().map_err(Error::wrong)?;
    Ok((process, role))
}

#[cfg(test)]
mod tests;
