//! Which nodes live, by their heartbeats. Pure: the caller brings the time.
//!
//! Every coordinator hears every node itself, so that any of them can tell who lives without asking the leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tarn_proto::NodeId;
use tarn_proto::membership::DEAD_AFTER;
use tarn_proto::wire::{HeartbeatRequest, NodeLoad, NodeRole};
use tarn_raft::Status;

/// The last heartbeat of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// What it does.
    pub role: NodeRole,
    /// `host:port` of its gRPC server.
    pub address: String,
    /// Flight SQL address of a coordinator, else empty.
    pub flight_address: String,
    /// Version of its binary.
    pub version: String,
    /// Differs for each start of its process.
    pub incarnation: String,
    /// How loaded it is.
    pub load: NodeLoad,
    /// When it was heard.
    pub heard: Instant,
}

/// All nodes heard since this coordinator started.
#[derive(Clone, Debug, Default)]
pub struct Members {
    nodes: BTreeMap<NodeId, Member>,
}

impl Members {
    /// Takes a heartbeat.
    pub fn heard(&mut self, beat: HeartbeatRequest, now: Instant) {
        let member = Member {
            role: beat.role(),
            address: beat.address,
            flight_address: beat.flight_address,
            version: beat.version,
            incarnation: beat.incarnation,
            load: beat.load.unwrap_or_default(),
            heard: now,
        };
        self.nodes.insert(NodeId(beat.node_id), member);
    }

    /// Forgets a node that was removed from the cluster.
    pub fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// The last heartbeat of a node.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.nodes.get(&node)
    }

    /// Time since the node was heard.
    pub fn silence(&self, node: NodeId, now: Instant) -> Option<Duration> {
        self.nodes.get(&node).map(|m| now.saturating_duration_since(m.heard))
    }

    /// Whether the node was heard within [`DEAD_AFTER`].
    pub fn is_alive(&self, node: NodeId, now: Instant) -> bool {
        self.silence(node, now).is_some_and(|silence| silence <= DEAD_AFTER)
    }

    /// Why the coordinators cannot change the catalog now, if so: nobody leads, or too few of those that vote are alive.
    /// Consensus itself only finds out when somebody asks it for something.
    pub fn quorum(&self, raft: &Status, now: Instant) -> Result<(), String> {
        let alive = |id: NodeId| id == raft.node_id || self.is_alive(id, now);
        match &raft.leader {
            None => return Err("no coordinator leads".to_owned()),
            Some((leader, address)) if !alive(*leader) => {
                return Err(format!("coordinator {leader} at {address} leads and is silent"));
            }
            Some(_) => {}
        }
        let (voters, heard) = (raft.voters.len(), raft.voters.keys().filter(|id| alive(**id)).count());
        match heard * 2 > voters {
            true => Ok(()),
            false => Err(format!("{heard} of {voters} voting coordinators are alive")),
        }
    }

    /// Whether the process `incarnation` of `node` is known to be over: the node has started again since, or has been
    /// silent for `grace`. A node that was never heard (this coordinator has just started) is over after `grace`, too,
    /// counted from `started`.
    pub fn is_over(&self, node: NodeId, incarnation: &str, started: Instant, grace: Duration, now: Instant) -> bool {
        match self.nodes.get(&node) {
            Some(member) if member.incarnation != incarnation => true,
            Some(member) => now.saturating_duration_since(member.heard) > grace,
            None => now.saturating_duration_since(started) > grace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(node: u64, incarnation: &str) -> HeartbeatRequest {
        HeartbeatRequest { node_id: node, incarnation: incarnation.into(), ..HeartbeatRequest::default() }
    }

    #[test]
    fn a_silent_node_is_dead_within_five_seconds() {
        let start = Instant::now();
        let mut members = Members::default();
        members.heard(beat(7, "a"), start);
        assert!(members.is_alive(NodeId(7), start + Duration::from_secs(2)));
        assert!(!members.is_alive(NodeId(7), start + Duration::from_secs(5)));
        assert!(!members.is_alive(NodeId(8), start));
    }

    #[test]
    fn a_majority_of_the_voters_and_the_leader_must_be_alive() {
        let now = Instant::now();
        let voters = (1..=3).map(|id| (NodeId(id), format!("c{id}:1"))).collect();
        let mut raft = Status {
            node_id: NodeId(1),
            term: 1,
            leader: None,
            last_log_index: 0,
            last_applied: 0,
            snapshot_index: 0,
            purged_index: 0,
            voters,
            observers: BTreeMap::new(),
        };
        let mut members = Members::default();
        members.heard(beat(2, "b"), now);
        assert_eq!(members.quorum(&raft, now), Err("no coordinator leads".to_owned()));
        raft.leader = Some((NodeId(3), "c3:1".to_owned()));
        assert_eq!(members.quorum(&raft, now), Err("coordinator n3 at c3:1 leads and is silent".to_owned()));
        raft.leader = Some((NodeId(1), "c1:1".to_owned()));
        assert_eq!(members.quorum(&raft, now), Ok(()));
        let later = now + Duration::from_secs(5);
        assert_eq!(members.quorum(&raft, later), Err("1 of 3 voting coordinators are alive".to_owned()));
    }

    #[test]
    fn a_process_is_over_when_its_node_started_again_or_fell_silent() {
        let start = Instant::now();
        let grace = Duration::from_secs(10);
        let mut members = Members::default();
        let over = |m: &Members, incarnation: &str, after: u64| {
            m.is_over(NodeId(7), incarnation, start, grace, start + Duration::from_secs(after))
        };
        assert!(!over(&members, "a", 9));
        assert!(over(&members, "a", 11));
        members.heard(beat(7, "a"), start + Duration::from_secs(5));
        assert!(!over(&members, "a", 14));
        assert!(over(&members, "a", 16));
        members.heard(beat(7, "b"), start + Duration::from_secs(6));
        assert!(over(&members, "a", 6));
        assert!(!over(&members, "b", 6));
    }
}
