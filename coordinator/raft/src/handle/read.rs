//! Reading the catalog linearizably: everything acknowledged before the call, by any coordinator, is seen.

use openraft::ReadPolicy;
use tarn_catalog::Catalog;
use tarn_proto::wire::ReadIndexRequest;
use tokio::time::{Instant, timeout, timeout_at};

use super::CatalogRaft;
use super::propose::{ATTEMPT, PROPOSE_WITHIN};
use crate::Error;

impl CatalogRaft {
    /// The log index that a linearizable read must have seen. Leader only; it asks a majority whether it still leads.
    pub async fn read_index(&self) -> Result<u64, Error> {
        // A leader that has lost the others must not keep readers waiting for them.
        let confirmed = timeout(ATTEMPT, self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex));
        Ok(confirmed.await.map_err(|_| Error::NoQuorum)??.index())
    }

    /// The catalog with everything that was acknowledged before this call, here or at another coordinator.
    pub async fn linearizable_catalog(&self) -> Result<Catalog, Error> {
        let deadline = Instant::now() + PROPOSE_WITHIN;
        let late = || Error::Timeout { what: "reading the catalog", within: PROPOSE_WITHIN };
        let index = self.at_leader(
            || self.read_index(),
            |address, mut client| async move {
                let reply = client.read_index(ReadIndexRequest {}).await;
                Ok(reply.map_err(|s| Error::from_status(&address, s))?.into_inner().log_index)
            },
        );
        let index = timeout_at(deadline, index).await.map_err(|_| late())??;
        timeout_at(deadline, self.wait_applied(index)).await.map_err(|_| late())??;
        Ok(self.catalog())
    }

    /// Waits until this node's catalog holds the log up to `index`.
    pub(super) async fn wait_applied(&self, index: u64) -> Result<(), Error> {
        let mut applied = self.applied();
        tokio::select! {
            biased;
            reached = applied.wait_for(|applied| *applied >= index) => {
                reached.map(|_| ()).map_err(|_| Error::Stopped { reason: "the catalog is gone".to_owned() })
            }
            stopped = self.stopped() => Err(stopped),
        }
    }
}
