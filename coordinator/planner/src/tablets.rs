//! Tables as the engine sees them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction};
use datafusion::physical_plan::ExecutionPlan;
use tarn_catalog::{Catalog, Node, Table, Tablet};
use tarn_proto::spread::in_turn;
use tarn_proto::storage::Peer;
use tarn_proto::{NodeId, PartitionId, TableId, TableModel};
use tarn_scan::{Pruned, TabletRead, TabletScan, scan};

use crate::error::Error;
use crate::planner::Planning;
use crate::prune::Pruner;

/// Rows that are worth another thread.
const ROWS_PER_PARTITION: u64 = 65_536;

/// One table of the snapshot.
pub(crate) struct TabletTable {
    planning: Arc<Planning>,
    table: Arc<Table>,
    /// `database.table`.
    name: String,
    schema: SchemaRef,
}

impl fmt::Debug for TabletTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TabletTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TabletTable {
    pub(crate) fn new(planning: Arc<Planning>, table: Arc<Table>, name: String) -> Self {
        Self { planning, schema: table.schema.to_arrow(), table, name }
    }

    /// The table's id.
    pub(crate) fn id(&self) -> TableId {
        self.table.id
    }

    /// The tablets that may hold rows for which the filters hold.
    fn tablets(&self, state: &dyn Session, filters: &[Expr]) -> Result<(Vec<TabletRead>, Pruned)> {
        let mut pruner = None;
        if let Some(filter) = conjunction(filters.iter().cloned()) {
            let schema = DFSchema::try_from(self.schema.clone())?;
            let predicate = state.create_physical_expr(filter, &schema)?;
            pruner = Some(Pruner::new(&self.table, &predicate)?);
        }
        let catalog = &self.planning.context.catalog;
        let mut pruned = Pruned { partitions_total: self.table.partitions.len(), ..Pruned::default() };
        let mut reads = Vec::new();
        for (index, partition) in self.table.partitions.values().enumerate() {
            pruned.tablets_total += partition.tablets.len();
            if pruner.as_ref().is_some_and(|p| !p.keeps_partition(index)) {
                continue;
            }
            pruned.partitions += 1;
            let buckets = partition.tablets.len() as u32;
            for (tablet, bucket) in partition.tablets.iter().zip(0u32..) {
                // A tablet that nothing was loaded to is not worth a question to its node. Rows alone would not tell:
                // where rows of equal keys become one, they are an estimate.
                let is_empty = tablet.rows == 0 && tablet.bytes == 0;
                if is_empty || pruner.as_ref().is_some_and(|p| !p.keeps_bucket(bucket, buckets)) {
                    continue;
                }
                let replicas = replicas_of(catalog, &self.planning.context.silent, partition.id, bucket, tablet);
                if replicas.is_empty() {
                    let (tablet, table) = (tablet.id, self.name.clone());
                    return Err(DataFusionError::External(Box::new(Error::NoStorageNode { tablet, table })));
                }
                reads.push(TabletRead {
                    tablet: tablet.id,
                    version: partition.visible_version,
                    replicas,
                    rows: tablet.rows,
                    bytes: tablet.bytes,
                });
            }
        }
        Ok((reads, pruned))
    }
}

#[async_trait]
impl TableProvider for TabletTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They choose partitions and buckets here; the scan itself takes them from the physical optimizer.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (reads, pruned) = self.tablets(state, filters)?;
        let rows: u64 = reads.iter().map(|r| r.rows).sum();
        let useful = usize::try_from(rows.div_ceil(ROWS_PER_PARTITION)).unwrap_or(usize::MAX).max(1);
        let count = state.config().target_partitions().min(useful);
        let mut partitions = vec![Vec::new(); count];
        for (index, read) in reads.into_iter().enumerate() {
            partitions[index % count].push(read);
        }
        let spec = TabletScan {
            table: self.name.clone(),
            schema: self.table.schema.clone(),
            volume: self.planning.context.catalog.volume_of(&self.table).map(Arc::new),
            partitions,
            projection: projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect()),
            filters: Vec::new(),
            limit: if filters.is_empty() { limit } else { None },
            exact_rows: self.table.schema.model == TableModel::Duplicate
                && !self.table.partitions.values().any(|partition| partition.inexact_rows),
            pruned,
            bitmap_max_filter_ratio: self.planning.context.bitmap_max_filter_ratio,
        };
        scan(self.planning.scans().clone(), spec)
    }
}

/// The replicas that have every visible version, the one to read first: those whose node is not silent, or all if no other
/// is left. A tablet is read where it was read before as long as that can be.
fn replicas_of(
    catalog: &Catalog,
    silent: &BTreeSet<NodeId>,
    partition: PartitionId,
    bucket: u32,
    tablet: &Tablet,
) -> Arc<[Peer]> {
    let mut nodes: Vec<NodeId> = tablet.members().map(|replica| replica.node).collect();
    in_turn(partition, bucket, &mut nodes);
    let is_readable = |node: &NodeId| tablet.readable().any(|replica| replica.node == *node);
    let registered: Vec<&Arc<Node>> =
        nodes.iter().filter(|node| is_readable(node)).filter_map(|node| catalog.nodes.get(node)).collect();
    let is_heard = |node: &&Arc<Node>| !node.address.is_empty() && !silent.contains(&node.id);
    let heard: Vec<&Arc<Node>> = registered.iter().copied().filter(is_heard).collect();
    let chosen = if heard.is_empty() { registered } else { heard };
    chosen.into_iter().map(|node| Peer { node: node.id, address: node.address.clone() }).collect()
}

#[cfg(test)]
mod tests;
