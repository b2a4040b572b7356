//! What a plan reads of which table.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_expr::create_physical_expr;
use tarn_catalog::Table;
use tarn_proto::{PartitionId, TableId};

use crate::error::Result;
use crate::planner::QueryPlan;
use crate::prune::Pruner;
use crate::tablets::TabletTable;

/// What a plan that scans one table may return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The partitions that may hold such rows.
    pub partitions: BTreeSet<PartitionId>,
    /// The columns that its conditions compare, in the table's spelling.
    pub columns: BTreeSet<String>,
}

impl QueryPlan {
    /// Whether it reads the table, be it through a view or in a subquery.
    pub fn reads(&self, table: TableId) -> bool {
        self.scans().is_none_or(|scans| scans.iter().any(|scan| is_of(scan, table)))
    }

    /// What it may return of `table`, by its conditions alone. `None` unless it scans that table, once, and no other.
    pub fn reach(&self, table: &Arc<Table>) -> Result<Option<Reach>> {
        let Some(scans) = self.scans() else { return Ok(None) };
        let [scan] = &scans[..] else { return Ok(None) };
        if !is_of(scan, table.id) {
            return Ok(None);
        }
        let ids = || table.partitions.keys().copied();
        let Some(filter) = conjunction(unnormalize_cols(scan.filters.clone())) else {
            return Ok(Some(Reach { partitions: ids().collect(), columns: BTreeSet::new() }));
        };
        let columns = filter.column_refs().into_iter().map(|column| column.name.clone()).collect();
        let schema = DFSchema::try_from(table.schema.to_arrow())?;
        let predicate =
            create_physical_expr(&filter, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        let pruner = Pruner::new(table, &predicate)?;
        let partitions = ids().enumerate().filter(|(index, _)| pruner.keeps_partition(*index)).map(|(_, id)| id);
        Ok(Some(Reach { partitions: partitions.collect(), columns }))
    }

    /// The scans in it, also those in subqueries; `None` if they cannot be told.
    fn scans(&self) -> Option<Vec<TableScan>> {
        let mut scans = Vec::new();
        let walked = self.logical.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                scans.push(scan.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.is_ok().then_some(scans)
    }
}

fn is_of(scan: &TableScan, table: TableId) -> bool {
    source_as_provider(&scan.source)
        .is_ok_and(|provider| provider.downcast_ref::<TabletTable>().is_some_and(|scanned| scanned.id() == table))
}
