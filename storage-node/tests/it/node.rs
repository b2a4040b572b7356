//! A running node in a folder of its own, and both ways to reach it.

use std::path::PathBuf;
use std::sync::Arc;

use tarn_proto::storage::{GrpcTabletStore, TabletStore};
use tarn_storage_node::{Config, StorageNode};
use tempfile::TempDir;

use crate::coordinator::Registry;

pub struct Node {
    pub node: StorageNode,
    pub registry: Registry,
    pub config: Config,
    pub folder: TempDir,
}

impl Node {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::default();
        let mut config = Config {
            data: folder.path().join("data"),
            listen: "127.0.0.1:0".parse().unwrap(),
            coordinators: vec![registry.serve().await],
            ..Config::default()
        };
        change(&mut config);
        let node = StorageNode::start(config.clone()).await.unwrap();
        Self { node, registry, config, folder }
    }

    /// Stops the node and starts it on the same data.
    pub async fn restart(self) -> Self {
        let Self { node, registry, config, folder } = self;
        node.shutdown().await;
        let node = StorageNode::start(config.clone()).await.unwrap();
        Self { node, registry, config, folder }
    }

    pub fn local(&self) -> Arc<dyn TabletStore> {
        self.node.store()
    }

    pub fn remote(&self) -> Arc<dyn TabletStore> {
        Arc::new(GrpcTabletStore::new(self.node.address()).unwrap())
    }

    /// In process and over gRPC.
    pub fn stores(&self) -> [(&'static str, Arc<dyn TabletStore>); 2] {
        [("in process", self.local()), ("gRPC", self.remote())]
    }

    pub fn tablet_folder(&self, tablet: u64) -> PathBuf {
        self.config.data.join("tablets").join(tablet.to_string())
    }
}
