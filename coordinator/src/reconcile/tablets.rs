//! Tablets that should be on a storage node and are not, and the other way round.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tarn_catalog::{Catalog, Node, Operation, Relation, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::storage::{StoreError, StorePool};
use tarn_proto::{NodeId, TableId, TabletId, Version};
use tracing::debug;

use crate::ReplicatedCatalog;

/// How long the other nodes are waited for once a majority of each tablet's replicas is there.
const SLOW_NODES: Duration = Duration::from_millis(500);

/// Creates tablets of partitions that nobody has seen rows of and that their nodes do not have: of one table, or of all.
/// Tablets with visible rows are never created anew, which would turn their loss into silence; nor is the loss of a rowset
/// that is committed and not yet visible: publishing it fails. Every node is tried. It is a failure only if a tablet is
/// left without a majority of its replicas; nodes that are slower than that are tried again in the leader's next round.
pub async fn create_missing(catalog: &Catalog, stores: &StorePool, table: Option<TableId>) -> Result<(), StoreError> {
    let tables = catalog.relations.values().filter_map(|relation| match relation {
        // Those on storage volumes are opened there, see `volumes`.
        Relation::Table(t) if t.volume.is_none() && table.is_none_or(|id| id == t.id) => Some(t),
        Relation::Table(_) | Relation::View(_) => None,
    });
    let wanted: Vec<Wanted<'_>> =
        tables.map(|t| (&**t, unseen_tablets(t))).filter(|(_, nodes)| !nodes.is_empty()).collect();
    let nodes: BTreeSet<NodeId> = wanted.iter().flat_map(|(_, nodes)| nodes.keys().copied()).collect();
    let mut creating: FuturesUnordered<_> = nodes
        .iter()
        .filter_map(|node| catalog.nodes.get(node))
        .map(|node| async { (node.id, create_on(node, stores, &wanted).await) })
        .collect();
    let mut done = BTreeSet::new();
    let mut failed = None;
    let mut deadline: Option<tokio::time::Instant> = None;
    loop {
        let next = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, creating.next()).await {
                Ok(next) => next,
                Err(_) => return Ok(()),
            },
            None => creating.next().await,
        };
        let Some((node, created)) = next else { break };
        match created {
            Ok(()) => {
                done.insert(node);
            }
            Err(error) => {
                debug!(%node, %error, "tablets are created later");
                failed = failed.or(Some(error));
            }
        }
        if deadline.is_none() && table.is_some() && majorities(&wanted, &done) {
            deadline = Some(tokio::time::Instant::now() + SLOW_NODES);
        }
    }
    match failed {
        Some(error) if !majorities(&wanted, &done) => Err(error),
        Some(_) | None => Ok(()),
    }
}

/// Whether each wanted tablet is on a majority of its members, if it is on all that are `done`.
fn majorities(wanted: &[Wanted<'_>], done: &BTreeSet<NodeId>) -> bool {
    let tablets = wanted.iter().flat_map(|(table, _)| table.all_partitions());
    let mut tablets = tablets.filter(|p| p.visible_version == Version::FIRST).flat_map(|p| &p.tablets);
    tablets.all(|tablet| tablet.members().filter(|member| done.contains(&member.node)).count() >= tablet.quorum())
}

/// A table's tablets, by the nodes that should have them.
type Wanted<'a> = (&'a Table, BTreeMap<NodeId, Vec<TabletId>>);

async fn create_on(node: &Node, stores: &StorePool, wanted: &[Wanted<'_>]) -> Result<(), StoreError> {
    let store = stores.get(node.id, &node.address)?;
    let present: HashSet<u64> = store.tablets().await?.iter().map(|t| t.tablet_id).collect();
    for (table, nodes) in wanted {
        let tablets = nodes.get(&node.id).into_iter().flatten();
        let missing: Vec<TabletId> = tablets.filter(|tablet| !present.contains(&tablet.get())).copied().collect();
        if !missing.is_empty() {
            debug!(node = %node.id, table = table.name, tablets = missing.len(), "creating tablets");
            store.create_tablets(&table.schema, &missing).await?;
        }
    }
    Ok(())
}

/// Tablets of partitions without a visible load, by the nodes that should have them. Committed loads do not count: what they
/// wrote is published on all of a partition's tablets, so one that could not be created in time must be made for it.
fn unseen_tablets(table: &Table) -> BTreeMap<NodeId, Vec<TabletId>> {
    let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
    for partition in table.all_partitions().filter(|p| p.visible_version == Version::FIRST) {
        for tablet in &partition.tablets {
            for node in tablet.nodes() {
                nodes.entry(node).or_default().push(tablet.id);
            }
        }
    }
    nodes
}

/// How long the tablets of dropped tables and partitions stay, for queries that began before: a table that is overwritten
/// again and again is read all the time. As long as storage nodes keep superseded rowsets by default.
const DROPPED_GRACE: Duration = Duration::from_secs(600);

/// Since when tablets, or replicas of them, are known to be dropped, to this leader.
pub struct Dropped<T>(BTreeMap<T, Instant>);

impl<T> Default for Dropped<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy + Ord + Hash> Dropped<T> {
    /// Those of `dropped` that have been known long enough. Forgets what is not dropped any more.
    pub fn due(&mut self, dropped: impl Iterator<Item = T>, now: Instant) -> HashSet<T> {
        self.0 = dropped.map(|key| (key, self.0.get(&key).copied().unwrap_or(now))).collect();
        let long_enough = |since: &Instant| now.saturating_duration_since(*since) >= DROPPED_GRACE;
        self.0.iter().filter(|(_, since)| long_enough(since)).map(|(key, _)| *key).collect()
    }
}

/// Drops the tablets of tables and partitions that were dropped some time ago on their nodes, then forgets them. Nodes that
/// are away are tried again in the next round.
pub async fn drop_superfluous(client: &ReplicatedCatalog, dropped: &mut Dropped<TabletId>) {
    let catalog = client.catalog();
    let due = dropped.due(catalog.dropped_tablets.keys().copied(), Instant::now());
    let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
    for (tablet, replicas) in catalog.dropped_tablets.iter().filter(|(tablet, _)| due.contains(tablet)) {
        for node in replicas {
            nodes.entry(*node).or_default().push(*tablet);
        }
    }
    let (catalog, stores) = (&catalog, client.stores());
    let dropped = nodes.into_iter().map(|(node, tablets)| async move {
        // A node that is not registered any more took its files with it.
        let info = catalog.nodes.get(&node)?;
        let dropped = match stores.get(node, &info.address) {
            Ok(store) => store.drop_tablets(&tablets).await,
            Err(error) => Err(error),
        };
        dropped.err().map(|error| {
            debug!(%node, %error, "cannot drop tablets yet");
            tablets
        })
    });
    let kept: HashSet<TabletId> = join_all(dropped).await.into_iter().flatten().flatten().collect();
    let gone: Vec<TabletId> = due.into_iter().filter(|t| !kept.contains(t)).collect();
    if !gone.is_empty()
        && let Err(error) = client.propose(Operation::ForgetTablets { tablets: gone }).await
    {
        debug!(%error, "dropped tablets are forgotten later");
    }
}

#[cfg(test)]
mod tests;
