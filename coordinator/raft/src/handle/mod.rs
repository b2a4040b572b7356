//! The handle that the coordinator holds.
//!
//! ```text
//!  start       open the storage, recover, form the cluster; hand over and stop
//!  rejoin      whether a node without a past has lost it
//!  leadership  who leads, as this node sees it
//!  propose     change the catalog, here or at the leader
//!  read        see the catalog, linearizably if asked
//!  members     add and remove coordinators, move leadership, take snapshots
//! ```

mod leadership;
mod members;
mod propose;
mod read;
mod rejoin;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tarn_catalog::Catalog;
use tarn_proto::NodeId;
use tarn_proto::wire::raft_service_server::{RaftService, RaftServiceServer};
use tokio::sync::watch;

pub use leadership::Leadership;
pub use propose::{MAX_COMMAND_BYTES, PROPOSE_WITHIN};

use crate::network::{MAX_MESSAGE_BYTES, Peers, Server};
use crate::types::Raft;
use crate::view::View;
use crate::{Clock, Error, LeaderHint};
use start::Running;

/// One coordinator's part in the replicated catalog. Clones are handles of the same part.
#[derive(Clone)]
pub struct CatalogRaft {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: NodeId,
    raft: Raft,
    view: Arc<View>,
    peers: Arc<Peers>,
    clock: Clock,
    leadership: watch::Receiver<Leadership>,
    /// A peer heard within this time is alive.
    alive_within: Duration,
    running: Mutex<Option<Running>>,
}

/// A moment of consensus, as one node sees it. Log indexes are 0 where there is nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node_id: NodeId,
    /// The current term.
    pub term: u64,
    /// Who leads.
    pub leader: LeaderHint,
    /// The last entry of the log.
    pub last_log_index: u64,
    /// The last entry in the catalog.
    pub last_applied: u64,
    /// The last entry in the current snapshot.
    pub snapshot_index: u64,
    /// The last entry that was removed from the log because a snapshot holds it.
    pub purged_index: u64,
    /// Coordinators that vote, with their addresses.
    pub voters: BTreeMap<NodeId, String>,
    /// Coordinators that only listen, with their addresses.
    pub observers: BTreeMap<NodeId, String>,
}

impl CatalogRaft {
    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    /// The service that the other coordinators call; add it to this node's gRPC server before they are expected to.
    pub fn grpc_service(&self) -> RaftServiceServer<impl RaftService> {
        RaftServiceServer::new(Server::new(self.inner.node_id, self.inner.raft.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The last applied catalog. It may be behind the leader's: see [`Self::linearizable_catalog`].
    pub fn catalog(&self) -> Catalog {
        self.inner.view.catalog()
    }

    /// The log index that [`Self::catalog`] has come to; a change wakes whoever watches.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.view.applied()
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Consensus as this node sees it.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        let mut observers: BTreeMap<_, _> = stored.nodes().map(|(id, node)| (*id, node.addr.clone())).collect();
        let voters: BTreeMap<_, _> =
            stored.voter_ids().filter_map(|id| observers.remove(&id).map(|address| (id, address))).collect();
        let address = |id| stored.get_node(&id).map(|node| (id, node.addr.clone()));
        Status {
            node_id: self.inner.node_id,
            term: metrics.current_term,
            leader: metrics.current_leader.and_then(address),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            last_applied: metrics.last_applied.map_or(0, |id| id.index),
            snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
            purged_index: metrics.purged.map_or(0, |id| id.index),
            voters,
            observers,
        }
    }

    /// Returns when consensus has stopped on this node, with the reason: a failed write of the log, a defect, or
    /// [`Self::shutdown`]. The node is of no use then.
    pub async fn stopped(&self) -> Error {
        let mut metrics = self.inner.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return fatal.clone().into();
            }
            if metrics.changed().await.is_err() {
                return Error::Stopped { reason: "it is gone".to_owned() };
            }
        }
    }
}
