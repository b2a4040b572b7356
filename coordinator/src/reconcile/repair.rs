//! Keeps replicas of tablets where they should be: fills those that join or are behind, replaces those on nodes that are
//! lost or drained, balances nodes, and drops the files of those that were removed. Runs on the leader.
//!
//! ```text
//!  every second, and at once while replicas are being filled:
//!   heartbeats ──► Health ──┐
//!   catalog ────────────────┴─► placement::plan ──► RemoveReplicas, MoveBuckets, AddReplicas
//!   catalog: Joining, Behind ─► catch_up on their node (it fetches by itself) ──► ReplicasCaughtUp
//!  every ten seconds:
//!   reports of nodes ─────────► replicas that are gone, damaged or too old ──► ReplicasBehind
//! ```
//!
//! What must not be lost is in the catalog, and the catalog refuses what is unsafe. What this keeps in memory is only since
//! when something has been so; a new leader counts anew, which makes it slower, not wrong.

mod examine;
mod fill;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::RwLock;
use tarn_catalog::command::{CaughtUp, ReplicaKey};
use tarn_catalog::{Catalog, Operation, Response};
use tarn_ingest::CatalogClient;
use tarn_proto::storage::StorePool;
use tarn_proto::wire::DiskLevel;
use tarn_proto::{NodeId, TabletId};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::placement::{self, Disk, Health, Life, Limits, NodeHealth, Plan};
use super::tablets::Dropped;
use crate::Members;

/// Time between two rounds when nothing is under way.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two rounds while replicas are being filled.
const WHILE_FILLING: Duration = Duration::from_millis(200);
/// Time between two looks at what nodes have.
const EXAMINE_EVERY: Duration = Duration::from_secs(10);
/// Rounds in which nothing is filled after which the next one may wait.
const PATIENT_AFTER: u32 = 50;
/// How long a node may take to mend a damaged replica from its peers before another node gets one in its place.
const MEND_WITHIN: Duration = Duration::from_secs(300);

/// What an operator says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a node may be silent before its replicas are made elsewhere.
    pub lost_after: Duration,
    /// Whether nodes are balanced.
    pub balance: bool,
}

/// What the leader remembers between two rounds.
pub struct Repair {
    settings: Settings,
    /// Since when this coordinator has been looking: nodes that were never heard are silent since then.
    started: Instant,
    examined: Option<Instant>,
    /// Replicas that their node calls damaged, and since when.
    damaged: BTreeMap<ReplicaKey, Instant>,
    filling: fill::Filling,
    /// Rounds since a replica was filled.
    fruitless: u32,
    dropped: Dropped<ReplicaKey>,
    strays: Dropped<ReplicaKey>,
}

/// Runs rounds until `cancel`.
pub async fn run(
    client: &dyn CatalogClient,
    stores: &StorePool,
    members: &RwLock<Members>,
    settings: Settings,
    cancel: CancellationToken,
) {
    let mut repair = Repair::new(settings, Instant::now());
    let mut wait = EVERY;
    while cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let members = members.read().clone();
        let round = repair.round(client, stores, &members, Instant::now());
        wait = match cancel.run_until_cancelled(round).await {
            Some(true) => WHILE_FILLING,
            Some(false) => EVERY,
            None => return,
        };
    }
}

