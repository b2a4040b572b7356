//! Merging ordered results on each node before they travel.
//!
//! The last stage's tasks may have several ordered partitions each, which travel over one connection in whatever order
//! they are ready. A merge reads all of them at once: it can wait for a partition whose rows are behind so many rows of
//! another that the connection's buffer is full, for ever. If each task merges its own partitions, a connection carries
//! one, and the work of merging is shared.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::{DistributedExec, NetworkBoundary, NetworkBoundaryExt, NetworkCoalesceExec, Stage};

/// Rewrites the part of the plan that runs in the coordinator, which begins at its [`DistributedExec`].
pub(super) fn rewrite(plan: Arc<dyn ExecutionPlan>, in_head: bool) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.is_network_boundary() {
        return Ok(plan);
    }
    if in_head
        && let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>()
        && let Some(exchange) = merge.input().downcast_ref::<NetworkCoalesceExec>()
        && let Some(merged) = merge_before(merge, exchange)?
    {
        return replace(plan, vec![merged]);
    }
    let in_head = in_head || plan.downcast_ref::<DistributedExec>().is_some();
    let children = plan.children().into_iter().cloned().collect::<Vec<_>>();
    let rewritten = children.iter().map(|child| rewrite(child.clone(), in_head)).collect::<Result<Vec<_>>>()?;
    if children.iter().zip(&rewritten).all(|(before, after)| Arc::ptr_eq(before, after)) {
        return Ok(plan);
    }
    replace(plan, rewritten)
}

/// The exchange of a stage that merges its partitions as `merge` does. `None` if it has one partition anyway.
fn merge_before(
    merge: &SortPreservingMergeExec,
    exchange: &NetworkCoalesceExec,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Stage::Local(mut stage) = exchange.input_stage().clone() else { return Ok(None) };
    if stage.plan.output_partitioning().partition_count() < 2 {
        return Ok(None);
    }
    let merged = SortPreservingMergeExec::new(merge.expr().clone(), stage.plan.clone()).with_fetch(merge.fetch());
    stage.plan = Arc::new(merged);
    let exchange = NetworkCoalesceExec::try_new(stage.plan.clone(), stage.tasks, 1)?;
    Ok(Some(exchange.with_input_stage(Stage::Local(stage))?))
}

fn replace(plan: Arc<dyn ExecutionPlan>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
