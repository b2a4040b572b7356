//! Which replicas are filled next, and when one that is filled may take its place. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tarn_catalog::command::{CaughtUp, ReplicaKey};
use tarn_catalog::{Catalog, Node, Partition, Replica, ReplicaState, Table, Tablet, TransactionState};
use tarn_proto::NodeId;
use tarn_proto::storage::{CatchUp, Peer};

use crate::reconcile::placement::{Health, Life, placed_tables};

/// Replicas that one node is asked for at a time. It fetches fewer at once, by its own limit.
const PER_NODE: usize = 16;
/// A replica that has been asked for so often and is not filled gives way to others, as it may never be.
const PATIENCE: u32 = 100;
/// How long a filled replica waits for loads that began before it: if it took its place, too few would hold their rows.
const OPEN_LOADS: Duration = Duration::from_secs(600);

/// What the leader remembers of replicas that are being filled.
#[derive(Default)]
pub struct Filling(HashMap<ReplicaKey, Seen>);

/// When a replica was seen first.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    /// The last id that was given by then: transactions with greater ones began later.
    last_id: u64,
    /// How often its node was asked to fill it.
    asked: u32,
}

/// A replica that needs something.
struct Want<'a> {
    key: ReplicaKey,
    table: &'a Table,
    partition: &'a Partition,
    tablet: &'a Tablet,
}

impl Filling {
    /// What each node is asked for next: replicas of tablets with the fewest current ones first.
    pub fn work(
        &mut self,
        catalog: &Catalog,
        health: &Health,
        damaged: &BTreeMap<ReplicaKey, Instant>,
        now: Instant,
    ) -> BTreeMap<NodeId, Vec<CatchUp>> {
        let wants = wants(catalog, health);
        let fresh = Seen { at: now, last_id: catalog.last_id, asked: 0 };
        self.0 = wants.iter().map(|want| (want.key, self.0.get(&want.key).copied().unwrap_or(fresh))).collect();
        let mut nodes: BTreeMap<NodeId, Vec<&Want<'_>>> = BTreeMap::new();
        for want in &wants {
            nodes.entry(want.key.1).or_default().push(want);
        }
        let mut work = BTreeMap::new();
        for (node, mut wants) in nodes {
            wants.sort_by_key(|want| {
                let asked = self.0.get(&want.key).map_or(0, |seen| seen.asked / PATIENCE);
                (asked, want.tablet.readable().count(), want.tablet.id)
            });
            wants.truncate(PER_NODE);
            for want in &wants {
                if let Some(seen) = self.0.get_mut(&want.key) {
                    seen.asked = seen.asked.saturating_add(1);
                }
            }
            let asked = wants.iter().map(|want| CatchUp {
                tablet: want.tablet.id,
                schema: want.table.schema.clone(),
                version: want.partition.visible_version,
                sources: sources(catalog, health, want.tablet, node),
                repair: damaged.contains_key(&want.key),
            });
            work.insert(node, asked.collect());
        }
        work
    }

    /// Whether nothing is being filled.
    pub fn is_idle(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that may take their place now. One that replaces a living member waits for loads that began before it was
    /// known where few others hold their rows: they were not told to write to it.
    pub fn ready(&self, catalog: &Catalog, health: &Health, caught_up: Vec<CaughtUp>, now: Instant) -> Vec<CaughtUp> {
        let may = |replica: &CaughtUp| {
            let Some((owner, tablet)) = catalog.tablet(replica.tablet) else { return false };
            let Some(Replica { state: ReplicaState::Joining { replaces: Some(old) }, .. }) =
                tablet.replica(replica.node)
            else {
                return true;
            };
            let spare = tablet.members().count() > tablet.quorum();
            let Some(seen) = self.0.get(&(replica.tablet, replica.node)) else { return true };
            let waited = now.saturating_duration_since(seen.at) >= OPEN_LOADS;
            if spare || waited || !is_alive(health, *old) {
                return true;
            }
            let mut open = catalog.transactions.values().take_while(|txn| txn.id.get() <= seen.last_id);
            !open.any(|txn| txn.table == owner.table && txn.state == TransactionState::Prepare)
        };
        caught_up.into_iter().filter(may).collect()
    }
}

fn is_alive(health: &Health, node: NodeId) -> bool {
    health.nodes.get(&node).is_some_and(|node| node.life == Life::Alive)
}

/// Replicas on living nodes that join or are behind.
fn wants<'a>(catalog: &'a Catalog, health: &Health) -> Vec<Want<'a>> {
    let mut wants = Vec::new();
    for table in placed_tables(catalog) {
        for partition in table.all_partitions() {
            for tablet in &partition.tablets {
                let incomplete = tablet.replicas.iter().filter(|replica| replica.state != ReplicaState::Current);
                for replica in incomplete.filter(|replica| is_alive(health, replica.node)) {
                    wants.push(Want { key: (tablet.id, replica.node), table, partition, tablet });
                }
            }
        }
    }
    wants
}

/// Where a replica is filled from: current ones on living nodes, each tablet's in another order to spread the work.
fn sources(catalog: &Catalog, health: &Health, tablet: &Tablet, node: NodeId) -> Vec<Peer> {
    let peer = |replica: &Replica| {
        let Node { id, address, .. } = &**catalog.nodes.get(&replica.node)?;
        (*id != node && is_alive(health, *id)).then(|| Peer { node: *id, address: address.clone() })
    };
    let mut sources: Vec<Peer> = tablet.readable().filter_map(peer).collect();
    if !sources.is_empty() {
        let first = (tablet.id.get() % sources.len() as u64) as usize;
        sources.rotate_left(first);
    }
    sources
}
