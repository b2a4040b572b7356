//! `ALTER TABLE .. COMPACT`: storage nodes are asked to merge tablets, which they do in the background.

use std::collections::BTreeMap;

use futures::future::join_all;
use tarn_proto::storage::{CompactionScope, StoreError};
use tarn_proto::{ErrorKind, NodeId, TabletId};
use tarn_sql::CompactTable;

use super::existing_partition;
use crate::session::{Error, SessionContext};

pub async fn compact(context: &SessionContext, compact: &CompactTable) -> Result<(), Error> {
    let table = context.table(&compact.table)?;
    let mut partitions = Vec::with_capacity(compact.partitions.len());
    for name in &compact.partitions {
        partitions.push(existing_partition(&table, name)?.clone());
    }
    if compact.partitions.is_empty() {
        partitions.extend(table.partitions.values().cloned());
    }
    let mut nodes: BTreeMap<NodeId, Vec<TabletId>> = BTreeMap::new();
    for tablet in partitions.iter().flat_map(|partition| &partition.tablets) {
        for node in tablet.nodes() {
            nodes.entry(node).or_default().push(tablet.id);
        }
    }
    let scope = if compact.cumulative { CompactionScope::Recent } else { CompactionScope::All };
    let asked = nodes.into_iter().map(|(node, tablets)| async move { ask(context, node, &tablets, scope).await });
    for answer in join_all(asked).await {
        answer.map_err(|error| match error.kind {
            ErrorKind::Invalid => Error::Invalid(error.to_string()),
            _ => Error::Unavailable(format!(
                "{error}; what other nodes were asked for goes on: repeat the statement for the rest"
            )),
        })?;
    }
    Ok(())
}

async fn ask(
    context: &SessionContext,
    node: NodeId,
    tablets: &[TabletId],
    scope: CompactionScope,
) -> Result<(), StoreError> {
    let address = context.catalog.nodes.get(&node).map(|node| node.address.clone()).unwrap_or_default();
    context.shared.catalog.stores().get(node, &address)?.compact(tablets, scope).await
}
