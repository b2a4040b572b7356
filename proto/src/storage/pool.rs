//! One process's connections to storage nodes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{GrpcTabletStore, Result, TabletStore};
use crate::NodeId;

/// Hands out the [`TabletStore`] of a node: the one in this process, or a connection that is kept per address. Cheap to
/// clone.
#[derive(Clone, Default)]
pub struct StorePool {
    local: Option<(NodeId, Arc<dyn TabletStore>)>,
    remote: Arc<RwLock<HashMap<String, Arc<dyn TabletStore>>>>,
}

impl StorePool {
    /// A pool that calls `store` directly for `node`.
    pub fn with_local(node: NodeId, store: Arc<dyn TabletStore>) -> Self {
        Self { local: Some((node, store)), remote: Arc::default() }
    }

    /// Makes calls to the node at `address` (`host:port`) go to `store`, which is in this process. An embedded server
    /// learns that address when its storage node listens, and its id only when that has registered with the coordinator
    /// that uses this pool.
    pub fn insert(&self, address: &str, store: Arc<dyn TabletStore>) {
        self.remote.write().insert(address.to_owned(), store);
    }

    /// Whether the store of `node` is in this process.
    pub fn is_local(&self, node: NodeId) -> bool {
        self.local.as_ref().is_some_and(|(local, _)| *local == node)
    }

    /// The store of `node`, reached at `address` (`host:port`). Does not wait: a connection is made by the first call.
    pub fn get(&self, node: NodeId, address: &str) -> Result<Arc<dyn TabletStore>> {
        if let Some((local, store)) = &self.local
            && *local == node
        {
            return Ok(store.clone());
        }
        if let Some(store) = self.remote.read().get(address) {
            return Ok(store.clone());
        }
        let store: Arc<dyn TabletStore> = Arc::new(GrpcTabletStore::new(address)?);
        Ok(self.remote.write().entry(address.to_owned()).or_insert(store).clone())
    }
}
