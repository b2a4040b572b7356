//! Running plans on compute nodes.
//!
//! [`configure`] prepares a session so that the physical plans it makes are cut into stages whose tasks run on compute
//! nodes, where tablets are cached. A plan that is not worth it, or a session without workers, stays plain and runs in
//! the coordinator. What is needed once per process is [`WorkerChannels`]; everything else belongs to one query.
//!
//! ```text
//!  configure ── resolver, codec, task counts, routing ──► planner of datafusion-distributed ──► merge
//!  merge        ordered results are merged on each node before they travel
//!  explain      stages, tasks and their metrics as text
//! ```
//!
//! A distributed plan may be executed once: its tasks carry an id that workers accept a single time. Plan again to run
//! again. Dropping the stream of a plan cancels its tasks on all nodes.
//!
//! What compute nodes must know as well, `tarn-scan` has: connections, the loss of a node, the headers of calls.

mod explain;
mod merge;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion_distributed::{DistributedExt, SessionStateBuilderExt};
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

/// Lets the session that `builder` makes plan for `workers` as they are now: a stage's tasks run on those and no others,
/// even if the set changes. Set the session's options before; those that matter to operators go along.
///
/// Without workers the builder is returned as it was. Any query planner of the builder is kept and asked first.
pub fn configure(
    mut builder: SessionStateBuilder,
    context: &Arc<ScanContext>,
    workers: &WorkerSet,
    channels: &WorkerChannels,
    query: &RemoteQuery,
) -> Result<SessionStateBuilder> {
    let workers = workers.snapshot();
    if workers.is_empty() {
        return Ok(builder);
    }
    let budget = (EXCHANGE_BYTES / workers.len()).clamp(MIN_EXCHANGE_BYTES, MAX_EXCHANGE_BYTES);
    channels.retain(&workers);
    let workers = WorkerSet::new(workers.as_ref().clone());
    let headers = headers(builder.config().get_or_insert_default().options(), query)?;
    let builder = builder
        .with_distributed_worker_resolver(workers.clone())
        .with_distributed_channel_resolver(channels.clone())
        .with_distributed_user_codec(TarnCodec::new(context.clone()))
        .with_distributed_desired_task_count_handler(TabletTaskCount::new(workers.clone(), query.scan_bytes_per_task))
        .with_distributed_scale_up_leaf_node_handler(TabletScaleUp::new(workers.clone()))
        .with_distributed_route_tasks_handler(TabletRouting::new(workers))
        .with_distributed_planner()
        .with_distributed_passthrough_headers(headers)?
        .with_distributed_dynamic_task_count(false)?
        .with_distributed_metrics_collection(query.collect_metrics)?
        .with_distributed_worker_connection_buffer_budget_bytes(budget)?;
    Ok(merge::install(builder))
}
