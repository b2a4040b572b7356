//! Calls to storage nodes that are under way: few enough for each node that one that hangs takes nothing from others, and
//! known to be late when they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tarn_proto::{NodeId, task};
use tokio::task::JoinSet;

/// Calls to one node at a time. One that answers takes far more a second; one that does not must not collect them.
const CALLS: usize = 64;

/// A node that has owed an answer, and given none, for so long is not waited for where it need not be. One that answers while
/// it works on something large is not late.
const LATE: Duration = Duration::from_secs(2);

/// Time between two requests to a node to catch up: it works on what it was told, and repairs look after the rest.
const TOLD_EVERY: Duration = Duration::from_millis(500);

/// The calls of one publisher. They end with it.
#[derive(Clone, Default)]
pub(super) struct Lanes {
    nodes: Arc<Mutex<HashMap<NodeId, Lane>>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Default)]
struct Lane {
    /// When the calls under way began.
    calls: BTreeMap<u64, Instant>,
    next: u64,
    /// When the last one ended.
    ended: Option<Instant>,
    told: Option<Instant>,
}

/// A call under way.
struct Call {
    nodes: Arc<Mutex<HashMap<NodeId, Lane>>>,
    node: NodeId,
    number: u64,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(lane) = self.nodes.lock().get_mut(&self.node) {
            lane.calls.remove(&self.number);
            lane.ended = Some(Instant::now());
        }
    }
}

impl Lanes {
    /// Starts a call to a node, unless too many are under way.
    pub fn start(&self, node: NodeId, call: impl Future<Output = ()> + Send + 'static) -> bool {
        let Some(under_way) = self.enter(node, Instant::now()) else { return false };
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        task::spawn_in(&mut tasks, "publish-call", async move {
            call.await;
            drop(under_way);
        });
        true
    }

    fn enter(&self, node: NodeId, now: Instant) -> Option<Call> {
        let mut nodes = self.nodes.lock();
        let lane = nodes.entry(node).or_default();
        if lane.calls.len() >= CALLS {
            return None;
        }
        lane.next += 1;
        lane.calls.insert(lane.next, now);
        Some(Call { nodes: self.nodes.clone(), node, number: lane.next })
    }

    /// Whether the node owes an answer for long, and has given none.
    pub fn is_late(&self, node: NodeId, now: Instant) -> bool {
        let nodes = self.nodes.lock();
        let Some(lane) = nodes.get(&node) else { return false };
        let is_long_ago = |then: Instant| now.saturating_duration_since(then) >= LATE;
        lane.calls.values().min().is_some_and(|began| is_long_ago(*began)) && lane.ended.is_none_or(is_long_ago)
    }

    /// Whether the node may be told to catch up again.
    pub fn may_tell(&self, node: NodeId, now: Instant) -> bool {
        let mut nodes = self.nodes.lock();
        let lane = nodes.entry(node).or_default();
        let due = lane.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if due {
            lane.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1001);

    #[test]
    fn a_node_that_hangs_collects_no_calls_and_is_late() {
        let (lanes, began) = (Lanes::default(), Instant::now());
        let mut calls: Vec<Call> = (0..CALLS).map(|_| lanes.enter(NODE, began).expect("there is room")).collect();
        assert!(lanes.enter(NODE, began).is_none());
        assert!(lanes.enter(NodeId(1002), began).is_some(), "another node has its own room");
        assert!(!lanes.is_late(NODE, began) && lanes.is_late(NODE, began + LATE));
        calls.pop();
        assert!(!lanes.is_late(NODE, began + LATE), "it has answered meanwhile");
        calls.push(lanes.enter(NODE, began + LATE).expect("there is room again"));
        assert!(lanes.is_late(NODE, Instant::now() + LATE), "and nothing since");
        calls.clear();
        assert!(!lanes.is_late(NODE, Instant::now() + LATE));
    }

    #[test]
    fn a_node_is_told_to_catch_up_now_and_then() {
        let (lanes, now) = (Lanes::default(), Instant::now());
        assert!(lanes.may_tell(NODE, now) && !lanes.may_tell(NODE, now) && lanes.may_tell(NODE, now + TOLD_EVERY));
    }
}