impl Repair {
    /// What knows nothing yet.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            started: now,
            examined: None,
            damaged: BTreeMap::new(),
            filling: fill::Filling::default(),
            fruitless: 0,
            dropped: Dropped::default(),
            strays: Dropped::default(),
        }
    }

    /// One round. Answers whether replicas are being filled, so that the next should come soon.
    pub async fn round(
        &mut self,
        client: &dyn CatalogClient,
        stores: &StorePool,
        members: &Members,
        now: Instant,
    ) -> bool {
        let examine = self.examined.is_none_or(|at| now.saturating_duration_since(at) >= EXAMINE_EVERY);
        if examine {
            self.examined = Some(now);
            self.examine(client, stores, members, now).await;
        }
        let catalog = client.catalog();
        let health = self.health(&catalog, members, now);
        let limits = Limits { balance: self.settings.balance, ..Limits::default() };
        carry_out(client, placement::plan(&catalog, &health, &limits)).await;
        self.drop_removed(client, stores, &health, now).await;
        self.fill(client, stores, &health, now).await
    }

    /// What heartbeats say of storage nodes.
    fn health(&self, catalog: &Catalog, members: &Members, now: Instant) -> Health {
        let nodes = catalog.storage_nodes().map(|node| {
            let silence = members.silence(node.id, now);
            let silence = silence.unwrap_or_else(|| now.saturating_duration_since(self.started));
            let life = match () {
                () if members.is_alive(node.id, now) => Life::Alive,
                () if silence > self.settings.lost_after => Life::Lost,
                () => Life::Silent,
            };
            (node.id, node_health(members, node.id, life))
        });
        let long = |since: &Instant| now.saturating_duration_since(*since) > MEND_WITHIN;
        let damaged = self.damaged.iter().filter(|(_, since)| long(since)).map(|(key, _)| *key).collect();
        Health { nodes: nodes.collect(), damaged }
    }

    /// Finds replicas that their nodes lack, or have and should not be read.
    async fn examine(&mut self, client: &dyn CatalogClient, stores: &StorePool, members: &Members, now: Instant) {
        // Before nodes are asked: what is visible by now, they have.
        let catalog = client.catalog();
        let alive = catalog.storage_nodes().filter(|node| members.is_alive(node.id, now));
        let reports = join_all(alive.map(|node| async move {
            let reports = match stores.get(node.id, &node.address) {
                Ok(store) => store.tablets().await,
                Err(error) => Err(error),
            };
            (node.id, reports)
        }));
        let (mut behind, mut strays) = (Vec::new(), Vec::new());
        for (node, reports) in reports.await {
            let reports = match reports {
                Ok(reports) => reports,
                Err(error) => {
                    debug!(%node, %error, "a storage node does not tell what it has");
                    continue;
                }
            };
            let found = examine::examine(&catalog, node, &reports);
            let since: BTreeMap<ReplicaKey, Instant> =
                found.damaged.iter().map(|key| (*key, self.damaged.get(key).copied().unwrap_or(now))).collect();
            self.damaged.retain(|key, _| key.1 != node);
            self.damaged.extend(since);
            behind.extend(found.behind);
            strays.extend(found.strays);
        }
        let now_placed = client.catalog();
        let is_stray = |key: &ReplicaKey| now_placed.tablet(key.0).is_some_and(|(_, t)| t.replica(key.1).is_none());
        let due = self.strays.due(strays.into_iter(), now).into_iter().filter(is_stray).collect();
        drop_files(&now_placed, stores, due).await;
        if !behind.is_empty() {
            let found = behind.len();
            let kept = propose(client, Operation::ReplicasBehind { replicas: behind }).await;
            if kept < found {
                warn!(
                    replicas = found - kept,
                    "replicas lack what they should have: they are not read until they have it"
                );
            }
        }
    }

    /// Has nodes fill replicas, and tells the catalog which are filled. Answers whether some are not.
    async fn fill(&mut self, client: &dyn CatalogClient, stores: &StorePool, health: &Health, now: Instant) -> bool {
        let catalog = client.catalog();
        let work = self.filling.work(&catalog, health, &self.damaged, now);
        let answers = join_all(work.iter().map(|(node, replicas)| {
            let address = catalog.nodes.get(node).map(|node| node.address.clone()).unwrap_or_default();
            async move {
                let answer = match stores.get(*node, &address) {
                    Ok(store) => store.catch_up(replicas).await,
                    Err(error) => Err(error),
                };
                (*node, answer)
            }
        }));
        let mut caught_up = Vec::new();
        for (node, answer) in answers.await {
            match answer {
                Ok(versions) => {
                    caught_up.extend(versions.into_iter().map(|(tablet, version)| CaughtUp { tablet, node, version }))
                }
                Err(error) => debug!(%node, %error, "replicas are filled later"),
            }
        }
        let filled = caught_up.len();
        for replica in &caught_up {
            self.damaged.remove(&(replica.tablet, replica.node));
        }
        let ready = self.filling.ready(&catalog, health, caught_up, now);
        if !ready.is_empty() {
            debug!(replicas = ready.len(), "replicas have caught up");
            propose(client, Operation::ReplicasCaughtUp { replicas: ready }).await;
        }
        self.fruitless = if self.filling.is_idle() || filled > 0 { 0 } else { self.fruitless.saturating_add(1) };
        !self.filling.is_idle() && self.fruitless < PATIENT_AFTER
    }

    /// Drops the files of replicas that were removed some time ago: queries that began before may still read them. Nodes
    /// that are away are asked again later.
    async fn drop_removed(&mut self, client: &dyn CatalogClient, stores: &StorePool, health: &Health, now: Instant) {
        let catalog = client.catalog();
        let due = self.dropped.due(catalog.dropped_replicas.iter().copied(), now);
        let is_alive = |key: &ReplicaKey| health.nodes.get(&key.1).is_some_and(|node| node.life == Life::Alive);
        let replicas = drop_files(&catalog, stores, due.into_iter().filter(is_alive).collect()).await;
        if !replicas.is_empty() {
            propose(client, Operation::ForgetReplicas { replicas }).await;
        }
    }
}

