//! Who takes part: adding, removing, handing over; and snapshots on demand.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::{BasicNode, ChangeMembers, RaftMetrics};
use tarn_proto::NodeId;
use tokio::time::timeout;
use tracing::info;

use super::CatalogRaft;
use crate::Error;
use crate::network::Lane;
use crate::types::TypeConfig;

/// Time given to a new coordinator to catch up.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// Time given to a membership change to be committed.
const CHANGE_WITHIN: Duration = Duration::from_secs(15);
/// Time given to a new leader to take over.
const TRANSFER_WITHIN: Duration = Duration::from_secs(10);
/// The heir declines while entries are on their way to it; this node takes no new ones meanwhile, and asks again.
const TRANSFER_AGAIN: Duration = Duration::from_millis(100);
/// Time given to a snapshot to be written.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(120);

type Metrics = RaftMetrics<TypeConfig>;

impl CatalogRaft {
    /// Adds a coordinator as an observer, waits until it has caught up, then lets it vote if asked. Leader only.
    /// Repeating it is harmless; an observer becomes a voter that way. When the wait is in vain the coordinator stays
    /// an observer.
    pub async fn add_coordinator(&self, id: NodeId, address: String, voter: bool) -> Result<(), Error> {
        self.check_leader()?;
        self.inner.peers.channel(&address, Lane::Forward)?;
        let status = self.status();
        let known = status.voters.get(&id).or_else(|| status.observers.get(&id));
        if let Some(known) = known.filter(|known| **known != address) {
            return Err(Error::Membership(format!(
                "coordinator {id} is a member at {known}: remove it first, or keep its address"
            )));
        }
        if status.voters.contains_key(&id) {
            return match voter {
                true => Ok(()),
                false => Err(Error::Membership(format!("coordinator {id} is a voter: remove it first"))),
            };
        }
        let added = self.inner.raft.add_learner(id, BasicNode::new(&address), false);
        let at = changed(added).await?;
        let caught_up = |m: &Metrics| {
            let theirs = m.replication.as_ref().and_then(|r| r.get(&id)).copied().flatten();
            m.replication.is_none() || theirs.is_some_and(|theirs| theirs.index >= at)
        };
        self.wait_for("catching up with the log", CATCH_UP_WITHIN, caught_up).await?;
        self.check_leader()?;
        if voter {
            changed(self.inner.raft.change_membership(ChangeMembers::AddVoterIds([id].into()), true)).await?;
        }
        info!(coordinator = %id, address, voter, "coordinator added");
        Ok(())
    }

    /// Removes a coordinator. Leader only; a leader that removes itself steps down, and the others elect one of them.
    pub async fn remove_coordinator(&self, id: NodeId) -> Result<(), Error> {
        self.check_leader()?;
        let status = self.status();
        let only: BTreeSet<NodeId> = [id].into();
        if status.voters.contains_key(&id) {
            changed(self.inner.raft.change_membership(ChangeMembers::RemoveVoters(only), false)).await?;
        } else if status.observers.contains_key(&id) {
            changed(self.inner.raft.change_membership(ChangeMembers::RemoveNodes(only), false)).await?;
        } else {
            return Err(Error::UnknownCoordinator(id));
        }
        info!(coordinator = %id, "coordinator removed");
        Ok(())
    }

