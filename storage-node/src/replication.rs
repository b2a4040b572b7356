//! Replicas of a tablet on other storage nodes: who gets a load's rows from this node, and where this node gets what it
//! lacks. How files are fetched and what they become is `tarn-tablet`'s.
//!
//! ```text
//!  load      LocalStore::write ... finish ──► `ship`: ReplicateRowsets ──► peer: `service` ──► ReadRowset back ──► durable
//!  catch up  coordinator ──► `catch_ups`: one job a tablet ──► GetReplica, ReadRowset of a source (`client`)
//!  scrub     `scrubber` (thread) ──► damage ──► the tablet's report ──► coordinator ──► catch up with repair
//! ```

mod catch_ups;
mod client;
mod scrubber;
mod service;
mod ship;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tarn_proto::storage::{Peer, StoreError};
use tarn_proto::{ErrorKind, NodeId};
use tarn_tablet::{Engine, Pace};
use tokio_util::sync::CancellationToken;

pub(crate) use scrubber::Scrubber;
pub(crate) use service::ReplicationServer;

use crate::Config;
use catch_ups::CatchUps;
use client::Clients;
use ship::Slow;

/// What this node does with replicas on others.
pub(crate) struct Replication {
    engine: Arc<Engine>,
    /// This node, once its id is known.
    node: RwLock<Option<NodeId>>,
    /// `host:port` of it.
    address: String,
    clients: Clients,
    catch_ups: Arc<CatchUps>,
    slow: Arc<Slow>,
    /// The longest wait for as many holders as a load needs.
    wait: Duration,
    /// How long the others are waited for then.
    grace: Duration,
    cancel: CancellationToken,
}

impl Replication {
    /// Replication of a node's tablets, until `cancel`. `node` is the id that it had before.
    pub(crate) fn new(
        engine: &Arc<Engine>,
        config: &Config,
        node: Option<NodeId>,
        address: &str,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let clients = Clients::default();
        let pace = Arc::new(Pace::new(config.clone_bytes_per_second, config.clones_at_once));
        let catch_ups = CatchUps::new(engine.clone(), clients.clone(), pace, cancel.clone());
        Arc::new(Self {
            engine: engine.clone(),
            node: RwLock::new(node),
            address: address.to_owned(),
            clients,
            catch_ups: Arc::new(catch_ups),
            slow: Arc::default(),
            wait: Duration::from_secs(config.replication_wait_secs),
            grace: Duration::from_millis(config.replication_grace_ms),
            cancel,
        })
    }

    /// Tells it the id that the coordinators gave the node.
    pub(crate) fn set_node(&self, node: NodeId) {
        *self.node.write() = Some(node);
    }

    /// What catches up.
    pub(crate) const fn catch_ups(&self) -> &Arc<CatchUps> {
        &self.catch_ups
    }

    /// This node, as others reach it.
    fn me(&self) -> Result<Peer, StoreError> {
        match *self.node.read() {
            Some(node) => Ok(Peer { node, address: self.address.clone() }),
            None => Err(StoreError {
                kind: ErrorKind::Unavailable,
                address: self.address.clone(),
                message: "it has not registered with a coordinator yet".to_owned(),
            }),
        }
    }
}
