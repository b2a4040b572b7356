//! Which partitions and buckets can hold rows that a predicate is true for. Leaves out only what cannot.

mod bounds;
mod buckets;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use tarn_catalog::Table;
use tarn_proto::PartitionId;

use bounds::PartitionBounds;
use buckets::BucketChoice;

/// The partitions that can hold rows for which `predicate`, over the table's columns, is true.
pub fn matching_partitions(table: &Table, predicate: &Arc<dyn PhysicalExpr>) -> Result<BTreeSet<PartitionId>> {
    let pruner = Pruner::new(table, predicate)?;
    let kept = table.partitions.keys().enumerate().filter(|(index, _)| pruner.keeps_partition(*index));
    Ok(kept.map(|(_, id)| *id).collect())
}

/// A table's partitions and buckets under one predicate.
pub(crate) struct Pruner {
    partitions: Vec<bool>,
    buckets: BucketChoice,
}

impl Pruner {
    /// `predicate` is over the table's columns.
    pub(crate) fn new(table: &Table, predicate: &Arc<dyn PhysicalExpr>) -> Result<Self> {
        let (bounds, schema) = (PartitionBounds::new(table), table.schema.to_arrow());
        // What the engine cannot turn into a question about bounds prunes nothing.
        let partitions = match PruningPredicateBuilder::new().with_file_schema(schema).try_build(predicate.clone()) {
            Ok(pruning) => pruning.prune(&bounds)?,
            Err(_) => vec![true; table.partitions.len()],
        };
        Ok(Self { partitions, buckets: BucketChoice::new(table, predicate) })
    }

    /// Whether the partition at `index`, in order of ids, can hold such rows.
    pub(crate) fn keeps_partition(&self, index: usize) -> bool {
        self.partitions.get(index).copied().unwrap_or(true)
    }

    /// Whether bucket `bucket` of `buckets` can hold such rows.
    pub(crate) fn keeps_bucket(&self, bucket: u32, buckets: u32) -> bool {
        self.buckets.contains(bucket, buckets)
    }
}
