//! Which nodes live, by their heartbeats. Pure: the caller brings the time.
//!
//! Every coordinator hears every node itself, so that any of them can tell who lives without asking the leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tarn_proto::NodeId;
use tarn_proto::membership::DEAD_AFTER;
use tarn_proto::wire::{HeartbeatRequest, NodeLoad, NodeRole};

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
