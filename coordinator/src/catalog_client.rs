//! The replicated catalog, with the cluster behind it: new tablets are created on their nodes before a change is
//! answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::RwLock;
use tarn_catalog::{Catalog, Operation, Response};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::storage::StorePool;
use tarn_proto::{NodeId, TableId};
use tarn_raft::CatalogRaft;
use tokio::sync::watch;
use tracing::warn;

use crate::Members;
use crate::reconcile::tablets::create_missing;

/// Nodes tell every second that they live: one that does not within this time has not just been started.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(3);
/// Between two looks for a heartbeat.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the rest of a coordinator changes and reads the catalog through. Cheap to clone.
#[derive(Clone)]
pub struct ReplicatedCatalog {
    raft: CatalogRaft,
    members: Arc<RwLock<Members>>,
    stores: StorePool,
}

impl ReplicatedCatalog {
    /// A client of `raft` that places tablets on nodes that `members` calls alive.
    pub fn new(raft: CatalogRaft, members: Arc<RwLock<Members>>, stores: StorePool) -> Self {
        Self { raft, members, stores }
    }

    /// A catalog that holds everything acknowledged before the call.
    pub async fn linearizable(&self) -> Result<Catalog, tarn_raft::Error> {
        self.raft.linearizable_catalog().await
    }

    /// Storage nodes for new tablets. If none is known to live, as just after a start, a first heartbeat is waited for.
    pub async fn placement_soon(&self) -> Vec<NodeId> {
        let deadline = Instant::now() + FIRST_HEARTBEAT;
        loop {
            let placement = self.placement();
            if !placement.is_empty() || Instant::now() >= deadline {
                return placement;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Connections to storage nodes.
    pub const fn stores(&self) -> &StorePool {
        &self.stores
    }

    /// The table whose tablets a change may have added.
    fn grown(operation: &Operation, response: &Response) -> Option<TableId> {
        match (operation, response) {
            (Operation::CreateTable { .. }, Response::Table(table)) => Some(*table),
            (
                Operation::AddPartitions { table, .. }
                | Operation::AddTemporaryPartitions { table, .. }
                | Operation::MaintainPartitions { table, .. }
                | Operation::PrepareOverwrite { table, .. }
                | Operation::TruncateTable { table, .. },
                _,
            ) => Some(*table),
            _ => None,
        }
    }
}

#[async_trait]
impl CatalogClient for ReplicatedCatalog {
    async fn propose(&self, operation: Operation) -> Result<Response, ProposeError> {
        let response = self
            .raft
            .propose(operation.clone())
            .await
            .map_err(|e| ProposeError { kind: e.kind(), message: tarn_proto::error::chain(&e) })?;
        if let Some(table) = Self::grown(&operation, &response)
            && let Err(error) = create_missing(&self.raft.catalog(), &self.stores, Some(table)).await
        {
            // The change stands. The leader creates the tablets as soon as their node is back; loads fail until then.
            warn!(%table, %error, "tablets are not created yet");
        }
        Ok(response)
    }

    fn catalog(&self) -> Catalog {
        self.raft.catalog()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.raft.applied()
    }

    fn placement(&self) -> Vec<NodeId> {
        let (members, now) = (self.members.read(), Instant::now());
        let catalog = self.raft.catalog();
        let usable = |n: &tarn_catalog::Node| !n.draining && !n.address.is_empty() && members.is_alive(n.id, now);
        catalog.storage_nodes().filter(|n| usable(n)).map(|n| n.id).collect()
    }
}
