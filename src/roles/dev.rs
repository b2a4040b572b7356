//! `tarn dev`: a coordinator and a storage node in one process. The coordinator calls the storage node directly and
//! runs queries itself, as long as no compute node has registered.
//!
//! ```text
//!  DATA/coordinator           log and catalog
//!  DATA/storage               tablets
//!  DATA/coordinator.address   where its gRPC listens, the same at every start: the catalog's log names it
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tarn_coordinator::Coordinator;
use tarn_proto::storage::StorePool;
use tarn_storage_node::StorageNode;
use tracing::info;

/// In the data folder.
const ADDRESS_FILE: &str = "coordinator.address";

/// Settings of `tarn dev`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevConfig {
    /// Each role has a folder in it.
    data: PathBuf,
    /// Where Flight SQL is served.
    flight: SocketAddr,
    /// The coordinator's other settings.
    coordinator: tarn_coordinator::Config,
    /// The storage node's other settings.
    storage_node: tarn_storage_node::Config,
}

impl Default for DevConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tarn-data"),
            flight: SocketAddr::from((Ipv4Addr::LOCALHOST, 9408)),
            coordinator: tarn_coordinator::Config::default(),
            storage_node: tarn_storage_node::Config::default(),
        }
    }
}

/// The embedded server.
pub struct Dev {
    coordinator: Coordinator,
    storage: StorageNode,
}

impl Dev {
    /// Starts the roles.
    pub async fn start(config: DevConfig) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("cannot create the data folder {}", config.data.display()))?;
        let mut settings = config.coordinator;
        settings.data = config.data.join("coordinator");
        settings.flight = config.flight;
        if settings.listen == tarn_coordinator::Config::default().listen {
            settings.listen = remembered_address(&config.data, settings.listen)?;
        }
        if settings.initial_voters.is_empty() {
            let address = settings.advertise.clone().unwrap_or_else(|| settings.listen.to_string());
            settings.initial_voters.insert(settings.node_id.to_string(), address);
        }
        let stores = StorePool::default();
        let coordinator = Coordinator::start(settings, stores.clone()).await?;

        let mut settings = config.storage_node;
        settings.data = config.data.join("storage");
        settings.coordinators = vec![coordinator.address().to_owned()];
        if settings.listen == tarn_storage_node::Config::default().listen {
            settings.listen = any_port();
        }
        let storage = match StorageNode::start(settings).await {
            Ok(storage) => storage,
            Err(error) => {
                coordinator.shutdown().await;
                return Err(error.into());
            }
        };
        stores.insert(storage.address(), storage.store());
        info!(
            flight = coordinator.flight_address(),
            coordinator = coordinator.address(),
            data = %config.data.display(),
            "Tarn started"
        );
        Ok(Self { coordinator, storage })
    }

    /// Why it cannot do its work now, if so.
    pub fn ready(&self) -> Result<(), String> {
        self.coordinator.ready()?;
        self.storage.ready()
    }

    /// Ends when the coordinator has stopped by itself.
    pub async fn failed(&self) -> anyhow::Error {
        self.coordinator.failed().await.into()
    }

    /// Stops the coordinator first: what it runs needs the storage node.
    pub async fn shutdown(self) {
        self.coordinator.shutdown().await;
        self.storage.shutdown().await;
    }
}

const fn any_port() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

/// The address in `data`, or at the first start `preferred`, or another port when that is taken.
fn remembered_address(data: &Path, preferred: SocketAddr) -> anyhow::Result<SocketAddr> {
    let file = data.join(ADDRESS_FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            return text.trim().parse().with_context(|| format!("{} does not hold host:port", file.display()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
    let listener = std::net::TcpListener::bind(preferred)
        .or_else(|_| std::net::TcpListener::bind(any_port()))
        .context("no port is free for the coordinator's gRPC")?;
    let address = listener.local_addr().context("no port is free for the coordinator's gRPC")?;
    std::fs::write(&file, format!("{address}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinator_keeps_its_address_even_when_another_is_preferred_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let taken = std::net::TcpListener::bind(any_port()).expect("a port");
        let taken_address = taken.local_addr().expect("an address");
        let first = remembered_address(folder.path(), taken_address).expect("an address");
        assert_ne!(first, taken_address, "that port is taken");
        drop(taken);
        assert_eq!(remembered_address(folder.path(), taken_address).expect("an address"), first);
    }

    #[test]
    fn a_damaged_address_is_reported_by_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(ADDRESS_FILE), "nowhere").expect("a file");
        let error = remembered_address(folder.path(), any_port()).expect_err("refused");
        assert!(error.to_string().contains(ADDRESS_FILE), "{error}");
    }
}
