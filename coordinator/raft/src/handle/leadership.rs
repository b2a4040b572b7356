//! Who leads.

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tarn_proto::NodeId;
use tarn_proto::task;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::types::Raft;
use crate::{LeaderHint, metrics};

/// Leadership as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: LeaderHint,
    /// Whether it is this node.
    pub is_self: bool,
    /// The term it leads in, or the one that elections have come to.
    pub term: u64,
}

/// Follows `raft` until it stops; then nobody leads.
pub(super) fn follow(node_id: NodeId, raft: &Raft) -> (watch::Receiver<Leadership>, JoinHandle<()>) {
    let mut source = raft.server_metrics();
    let (sender, receiver) = watch::channel(Leadership::default());
    let task = task::spawn("raft-leadership", async move {
        loop {
            let now = {
                let server = source.borrow_and_update();
                let address = |id| server.membership_config.get_node(&id).map(|node| (id, node.addr.clone()));
                Leadership {
                    leader: server.current_leader.and_then(address),
                    is_self: server.state == ServerState::Leader && server.current_leader == Some(node_id),
                    term: server.vote.leader_id.term,
                }
            };
            tell(&sender, now);
            if source.changed().await.is_err() {
                break;
            }
        }
        let term = sender.borrow().term;
        tell(&sender, Leadership { leader: None, is_self: false, term });
    });
    (receiver, task)
}

fn tell(sender: &watch::Sender<Leadership>, now: Leadership) {
    sender.send_if_modified(|before| {
        if *before == now {
            return false;
        }
        if before.leader != now.leader {
            info!(leader = ?now.leader, term = now.term, is_self = now.is_self, "catalog leadership");
        }
        metrics::leadership(before, &now);
        *before = now;
        true
    });
}
