//! Life of the handle: open, recover, form the cluster; hand over and stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::BasicNode;
use openraft::errors::{InitializeError, RaftError};
use parking_lot::Mutex;
use tarn_proto::NodeId;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::rejoin::{self, Standing};
use super::{CatalogRaft, Inner, leadership};
use crate::network::{NetworkFactory, Peers};
use crate::types::Raft;
use crate::view::View;
use crate::{Config, Error, storage};

/// Below `data_dir`.
const DIRECTORY: &str = "raft";
/// Time given to a new leader to take over before this one stops without.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);
/// Time given to consensus to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Time given to the last users of the storage to let go of it.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What a running node owns beside the library's own tasks.
pub(super) struct Running {
    leadership: JoinHandle<()>,
    closed: oneshot::Receiver<()>,
}

impl CatalogRaft {
    /// Opens the storage, recovers what it holds and takes part. With a new data directory and initial voters, forms
    /// the cluster: each of the initial voters may and should do so, it is the same first log entry. A voter of a cluster
    /// that exists must not come back with a new data directory: it is refused if another one knows of it, and has to be
    /// removed and added.
    pub async fn start(config: Config) -> Result<Self, Error> {
        crate::metrics::describe();
        let consensus = Arc::new(config.consensus()?);
        let view = Arc::new(View::new());
        let peers = Arc::new(Peers::default());
        let node_id = config.node_id;

        let (dir, shown) = (config.data_dir.join(DIRECTORY), view.clone());
        let opened = tokio::task::spawn_blocking(move || storage::open(&dir, node_id, shown)).await;
        let opened = opened.map_err(|e| Error::Stopped { reason: e.to_string() })??;

        let network = NetworkFactory::new(node_id, peers.clone());
        let raft = Raft::new(node_id, consensus, network, opened.log, opened.machine).await?;
        let (leadership, task) = leadership::follow(node_id, &raft);
        let running = Running { leadership: task, closed: opened.closed };
        let node = Self {
            inner: Arc::new(Inner {
                node_id,
                raft,
                view,
                peers,
                clock: config.clock,
                leadership,
                alive_within: config.timing.election_max,
                running: Mutex::new(Some(running)),
            }),
        };
        match node.form_cluster(config.initial_voters).await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.shutdown().await;
                Err(error)
            }
        }
    }

    async fn form_cluster(&self, voters: BTreeMap<NodeId, String>) -> Result<(), Error> {
        let raft = &self.inner.raft;
        if voters.is_empty() || raft.is_initialized().await? {
            return Ok(());
        }
        match rejoin::standing(self, &voters).await? {
            Standing::New => {}
            Standing::Removed => {
                info!("the cluster exists without this coordinator; waiting to be added");
                return Ok(());
            }
        }
        let members: BTreeMap<NodeId, BasicNode> =
            voters.iter().map(|(id, address)| (*id, BasicNode::new(address))).collect();
        match raft.initialize(members).await {
            Ok(()) => info!(?voters, "formed a new cluster"),
            // Another initial voter was faster.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                return Err(Error::Config(error.to_string()));
            }
            Err(RaftError::Fatal(fatal)) => return Err(fatal.into()),
        }
        Ok(())
    }

    /// Hands leadership over if this node leads and another voter is alive, stops, and closes the storage: when this
    /// returns the data directory can be opened again. Bounded in time. Calls after the first return at once.
    pub async fn shutdown(&self) {
        let Some(running) = self.inner.running.lock().take() else { return };
        if self.inner.leadership.borrow().is_self {
            match self.transfer_within(None, HAND_OVER_WITHIN).await {
                Ok(to) => info!(%to, "handed leadership over"),
                Err(reason) => info!(%reason, "stopping without handing leadership over"),
            }
        }
        if timeout(STOP_WITHIN, self.inner.raft.shutdown()).await.is_err() {
            warn!("consensus does not stop; leaving it to the end of the process");
        }
        if running.close().await.is_err() {
            warn!("the consensus log is still in use; leaving it to the end of the process");
        }
    }
}

impl Running {
    async fn close(self) -> Result<(), tokio::time::error::Elapsed> {
        timeout(CLOSE_WITHIN, async {
            // Both end in an error only: a panic that was reported, and a channel that nobody sends to.
            let _ = self.leadership.await;
            let _ = self.closed.await;
        })
        .await
    }
}
