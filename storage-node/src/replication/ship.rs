//! A load's rowsets on their way to the tablets' other replicas. This node has written them, and counts who holds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tarn_proto::storage::{Copies, Peer, StoreError};
use tarn_proto::wire::{ReplicateRowsetsRequest, RowsetSummary, TabletRowset};
use tarn_proto::{ErrorKind, NodeId, TableSchema, TabletId, TxnId, task};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::Replication;
use super::client::Remote;
use crate::metrics;

/// The longest that a copy may take in the background, when the load no longer waits for it.
const COPY_WITHIN: Duration = Duration::from_secs(3600);
/// A peer that was slow is not waited for, beyond what is needed, for so long.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// Peers that were slow, and until when they are held for it.
#[derive(Default)]
pub(super) struct Slow(Mutex<HashMap<NodeId, Instant>>);

impl Slow {
    fn note(&self, node: NodeId) {
        self.0.lock().insert(node, Instant::now() + SLOW_FOR);
    }

    fn forget(&self, node: NodeId) {
        self.0.lock().remove(&node);
    }

    fn has(&self, node: NodeId) -> bool {
        let mut slow = self.0.lock();
        slow.retain(|_, until| *until > Instant::now());
        slow.contains_key(&node)
    }
}

/// What a peer answered.
struct Answer {
    node: NodeId,
    /// Tablets whose rowset it holds.
    held: BTreeSet<TabletId>,
    /// Why it does not hold others.
    refused: Vec<String>,
}

/// Who holds the rowsets of a load.
pub(super) struct Tally {
    me: NodeId,
    tablets: BTreeMap<TabletId, Votes>,
    /// Why some do not.
    refused: Vec<String>,
}

struct Votes {
    voters: BTreeSet<NodeId>,
    need: usize,
    holders: BTreeSet<NodeId>,
}

impl Votes {
    fn count(&self, me: NodeId) -> usize {
        self.holders.iter().filter(|node| **node == me || self.voters.contains(node)).count()
    }
}

impl Tally {
    /// Only this node holds them.
    pub(super) fn new<'a>(me: NodeId, tablets: impl Iterator<Item = (TabletId, Option<&'a Copies>)>) -> Self {
        let votes = |copies: Option<&Copies>| Votes {
            voters: copies.iter().flat_map(|copies| &copies.voters).map(|peer| peer.node).collect(),
            need: copies.map_or(1, |copies| copies.need as usize),
            holders: BTreeSet::from([me]),
        };
        Self { me, tablets: tablets.map(|(tablet, copies)| (tablet, votes(copies))).collect(), refused: Vec::new() }
    }

    fn take(&mut self, answer: Answer) {
        for tablet in answer.held {
            if let Some(votes) = self.tablets.get_mut(&tablet) {
                votes.holders.insert(answer.node);
            }
        }
        self.refused.extend(answer.refused);
    }

    /// Whether as many members as needed hold each rowset.
    fn is_enough(&self) -> bool {
        self.tablets.values().all(|votes| votes.count(self.me) >= votes.need)
    }

    /// The holders of a tablet's rowset.
    pub(super) fn holders(&self, tablet: TabletId) -> Vec<u64> {
        self.tablets.get(&tablet).into_iter().flat_map(|votes| &votes.holders).map(|node| node.get()).collect()
    }

    /// Which tablet lacks holders, and why.
    fn lacking(&self) -> String {
        let lacks = self.tablets.iter().find(|(_, votes)| votes.count(self.me) < votes.need);
        let Some((tablet, votes)) = lacks else { return String::new() };
        let names = |nodes: Vec<&NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let missing = names(votes.voters.difference(&votes.holders).collect());
        let why = match self.refused.first() {
            Some(reason) => format!(": {reason}"),
            None => String::new(),
        };
        format!(
            "{} of the replicas of tablet {tablet} hold the load, {} must; without answer: {missing}{why}; load again, and \
             see SHOW STORAGE NODES",
            votes.count(self.me),
            votes.need
        )
    }
}

