//! Running plans on compute nodes.
//!
//! The physical plans of a session that [`prepare`] and [`spread`] made ready are cut into stages, whose tasks run on
//! compute nodes, where tablets are cached. A plan that reads no tablets stays plain and runs in the coordinator. What is
//! needed once per process is [`WorkerChannels`] and a prepared session; everything else belongs to one query.
//!
//! ```text
//!  spread       resolver, codec, task counts, routing ──► planner of datafusion-distributed ──► merge, whole
//!  merge        ordered results are merged on each node before they travel
//!  whole        what is not worth several tasks runs as one, on a compute node
//!  explain      stages, tasks and their metrics as text
//! ```
//!
//! A distributed plan may be executed once: its tasks carry an id that workers accept a single time. Plan again to run
//! again. Dropping the stream of a plan cancels its tasks on all nodes.
//!
//! What compute nodes must know as well, `tarn-scan` has: connections, the loss of a node, the headers of calls.

mod explain;
mod merge;
mod whole;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{DistributedExt, NetworkBoundaryExt, NetworkBroadcastExec, SessionStateBuilderExt};
use tarn_scan::distribute::headers::of as headers;
use tarn_scan::{ScanContext, TabletRouting, TabletScaleUp, TabletTaskCount, TarnCodec, WorkerSet};

pub use explain::{explain, explain_analyze, is_distributed};
pub use tarn_scan::distribute::{RemoteQuery, WorkerChannels, lost_worker, without};

/// Memory for batches that arrived and wait, over all nodes that a task reads from.
const EXCHANGE_BYTES: usize = 256 << 20;
/// The least of it for one node.
const MIN_EXCHANGE_BYTES: usize = 4 << 20;
/// The most of it for one node.
const MAX_EXCHANGE_BYTES: usize = 64 << 20;

/// Lets the sessions that `builder` makes plan for compute nodes, each after [`spread`] told it of them.
pub fn prepare(builder: SessionStateBuilder) -> SessionStateBuilder {
    let mut builder = builder.with_distributed_planner();
    match builder.query_planner().take() {
        Some(planner) => builder.with_query_planner(Arc::new(RemotePlanner(planner))),
        None => builder,
    }
}

/// The session's options for one query: a stage's tasks run on `workers` as they are now and on no others, even if the
/// set changes. Options that matter to operators go along, so set them before.
pub fn spread(
    config: SessionConfig,
    context: &Arc<ScanContext>,
    workers: &WorkerSet,
    channels: &WorkerChannels,
    query: &RemoteQuery,
) -> Result<SessionConfig> {
    let workers = workers.snapshot();
    let budget = (EXCHANGE_BYTES / workers.len().max(1)).clamp(MIN_EXCHANGE_BYTES, MAX_EXCHANGE_BYTES);
    channels.retain(&workers);
    let workers = WorkerSet::new(workers.as_ref().clone());
    let scale_up = TabletScaleUp::new(workers.clone());
    let headers = headers(config.options(), query)?;
    config
        .with_distributed_worker_resolver(workers.clone())
        .with_distributed_channel_resolver(channels.clone())
        .with_distributed_user_codec(TarnCodec::new(context.clone()))
        .with_distributed_desired_task_count_handler(TabletTaskCount::new(workers.clone(), query.scan_bytes_per_task))
        .with_distributed_scale_up_leaf_node_handler(scale_up.clone())
        .with_distributed_route_tasks_handler(TabletRouting::new(workers))
        .with_extension(Arc::new(scale_up))
        .with_distributed_passthrough_headers(headers)?
        .with_distributed_dynamic_task_count(false)?
        .with_distributed_metrics_collection(query.collect_metrics)?
        .with_distributed_worker_connection_buffer_budget_bytes(budget)
}

/// The planner of datafusion-distributed, with what it leaves to us.
#[derive(Debug)]
struct RemotePlanner(Arc<dyn QueryPlanner + Send + Sync>);

#[async_trait]
impl QueryPlanner for RemotePlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let mut physical = self.0.create_physical_plan(plan, session).await?;
        if limits_broadcast_rows(&physical, false) {
            // Each task would take other rows. As one task, the plan takes them once.
            physical = DefaultPhysicalPlanner::default().create_physical_plan(plan, session).await?;
        }
        let physical = merge::rewrite(physical, false)?;
        Ok(whole::on_compute_node(&physical, session.config())?.unwrap_or(physical))
    }
}

/// Whether rows are counted off after all of them were sent to several tasks. `counted`: by a node above, which gets the
/// rows of this one alone, in the same stage.
fn limits_broadcast_rows(plan: &Arc<dyn ExecutionPlan>, counted: bool) -> bool {
    if counted && plan.is::<NetworkBroadcastExec>() {
        return true;
    }
    let counted = !plan.is_network_boundary() && (counted || plan.fetch().is_some() || plan.is::<GlobalLimitExec>());
    let children = plan.children();
    let alone = children.len() == 1;
    children.into_iter().any(|child| limits_broadcast_rows(child, counted && alone))
}
