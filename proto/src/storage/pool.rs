//! One process's connections to storage nodes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{GrpcTabletStore, Result, StoreError, TabletStore};
use crate::{ErrorKind, NodeId, Term};

/// Hands out the [`TabletStore`] of a node: the one in this process, or a connection that is kept per address. Cheap to
/// clone.
#[derive(Clone, Default)]
pub struct StorePool {
    local: Option<(NodeId, Arc<dyn TabletStore>)>,
    remote: Arc<RwLock<HashMap<String, Arc<dyn TabletStore>>>>,
    leader: Option<Term>,
}

impl StorePool {
    /// A pool that calls `store` directly for `node`.
    pub fn with_local(node: NodeId, store: Arc<dyn TabletStore>) -> Self {
        Self { local: Some((node, store)), ..Self::default() }
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

    /// The same connections, for calls that the leader of a term makes: see [`TabletStore::led_in`].
    pub fn led_in(&self, term: Term) -> Self {
        Self { leader: Some(term), ..self.clone() }
    }

    /// The store of `node`, reached at `address` (`host:port`; empty when it has lost it to another node). Does not wait: a
    /// connection is made by the first call.
    pub fn get(&self, node: NodeId, address: &str) -> Result<Arc<dyn TabletStore>> {
        let store = self.store(node, address)?;
        Ok(self.leader.and_then(|term| store.led_in(term)).unwrap_or(store))
    }

    fn store(&self, node: NodeId, address: &str) -> Result<Arc<dyn TabletStore>> {
        if let Some((local, store)) = &self.local
            && *local == node
        {
            return Ok(store.clone());
        }
        if address.is_empty() {
            let message =
                "another node has its address now: its tablets are away until it is back, see SHOW STORAGE NODES";
            let address = node.to_string();
            return Err(StoreError { kind: ErrorKind::Unavailable, address, message: message.to_owned() });
        }
        if let Some(store) = self.remote.read().get(address) {
            return Ok(store.clone());
        }
        let store: Arc<dyn TabletStore> = Arc::new(GrpcTabletStore::new(address)?);
        Ok(self.remote.write().entry(address.to_owned()).or_insert(store).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_lost_its_address_is_away_by_name() {
        let error = StorePool::default().get(NodeId(1001), "").err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.to_string().contains("n1001"), "{error}");
    }
}
