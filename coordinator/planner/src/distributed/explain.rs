//! Distributed plans as text.

use std::sync::Arc;
use std::time::Duration;

use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedExec, DistributedMetricsFormat, display_plan_ascii};

/// Longest wait for metrics of tasks after the last row. A task that nobody read from sends none.
const METRICS_WAIT: Duration = Duration::from_secs(2);

/// Whether `plan` runs on compute nodes.
pub fn is_distributed(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<DistributedExec>().is_some()
}

/// The plan as text: its stages, each with its tasks and their tablets. A plain plan is its tree of operators.
pub fn explain(plan: &dyn ExecutionPlan) -> String {
    display_plan_ascii(plan, false)
}

/// The plan as text with the metrics of an execution that has ended, over all tasks or for each of them. Metrics of
/// tasks are there if they were collected ([`super::RemoteQuery::collect_metrics`]).
pub async fn explain_analyze(plan: Arc<dyn ExecutionPlan>, per_task: bool) -> Result<String> {
    let format = if per_task { DistributedMetricsFormat::PerTask } else { DistributedMetricsFormat::Aggregated };
    let complete = datafusion_distributed::explain_analyze(plan.clone(), format);
    match tokio::time::timeout(METRICS_WAIT, complete).await {
        Ok(text) => text,
        Err(_) => Ok(display_plan_ascii(plan.as_ref(), true)),
    }
}