impl Replication {
    /// Ships the rowsets of a load that this node has sealed, and enters their holders. Waits for as many members as each
    /// tablet needs, and a little for the others, which go on in the background.
    pub(crate) async fn ship(
        &self,
        txn: TxnId,
        load_id: &str,
        schema: &TableSchema,
        rowsets: &mut [RowsetSummary],
        copies: &BTreeMap<TabletId, Copies>,
    ) -> Result<(), StoreError> {
        let me = self.me()?;
        let tablets: Vec<TabletId> = rowsets.iter().map(|summary| TabletId(summary.tablet_id)).collect();
        let mut tally = Tally::new(me.node, tablets.iter().map(|tablet| (*tablet, copies.get(tablet))));
        let requests = self.requests(&me, txn, load_id, schema, &tablets, copies)?;
        let started = Instant::now();
        let (sender, mut answers) = mpsc::channel(requests.len().max(1));
        let mut waiting = BTreeSet::new();
        for (peer, request) in requests {
            waiting.insert(peer.node);
            let copy = copy(self.clients.get(&peer), peer.clone(), request);
            let (sender, slow, cancel) = (sender.clone(), self.slow.clone(), self.cancel.clone());
            // Owned by the node: it ends when that stops. A load that has enough does not wait for it.
            drop(task::spawn("rowset-ship", async move {
                let answer = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    answer = copy => answer,
                };
                if answer.refused.is_empty() {
                    slow.forget(answer.node);
                }
                let _ = sender.send(answer).await;
            }));
        }
        drop(sender);
        let until = started + self.wait;
        while !tally.is_enough() {
            match timeout_at(until, answers.recv()).await {
                Ok(Some(answer)) => {
                    waiting.remove(&answer.node);
                    tally.take(answer);
                }
                Ok(None) | Err(_) => {
                    metrics::replicated("failed", started.elapsed());
                    let (kind, address) = (ErrorKind::Unavailable, me.address);
                    return Err(StoreError { kind, address, message: tally.lacking() });
                }
            }
        }
        let until = Instant::now() + self.grace;
        while waiting.iter().any(|node| !self.slow.has(*node)) {
            match timeout_at(until, answers.recv()).await {
                Ok(Some(answer)) => {
                    waiting.remove(&answer.node);
                    tally.take(answer);
                }
                Ok(None) => break,
                Err(_) => {
                    waiting.iter().for_each(|node| self.slow.note(*node));
                    break;
                }
            }
        }
        metrics::replicated(if waiting.is_empty() { "all" } else { "enough" }, started.elapsed());
        for summary in rowsets {
            summary.holders = tally.holders(TabletId(summary.tablet_id));
        }
        Ok(())
    }

    /// What each peer is asked for.
    fn requests(
        &self,
        me: &Peer,
        txn: TxnId,
        load_id: &str,
        schema: &TableSchema,
        tablets: &[TabletId],
        copies: &BTreeMap<TabletId, Copies>,
    ) -> Result<BTreeMap<Peer, ReplicateRowsetsRequest>, StoreError> {
        let mut requests: BTreeMap<Peer, ReplicateRowsetsRequest> = BTreeMap::new();
        for tablet in tablets {
            let Some(copies) = copies.get(tablet) else { continue };
            let record = self.engine.sealed(*tablet, txn).map_err(|error| crate::store::store_error(&error))?;
            for peer in copies.voters.iter().chain(&copies.others).filter(|peer| peer.node != me.node) {
                let request = requests.entry(peer.clone()).or_insert_with(|| ReplicateRowsetsRequest {
                    txn_id: txn.get(),
                    load_id: load_id.to_owned(),
                    schema: Some(schema.into()),
                    rowsets: Vec::new(),
                    source: Some(me.into()),
                });
                request.rowsets.push(TabletRowset { tablet_id: tablet.get(), record: record.clone().into() });
            }
        }
        Ok(requests)
    }
}

/// One peer's answer, whatever happens to it.
async fn copy(remote: Result<Remote, StoreError>, peer: Peer, request: ReplicateRowsetsRequest) -> Answer {
    let refused = |reason: String| Answer {
        node: peer.node,
        held: BTreeSet::new(),
        refused: vec![format!("storage node {} ({}): {reason}", peer.node, peer.address)],
    };
    let remote = match remote {
        Ok(remote) => remote,
        Err(error) => return refused(error.message),
    };
    match timeout(COPY_WITHIN, remote.replicate(request)).await {
        Ok(Ok(answer)) => {
            let reasons = answer.refused.into_iter();
            Answer {
                node: peer.node,
                held: answer.tablet_ids.into_iter().map(TabletId).collect(),
                refused: reasons.map(|r| format!("storage node {}: {}", peer.node, r.reason)).collect(),
            }
        }
        Ok(Err(error)) => refused(error.message),
        Err(_) => refused(format!("it has not copied the load within {} s", COPY_WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node: u64) -> Peer {
        Peer { node: NodeId(node), address: format!("host{node}:1") }
    }

    fn answer(node: u64, held: &[u64]) -> Answer {
        let held = held.iter().copied().map(TabletId).collect();
        Answer { node: NodeId(node), held, refused: Vec::new() }
    }

    #[test]
    fn a_load_has_enough_holders_when_each_tablet_has_its_members() {
        let one = Copies { voters: vec![peer(2), peer(3)], others: vec![peer(4)], need: 2 };
        let two = Copies { voters: vec![peer(2), peer(5)], others: Vec::new(), need: 2 };
        let tablets = [(TabletId(1), Some(&one)), (TabletId(2), Some(&two)), (TabletId(3), None)];
        let mut tally = Tally::new(NodeId(1), tablets.into_iter());
        tally.take(answer(4, &[1]));
        tally.take(answer(5, &[2]));
        assert!(!tally.is_enough(), "a replica that is being filled does not count");
        assert!(tally.lacking().contains("tablet t1") && tally.lacking().contains("n2, n3"), "{}", tally.lacking());
        tally.take(answer(3, &[1]));
        assert!(tally.is_enough());
        assert_eq!(tally.holders(TabletId(1)), [1, 3, 4]);
        assert_eq!(tally.holders(TabletId(2)), [1, 5]);
        assert_eq!(tally.holders(TabletId(3)), [1]);
    }

    #[test]
    fn a_majority_of_the_members_is_needed_even_if_some_are_away() {
        // Five members, of which two are away: they are no peers of this load, and three must hold it all the same.
        let copies = Copies { voters: vec![peer(2), peer(3)], others: Vec::new(), need: 3 };
        let mut tally = Tally::new(NodeId(1), [(TabletId(1), Some(&copies))].into_iter());
        tally.take(answer(2, &[1]));
        assert!(!tally.is_enough());
        tally.take(answer(3, &[1]));
        assert!(tally.is_enough());
    }
}
