//! Tablets that should be on a storage node and are not, and the other way round.

use std::collections::{BTreeMap, HashSet};

use tarn_catalog::{Catalog, Operation, Relation, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::storage::{StoreError, StorePool};
use tarn_proto::{NodeId, TableId, TabletId, Version};
use tracing::debug;

use crate::ReplicatedCatalog;

/// Creates tablets that no load has written to yet and that their node does not have: of one table, or of all. Tablets
/// with data are never created anew, which would turn their loss into silence.
pub async fn create_missing(catalog: &Catalog, stores: &StorePool, table: Option<TableId>) -> Result<(), StoreError> {
    let tables = catalog.relations.values().filter_map(|relation| match relation {
        Relation::Table(t) if table.is_none_or(|id| id == t.id) => Some(t),
        Relation::Table(_) | Relation::View(_) => None,
    });
    let wanted: Vec<(&Table, BTreeMap<NodeId, Vec<TabletId>>)> =
        tables.map(|t| (&**t, empty_tablets(t))).filter(|(_, nodes)| !nodes.is_empty()).collect();
    let nodes: HashSet<NodeId> = wanted.iter().flat_map(|(_, nodes)| nodes.keys().copied()).collect();
    for node in nodes {
        let Some(info) = catalog.nodes.get(&node) else { continue };
        let store = stores.get(node, &info.address)?;
        let present: HashSet<u64> = store.tablets().await?.iter().map(|t| t.tablet_id).collect();
        for (table, nodes) in &wanted {
            let missing: Vec<TabletId> = nodes
                .get(&node)
                .into_iter()
                .flatten()
                .filter(|tablet| !present.contains(&tablet.get()))
                .copied()
                .collect();
            if !missing.is_empty() {
                debug!(%node, table = table.name, tablets = missing.len(), "creating tablets");
                store.create_tablets(&table.schema, &missing).await?;
            }
        }
    }
    Ok(())
}

/// Tablets of partitions that nothing was ever loaded into, by the nodes that should have them.
fn empty_tablets(table: &Table) -> BTreeMap<NodeId, Vec<TabletId>> {
    let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
    for partition in table.partitions.values().filter(|p| p.committed_version == Version::FIRST) {
        for tablet in &partition.tablets {
            for node in &tablet.replicas {
                nodes.entry(*node).or_default().push(tablet.id);
            }
        }
    }
    nodes
}

/// Drops the tablets of dropped tables and partitions on their nodes, then forgets them. Nodes that are away are tried
/// again in the next round.
pub async fn drop_superfluous(client: &ReplicatedCatalog) {
    let catalog = client.catalog();
    let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
    for (tablet, replicas) in &catalog.dropped_tablets {
        for node in replicas {
            nodes.entry(*node).or_default().push(*tablet);
        }
    }
    let mut kept: HashSet<TabletId> = HashSet::new();
    for (node, tablets) in nodes {
        // A node that is not registered any more took its files with it.
        let Some(info) = catalog.nodes.get(&node) else { continue };
        let dropped = match client.stores().get(node, &info.address) {
            Ok(store) => store.drop_tablets(&tablets).await,
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            debug!(%node, %error, "cannot drop tablets yet");
            kept.extend(tablets);
        }
    }
    let gone: Vec<TabletId> = catalog.dropped_tablets.keys().filter(|t| !kept.contains(t)).copied().collect();
    if !gone.is_empty()
        && let Err(error) = client.propose(Operation::ForgetTablets { tablets: gone }).await
    {
        debug!(%error, "dropped tablets are forgotten later");
    }
}