    /// Makes `to`, or the most up-to-date other voter that is alive, the leader, and returns who leads then. Leader
    /// only.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, Error> {
        self.transfer_within(to, TRANSFER_WITHIN).await
    }

    pub(super) async fn transfer_within(&self, to: Option<NodeId>, within: Duration) -> Result<NodeId, Error> {
        self.check_leader()?;
        let me = self.inner.node_id;
        if let Some(to) = to.filter(|to| *to != me && self.status().voters.contains_key(to)) {
            // Who has just begun to lead has heard of nobody yet: that says nothing about the other.
            let heard = |m: &Metrics| m.heartbeat.as_ref().is_none_or(|h| h.get(&to).copied().flatten().is_some());
            let _ = self.wait_for("an answer of who is to lead", within, heard).await;
            self.check_leader()?;
        }
        let heirs = self.heirs();
        let to = match to {
            Some(to) if to == me => return Ok(me),
            Some(to) if !self.status().voters.contains_key(&to) => return Err(Error::UnknownCoordinator(to)),
            Some(to) if !heirs.contains(&to) => {
                return Err(Error::Membership(format!("coordinator {to} does not answer and cannot lead")));
            }
            Some(to) => to,
            None => *heirs.first().ok_or_else(|| Error::Membership("no other voter is alive".to_owned()))?,
        };
        let other = |m: &Metrics| m.current_leader.is_some_and(|leader| leader != me);
        let deadline = Instant::now() + within;
        loop {
            self.inner.raft.trigger().transfer_leader(to).await?;
            let patience = TRANSFER_AGAIN.min(deadline.saturating_duration_since(Instant::now()));
            match self.wait_for("handing leadership over", patience, other).await {
                Err(Error::Timeout { .. }) if Instant::now() < deadline => {}
                Err(Error::Timeout { what, .. }) => return Err(Error::Timeout { what, within }),
                reached => return reached?.current_leader.ok_or(Error::NotLeader { leader: None }),
            }
        }
    }

    /// Writes a snapshot of everything applied, removes the log behind it, and returns the last log index in it. Here,
    /// not on the leader.
    pub async fn take_snapshot(&self) -> Result<u64, Error> {
        let applied = self.status().last_applied;
        if self.status().snapshot_index < applied {
            self.inner.raft.trigger().snapshot().await?;
            let written = |m: &Metrics| m.snapshot.is_some_and(|id| id.index >= applied);
            self.wait_for("writing the snapshot", SNAPSHOT_WITHIN, written).await?;
        }
        let index = self.status().snapshot_index;
        self.inner.raft.trigger().purge_log(index).await?;
        Ok(index)
    }

    /// The other voters that have answered lately, the most up-to-date first.
    fn heirs(&self) -> Vec<NodeId> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = |id: &NodeId| {
            let at = metrics.heartbeat.as_ref().and_then(|h| h.get(id))?.as_ref()?;
            Some(at.elapsed() < self.inner.alive_within)
        };
        let matched = |id: &NodeId| metrics.replication.as_ref().and_then(|r| r.get(id)).copied().flatten();
        let mut heirs: Vec<NodeId> = metrics
            .membership_config
            .voter_ids()
            .filter(|id| *id != self.inner.node_id && heard(id) == Some(true))
            .collect();
        heirs.sort_by_key(|id| std::cmp::Reverse(matched(id)));
        heirs
    }

    fn check_leader(&self) -> Result<(), Error> {
        let leadership = self.inner.leadership.borrow();
        match leadership.is_self {
            true => Ok(()),
            false => Err(Error::NotLeader { leader: leadership.leader.clone() }),
        }
    }

    async fn wait_for(
        &self,
        what: &'static str,
        within: Duration,
        reached: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics, Error> {
        let mut metrics = self.inner.raft.metrics();
        let wait = async {
            loop {
                {
                    let now = metrics.borrow_and_update();
                    if let Err(fatal) = &now.running_state {
                        return Err(fatal.clone().into());
                    }
                    if reached(&now) {
                        return Ok(now.clone());
                    }
                }
                if metrics.changed().await.is_err() {
                    return Err(Error::Stopped { reason: "it is gone".to_owned() });
                }
            }
        };
        timeout(within, wait).await.map_err(|_| Error::Timeout { what, within })?
    }
}

/// Waits for a membership change, and returns its log index.
async fn changed<E: Into<Error>>(
    change: impl Future<Output = Result<openraft::raft::ClientWriteResponse<TypeConfig>, E>>,
) -> Result<u64, Error> {
    let done = timeout(CHANGE_WITHIN, change).await;
    let done = done.map_err(|_| Error::Timeout { what: "the change of the coordinators", within: CHANGE_WITHIN })?;
    Ok(done.map_err(Into::into)?.log_id.index)
}
