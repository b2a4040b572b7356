//! Owners of tablets on storage volumes: each such tablet is open on one storage node that lives, and on no other.
//!
//! ```text
//!  moves   an owner that is silent, drained or gone ──► MoveOwners: another node, the next epoch
//!          one node that owns more than another     ──► the same, a few at a time
//!  open    a tablet that its owner does not have open under its epoch ──► open_tablets: it claims it in the volume
//!  close   a tablet that is open on a node that does not own it       ──► drop_tablets: it forgets its copy
//!  purge   tablets of dropped tables and partitions                   ──► their objects go
//! ```
//!
//! An owner that is thought to be dead and is not finds out in the volume, so that moving too early loses nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::RwLock;
use tarn_catalog::command::OwnerMove;
use tarn_catalog::{Catalog, Node, Operation, Relation, Table, Tablet};
use tarn_ingest::CatalogClient;
use tarn_proto::membership::DEAD_AFTER;
use tarn_proto::storage::{OpenTablet, StoreError, StorePool};
use tarn_proto::volume::Volume;
use tarn_proto::{NodeId, TableId, TabletId, Version, VolumeId};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::tablets::Dropped;
use crate::{Members, ReplicatedCatalog};

/// Time between two rounds.
const EVERY: Duration = Duration::from_millis(500);
/// Tablets that leave a drained node, or one that owns too many, in one round: writes to each wait for some requests to the
/// volume.
const GENTLE_MOVES: usize = 16;
/// Nodes whose numbers of tablets differ by no more are balanced, ...
const LEAST_TOLERANCE: usize = 4;
/// ... nor are those that differ by no more than one part of so many of what a node owns on average: writes to a tablet
/// that moves wait, so that tables just made are left where they are.
const TOLERATED_PART: usize = 10;
/// Tablets of one request to open them: it must be answered within its time.
const OPEN_TABLETS: usize = 64;
/// Tablets whose objects are removed by one request.
const PURGE_TABLETS: usize = 16;

/// What is known of the storage nodes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Health {
    /// Those that live and are not drained.
    usable: BTreeSet<NodeId>,
    /// Those that live and are drained.
    draining: BTreeSet<NodeId>,
    /// Those that are not heard and whose time is not over: their tablets stay.
    waiting: BTreeSet<NodeId>,
}

impl Health {
    /// What `members` say. `started` is when this coordinator began to lead: nodes that it has not heard may live.
    fn of(catalog: &Catalog, members: &Members, started: Instant, now: Instant) -> Self {
        let mut health = Self::default();
        for node in catalog.storage_nodes() {
            let silence = members.silence(node.id, now);
            if silence.is_none() && now.saturating_duration_since(started) <= DEAD_AFTER {
                health.waiting.insert(node.id);
            } else if silence.is_some_and(|silence| silence <= DEAD_AFTER) && !node.address.is_empty() {
                let alive = if node.draining { &mut health.draining } else { &mut health.usable };
                alive.insert(node.id);
            }
        }
        health
    }

    fn lives(&self, node: NodeId) -> bool {
        self.usable.contains(&node) || self.draining.contains(&node)
    }
}

