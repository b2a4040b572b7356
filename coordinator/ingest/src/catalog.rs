//! What loading needs of the replicated catalog.

use async_trait::async_trait;
use tarn_catalog::command::Placement;
use tarn_catalog::{Catalog, Operation, Response};
use tarn_proto::{ErrorKind, NodeId};
use tokio::sync::watch;

/// A proposal that did not go through.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ProposeError {
    /// What the caller must do.
    pub kind: ErrorKind,
    /// Why.
    pub message: String,
}

/// The replicated catalog.
#[async_trait]
pub trait CatalogClient: Send + Sync + 'static {
    /// Applies a change, on whichever coordinator leads, exactly once. A refusal is an error.
    async fn propose(&self, operation: Operation) -> Result<Response, ProposeError>;

    /// The catalog as applied here, O(1).
    fn catalog(&self) -> Catalog;

    /// Changes whenever the catalog does.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Storage nodes that may get new tablets.
    fn placement(&self) -> Placement;

    /// Whether the node was heard of lately. Of no more than advice: a node may have died since, or not have been heard yet.
    fn is_alive(&self, node: NodeId) -> bool;
}
