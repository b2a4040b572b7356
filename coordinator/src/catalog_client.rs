//! The replicated catalog, with the cluster behind it: new tablets are created on their nodes before a change is
//! answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::RwLock;
use tarn_catalog::command::Placement;
use tarn_catalog::{Catalog, Operation, Response};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::storage::StorePool;
use tarn_proto::{NodeId, TableId, Term};
use tarn_raft::CatalogRaft;
use tokio::sync::watch;
use tracing::warn;

use crate::Members;
use crate::reconcile::placement;
use crate::reconcile::repair::health_now;
use crate::reconcile::tablets::create_missing;
use crate::reconcile::volumes::open_new;

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
    started: Instant,
}

impl ReplicatedCatalog {
    /// A client of `raft` that places tablets on nodes that `members` calls alive.
    pub fn new(raft: CatalogRaft, members: Arc<RwLock<Members>>, stores: StorePool) -> Self {
        Self { raft, members, stores, started: Instant::now() }
    }

    /// The same, for what the leader of a term does: see [`StorePool::led_in`].
    pub fn led_in(&self, term: Term) -> Self {
        Self { stores: self.stores.led_in(term), ..self.clone() }
    }

    /// A catalog that holds everything acknowledged before the call.
    pub async fn linearizable(&self) -> Result<Catalog, tarn_raft::Error> {
        self.raft.linearizable_catalog().await
    }

    /// Storage nodes for new tablets. Just after a start a first heartbeat of each is waited for, and if none is known to
    /// live, for one that is.
    pub async fn placement_soon(&self) -> Placement {
        let deadline = Instant::now() + FIRST_HEARTBEAT;
        loop {
            let (placement, now) = (self.placement(), Instant::now());
            let heard = now >= self.started + FIRST_HEARTBEAT || self.all_storage_nodes_heard();
            if heard && !placement.is_empty() || now >= deadline {
                return placement;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Storage nodes that were not heard lately: others are read first.
    pub fn silent(&self, catalog: &Catalog) -> BTreeSet<NodeId> {
        let (members, now) = (self.members.read(), Instant::now());
        catalog.storage_nodes().map(|node| node.id).filter(|node| !members.is_alive(*node, now)).collect()
    }

    fn all_storage_nodes_heard(&self) -> bool {
        let members = self.members.read();
        let catalog = self.raft.catalog();
        catalog.storage_nodes().filter(|node| !node.draining).all(|node| members.get(node.id).is_some())
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
        if let Some(table) = Self::grown(&operation, &response)
            && let Err(error) = open_new(&self.raft.catalog(), &self.stores, table).await
        {
            warn!(%table, %error, "tablets are not opened on their storage volume yet");
        }
        Ok(response)
    }

    fn catalog(&self) -> Catalog {
        self.raft.catalog()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.raft.applied()
    }

    fn placement(&self) -> Placement {
        let catalog = self.raft.catalog();
        let health = health_now(&catalog, &self.members.read(), Instant::now());
        placement::cycle(&catalog, &health)
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.members.read().is_alive(node, Instant::now())
    }
}
