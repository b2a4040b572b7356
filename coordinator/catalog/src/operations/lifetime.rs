//! Partitions that are made and dropped as time goes on.

use std::sync::Arc;

use tarn_proto::{PartitionId, TableId};

use super::Outcome;
use super::dealer::Dealer;
use super::partition::Layout;
use crate::command::{PartitionSpec, Placement, Response};
use crate::{Catalog, Error, Partitioning};

impl Catalog {
    pub(super) fn maintain_partitions(
        &mut self,
        table: TableId,
        add: &[PartitionSpec],
        drop: &[PartitionId],
        buckets: Option<u32>,
        placement: &Placement,
        now_ms: u64,
    ) -> Outcome {
        if self.existing_table(table)?.partitioning == Partitioning::None {
            return Err(Error::Invalid(format!(
                "table {table} is not partitioned, so that no partition of it has a life"
            )));
        }
        for id in drop {
            if let Some(partition) = self.table_mut(table)?.partitions.remove(id) {
                self.drop_tablets(&partition);
            }
        }
        let table = self.existing_table(table)?;
        let buckets = buckets.unwrap_or(table.distribution.buckets);
        if buckets == 0 {
            return Err(Error::Invalid(format!("partitions of table `{}` would have no buckets", table.name)));
        }
        let mut layout = Layout::new(&table);
        let mut dealer = None;
        let mut ids = Vec::with_capacity(add.len());
        for spec in add {
            let bounds = match layout.check_new(spec) {
                Ok(bounds) => bounds,
                // Somebody has been faster.
                Err(Error::PartitionExists { .. } | Error::PartitionOverlap { .. }) => continue,
                Err(error) => return Err(error),
            };
            let dealer = match &mut dealer {
                Some(dealer) => dealer,
                none => none.insert(Dealer::new(self, placement, &table)?),
            };
            let partition = self.new_partition(table.id, &spec.name, bounds, buckets, dealer, now_ms)?;
            ids.push(partition.id);
            layout.insert(&partition);
            self.table_mut(table.id)?.partitions.insert(partition.id, Arc::new(partition));
        }
        Ok(Response::Partitions(ids))
    }
}
