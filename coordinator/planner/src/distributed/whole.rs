//! Plans of one task.
//!
//! datafusion-distributed takes exchanges between single tasks out of a plan, and a plan without exchanges would run in
//! the coordinator. What reads tablets belongs on a compute node, where they are cached, and where a heavy query leaves
//! the coordinator in peace: such a plan becomes a stage of its own, with one task.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DistributedConfig, DistributedExec, NetworkBoundary, NetworkCoalesceExec, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeHandler, Stage,
};
use tarn_scan::{TabletScaleUp, TabletSource};
use uuid::Uuid;

/// The plan as the only task of a stage that runs on a compute node. `None` if it reads no tablet, or reads what only
/// the coordinator has.
pub(super) fn on_compute_node(
    plan: &Arc<dyn ExecutionPlan>,
    config: &SessionConfig,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(scale_up) = config.get_extension::<TabletScaleUp>() else { return Ok(None) };
    if plan.is::<DistributedExec>() || !reads_tablets(plan.as_ref()).unwrap_or(false) {
        return Ok(None);
    }
    let mut plan = with_homes(plan, config, &scale_up)?;
    if plan.output_partitioning().partition_count() > 1 {
        plan = Arc::new(CoalescePartitionsExec::new(plan));
    }
    let exchange = NetworkCoalesceExec::try_new(plan, 1, 1)?;
    let Stage::Local(mut stage) = exchange.input_stage().clone() else { return Ok(None) };
    stage.query_id = Uuid::new_v4();
    stage.num = 1;
    let collect_metrics = DistributedConfig::from_config_options(config.options())?.collect_metrics;
    // Stages are looked for below the head: it is there for EXPLAIN, and passes its only partition on.
    let head = Arc::new(CoalescePartitionsExec::new(exchange.with_input_stage(Stage::Local(stage))?));
    Ok(Some(Arc::new(DistributedExec::new(head).with_metrics_collection(collect_metrics))))
}

/// Whether there are tablets among the leaves. `None` if a leaf must stay in the coordinator.
fn reads_tablets(plan: &dyn ExecutionPlan) -> Option<bool> {
    let children = plan.children();
    if children.is_empty() {
        let tablets = TabletSource::of(plan).is_some();
        return (tablets || plan.is::<EmptyExec>() || plan.is::<PlaceholderRowExec>()).then_some(tablets);
    }
    children.into_iter().try_fold(false, |found, child| Some(found | reads_tablets(child.as_ref())?))
}

/// The plan with scans that say where they want to run.
fn with_homes(
    plan: &Arc<dyn ExecutionPlan>,
    config: &SessionConfig,
    scale_up: &TabletScaleUp,
) -> Result<Arc<dyn ExecutionPlan>> {
    let event = ScaleUpLeafNodeEvent { plan, task_count: 1, session_config: config };
    if plan.children().is_empty() {
        return match scale_up.handle(event) {
            Some(response) => Ok(response?.plan),
            None => Ok(plan.clone()),
        };
    }
    let children = plan.children().into_iter().map(|child| with_homes(child, config, scale_up));
    replace_children_if_necessary(plan.clone(), children.collect::<Result<Vec<_>>>()?)
}