/// Drops replicas' files, and answers which are gone.
async fn drop_files(catalog: &Catalog, stores: &StorePool, replicas: Vec<ReplicaKey>) -> Vec<ReplicaKey> {
    let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
    for (tablet, node) in replicas {
        nodes.entry(node).or_default().push(tablet);
    }
    let gone = join_all(nodes.into_iter().map(|(node, tablets)| {
        let address = catalog.nodes.get(&node).map(|node| node.address.clone()).unwrap_or_default();
        async move {
            let dropped = match stores.get(node, &address) {
                Ok(store) => store.drop_tablets(&tablets).await,
                Err(error) => Err(error),
            };
            match dropped {
                Ok(()) => tablets.into_iter().map(|tablet| (tablet, node)).collect(),
                Err(error) => {
                    debug!(%node, %error, "cannot drop removed replicas yet");
                    Vec::new()
                }
            }
        }
    }));
    gone.await.into_iter().flatten().collect()
}

fn node_health(members: &Members, node: NodeId, life: Life) -> NodeHealth {
    let load = members.get(node).map(|member| member.load);
    NodeHealth {
        life,
        disk_total: load.map_or(0, |load| load.disk_total_bytes),
        disk: match load.map_or(DiskLevel::Ok, |load| load.disk_level()) {
            DiskLevel::Ok => Disk::Roomy,
            DiskLevel::Low => Disk::Low,
            DiskLevel::Full => Disk::Full,
        },
    }
}

/// Storage nodes as they look just now: those that are not alive are silent.
pub fn health_now(catalog: &Catalog, members: &Members, now: Instant) -> Health {
    let life = |node| if members.is_alive(node, now) { Life::Alive } else { Life::Silent };
    let nodes = catalog.storage_nodes().map(|node| (node.id, node_health(members, node.id, life(node.id)))).collect();
    Health { nodes, ..Health::default() }
}

/// Proposes what a plan says, what is given up first.
async fn carry_out(client: &dyn CatalogClient, plan: Plan) {
    let Plan { remove, add, buckets } = plan;
    if !remove.is_empty() {
        info!(replicas = remove.len(), "giving up replicas");
        propose(client, Operation::RemoveReplicas { replicas: remove }).await;
    }
    for (group, buckets) in buckets {
        info!(%group, buckets = buckets.len(), "moving buckets of a colocation group");
        propose(client, Operation::MoveBuckets { group, buckets }).await;
    }
    if !add.is_empty() {
        info!(replicas = add.len(), "filling new replicas");
        propose(client, Operation::AddReplicas { replicas: add }).await;
    }
}

/// Proposes a change of replicas and answers how many of them stay as they are. What is not done now is planned again.
async fn propose(client: &dyn CatalogClient, operation: Operation) -> usize {
    match client.propose(operation).await {
        Ok(Response::Replicas { refused }) => {
            for ((tablet, node), error) in &refused {
                debug!(%tablet, %node, %error, "a replica stays as it is");
            }
            refused.len()
        }
        Ok(_) => 0,
        Err(error) => {
            debug!(%error, "replicas stay as they are");
            usize::MAX
        }
    }
}