/// Follows the catalog and the nodes' health until it is cancelled.
pub async fn run(client: &ReplicatedCatalog, members: &RwLock<Members>, cancel: CancellationToken) {
    let started = Instant::now();
    let mut purges = Dropped::default();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(tick.tick()).await.is_some() {
        let round = async {
            let catalog = client.catalog();
            if catalog.volumes.is_empty() {
                return;
            }
            let health = Health::of(&catalog, &members.read(), started, Instant::now());
            let moves = moves(&catalog, &health);
            if !moves.is_empty() {
                info!(tablets = moves.len(), "moving tablets on storage volumes to other owners");
                if let Err(error) = client.propose(Operation::MoveOwners { moves }).await {
                    warn!(%error, "tablets on storage volumes are moved later");
                }
            }
            follow_owners(client, &health).await;
            purge(client, &health, &mut purges).await;
        };
        if cancel.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

/// Tables on volumes.
fn tables(catalog: &Catalog) -> impl Iterator<Item = (&Table, VolumeId)> {
    catalog.relations.values().filter_map(|relation| match relation {
        Relation::Table(table) => table.volume.map(|volume| (&**table, volume)),
        Relation::View(_) => None,
    })
}

fn owner(tablet: &Tablet) -> Option<NodeId> {
    tablet.nodes().next()
}

/// By how many tablets nodes that own so many each may differ.
fn tolerance(counts: &BTreeMap<NodeId, usize>) -> usize {
    let mean = counts.values().sum::<usize>() / counts.len().max(1);
    LEAST_TOLERANCE.max(mean / TOLERATED_PART)
}

/// Which tablets shall have other owners. Pure.
fn moves(catalog: &Catalog, health: &Health) -> Vec<OwnerMove> {
    if health.usable.is_empty() {
        return Vec::new();
    }
    let mut owned: BTreeMap<NodeId, Vec<&Tablet>> = BTreeMap::new();
    let (mut lost, mut leaving) = (Vec::new(), Vec::new());
    for (_, _, tablet) in tables(catalog).flat_map(|(table, _)| table.tablets()) {
        match owner(tablet) {
            Some(node) if health.usable.contains(&node) => owned.entry(node).or_default().push(tablet),
            Some(node) if health.draining.contains(&node) => leaving.push(tablet),
            Some(node) if health.waiting.contains(&node) => {}
            Some(_) | None => lost.push(tablet),
        }
    }
    let mut counts: BTreeMap<NodeId, usize> =
        health.usable.iter().map(|node| (*node, owned.get(node).map_or(0, Vec::len))).collect();
    let mut moves = Vec::new();
    let mut give = |tablet: &Tablet, counts: &mut BTreeMap<NodeId, usize>| {
        let Some((&to, _)) = counts.iter().min_by_key(|(node, count)| (**count, **node)) else { return };
        *counts.entry(to).or_default() += 1;
        moves.push(OwnerMove { tablet: tablet.id, epoch: tablet.epoch, to });
    };
    lost.iter().for_each(|tablet| give(tablet, &mut counts));
    leaving.iter().take(GENTLE_MOVES).for_each(|tablet| give(tablet, &mut counts));
    if lost.is_empty() && leaving.is_empty() {
        let tolerance = tolerance(&counts);
        for _ in 0..GENTLE_MOVES {
            let most = counts.iter().max_by_key(|(node, count)| (**count, **node)).map(|(node, count)| (*node, *count));
            let least = counts.values().min().copied().unwrap_or_default();
            let Some((from, count)) = most else { break };
            if count <= least + tolerance {
                break;
            }
            let Some(tablet) = owned.get_mut(&from).and_then(Vec::pop) else { break };
            *counts.entry(from).or_default() -= 1;
            give(tablet, &mut counts);
        }
    }
    moves
}

/// Opens tablets where they are not open, and closes them where they should not be.
async fn follow_owners(client: &ReplicatedCatalog, health: &Health) {
    let nodes: Vec<_> = client.catalog().storage_nodes().filter(|node| health.lives(node.id)).cloned().collect();
    let followed = nodes.iter().map(|node| async move {
        let store = client.stores().get(node.id, &node.address)?;
        let open = store.tablets().await?;
        // The catalog after the list: what it says a node owns may be opened by now, but what it does not is not meant.
        let catalog = client.catalog();
        let here: HashMap<TabletId, u64> = open
            .iter()
            .filter(|report| report.volume_id != 0)
            .map(|report| (TabletId(report.tablet_id), report.epoch))
            .collect();
        let elsewhere: Vec<TabletId> = here.keys().copied().filter(|id| is_elsewhere(&catalog, *id, node)).collect();
        if !elsewhere.is_empty() {
            debug!(node = %node.id, tablets = elsewhere.len(), "closing tablets that have another owner");
            store.drop_tablets(&elsewhere).await?;
        }
        for (table, id) in tables(&catalog) {
            let Some(volume) = catalog.volume(id) else { continue };
            let missing: Vec<OpenTablet> = wanted(table, node.id)
                .filter(|open| here.get(&open.tablet).is_none_or(|epoch| *epoch < open.epoch))
                .collect();
            open_on(client.stores(), node, table, &volume, &missing).await?;
        }
        Ok::<(), StoreError>(())
    });
    for error in join_all(followed).await.into_iter().filter_map(Result::err) {
        warn!(%error, "tablets on storage volumes are opened later");
    }
}

/// Whether a tablet that is open on a node has another owner. One that is dropped stays for its readers.
fn is_elsewhere(catalog: &Catalog, tablet: TabletId, node: &Node) -> bool {
    catalog.tablet(tablet).is_some_and(|(_, tablet)| owner(tablet) != Some(node.id))
}

/// The tablets of a table that a node shall have open.
fn wanted(table: &Table, node: NodeId) -> impl Iterator<Item = OpenTablet> {
    table.all_partitions().flat_map(move |partition| {
        let owned = partition.tablets.iter().filter(move |tablet| owner(tablet) == Some(node));
        owned.map(|tablet| OpenTablet { tablet: tablet.id, epoch: tablet.epoch, version: partition.visible_version })
    })
}

async fn open_on(
    stores: &StorePool,
    node: &Node,
    table: &Table,
    volume: &Volume,
    tablets: &[OpenTablet],
) -> Result<(), StoreError> {
    let store = stores.get(node.id, &node.address)?;
    let mut failure = None;
    for some in tablets.chunks(OPEN_TABLETS) {
        debug!(node = %node.id, table = table.name, tablets = some.len(), "opening tablets on a storage volume");
        if let Err(error) = store.open_tablets(&table.schema, volume, some).await {
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Opens the tablets of a table that a change has just added, so that it can be loaded at once.
pub async fn open_new(catalog: &Catalog, stores: &StorePool, table: TableId) -> Result<(), StoreError> {
    let Some(table) = catalog.table_by_id(table) else { return Ok(()) };
    let Some(volume) = catalog.volume_of(table) else { return Ok(()) };
    let nodes = catalog.storage_nodes().map(|node| {
        let new: Vec<OpenTablet> = wanted(table, node.id).filter(|open| open.version == Version::FIRST).collect();
        let volume = &volume;
        async move { if new.is_empty() { Ok(()) } else { open_on(stores, node, table, volume, &new).await } }
    });
    join_all(nodes).await.into_iter().collect()
}

/// Removes the objects of tablets that were dropped some time ago: by whichever node.
async fn purge(client: &ReplicatedCatalog, health: &Health, purges: &mut Dropped<TabletId>) {
    let catalog = client.catalog();
    let due = purges.due(catalog.dropped_on_volumes.keys().copied(), Instant::now());
    let mut volumes: BTreeMap<VolumeId, Vec<TabletId>> = BTreeMap::new();
    for (tablet, volume) in catalog.dropped_on_volumes.iter().filter(|(tablet, _)| due.contains(tablet)) {
        volumes.entry(*volume).or_default().push(*tablet);
    }
    let node = health.usable.iter().chain(&health.draining).find_map(|id| catalog.nodes.get(id));
    let Some(node) = node else { return };
    for (id, mut tablets) in volumes {
        tablets.truncate(PURGE_TABLETS);
        let purged = async {
            let Some(volume) = catalog.volume(id) else { return Ok(()) };
            client.stores().get(node.id, &node.address)?.purge_tablets(&volume, &tablets).await
        };
        match purged.await {
            Ok(()) => {
                if let Err(error) = client.propose(Operation::ForgetPurged { tablets }).await {
                    debug!(%error, "purged tablets are forgotten later");
                }
            }
            Err(error) => warn!(%error, "objects of dropped tablets are removed later"),
        }
    }
}

#[cfg(test)]
mod tests;
