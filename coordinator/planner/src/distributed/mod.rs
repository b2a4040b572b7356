//! Running plans on compute nodes.
//!
//! [`configure`] prepares a session so that the physical plans it makes are cut into stages whose tasks run on compute
//! nodes, where tablets are cached. A plan that reads no tablets, or a session without workers, stays plain and runs in
//! the coordinator. What is needed once per process is [`WorkerChannels`]; everything else belongs to one query.
//!
//! ```text
//!  configure ── resolver, codec, task counts, routing ──► planner of datafusion-distributed ──► merge
//!  channels     connections to compute nodes; they name the node in errors
//!  loss         was a compute node lost, and which one?
//!  merge        ordered results are merged on each node before they travel
//!  whole        what is not worth several tasks runs as one, on a compute node
//!  explain      stages, tasks and their metrics as text
//! ```
//!
//! A distributed plan may be executed once: its tasks carry an id that workers accept a single time. Plan again to run
//! again. Dropping the stream of a plan cancels its tasks on all nodes.

mod channels;
mod explain;
mod loss;
mod merge;
mod whole;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedExt, SessionStateBuilderExt};
use tarn_scan::{ScanContext, TabletRouting, TabletScaleUp, TabletTaskCount, TarnCodec, WorkerSet};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

pub use channels::WorkerChannels;
pub use explain::{explain, explain_analyze, is_distributed};
pub use loss::{lost_worker, without};

/// Header with the id of the query, in every call between nodes that work for it. Compute nodes know it by this name.
const QUERY_ID: &str = "tarn-query-id";
/// Header with the bytes of memory that the query may use on each node.
const MEMORY_LIMIT: &str = "tarn-memory-limit";
/// Before the key of an option of the session, in the headers that carry options.
const OPTION: &str = "tarn-set-";
/// Options that change how operators work, and so must be the same on every node.
const FORWARDED: &str = "datafusion.execution.";

/// Memory for batches that arrived and wait, over all nodes that a task reads from.
const EXCHANGE_BYTES: usize = 256 << 20;
/// The least of it for one node.
const MIN_EXCHANGE_BYTES: usize = 4 << 20;
/// The most of it for one node.
const MAX_EXCHANGE_BYTES: usize = 64 << 20;

/// What compute nodes are told of a query.
#[derive(Clone, Debug)]
pub struct RemoteQuery {
    /// Its id, in every log line of every node that works for it. Visible ASCII.
    pub query_id: String,
    /// Memory it may use on each node; a node may be configured to give less.
    pub memory_limit_bytes: Option<u64>,
    /// What one task should read at least, in bytes.
    pub scan_bytes_per_task: u64,
    /// Whether tasks send their metrics, for [`explain_analyze`]. It costs a message per task.
    pub collect_metrics: bool,
}

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
    let scale_up = TabletScaleUp::new(workers.clone());
    let headers = headers(builder.config().get_or_insert_default().options(), query)?;
    let builder = builder
        .with_distributed_worker_resolver(workers.clone())
        .with_distributed_channel_resolver(channels.clone())
        .with_distributed_user_codec(TarnCodec::new(context.clone()))
        .with_distributed_desired_task_count_handler(TabletTaskCount::new(workers.clone(), query.scan_bytes_per_task))
        .with_distributed_scale_up_leaf_node_handler(scale_up.clone())
        .with_distributed_route_tasks_handler(TabletRouting::new(workers))
        .with_distributed_planner()
        .with_distributed_passthrough_headers(headers)?
        .with_distributed_dynamic_task_count(false)?
        .with_distributed_metrics_collection(query.collect_metrics)?
        .with_distributed_worker_connection_buffer_budget_bytes(budget)?;
    let mut builder = builder;
    let Some(planner) = builder.query_planner().take() else { return Ok(builder) };
    let planner = RemotePlanner { planner, scale_up, collect_metrics: query.collect_metrics };
    Ok(builder.with_query_planner(Arc::new(planner)))
}

/// The planner of datafusion-distributed, with what it leaves to us.
#[derive(Debug)]
struct RemotePlanner {
    planner: Arc<dyn QueryPlanner + Send + Sync>,
    scale_up: TabletScaleUp,
    collect_metrics: bool,
}

#[async_trait]
impl QueryPlanner for RemotePlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = merge::rewrite(self.planner.create_physical_plan(plan, session).await?, false)?;
        let whole = whole::on_compute_node(&plan, session.config(), &self.scale_up, self.collect_metrics)?;
        Ok(whole.unwrap_or(plan))
    }
}

/// What travels with every call for the query.
fn headers(options: &ConfigOptions, query: &RemoteQuery) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(QUERY_ID, value(&query.query_id)?);
    if let Some(bytes) = query.memory_limit_bytes {
        headers.insert(MEMORY_LIMIT, HeaderValue::from(bytes));
    }
    let defaults = ConfigOptions::default().entries();
    for entry in options.entries() {
        let Some(text) = &entry.value else { continue };
        let changed = || !defaults.iter().any(|d| d.key == entry.key && d.value == entry.value);
        if entry.key.starts_with(FORWARDED) && changed() {
            let name = HeaderName::try_from(format!("{OPTION}{}", entry.key)).map_err(unfit)?;
            headers.insert(name, value(text)?);
        }
    }
    Ok(headers)
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(unfit)
}

fn unfit(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error)).context("the query id or an option cannot be sent to compute nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_options_of_operators_are_sent() {
        let mut options = ConfigOptions::default();
        options.set("datafusion.execution.batch_size", "123").unwrap();
        options.sql_parser.dialect = "MySQL".parse().unwrap();
        let query = RemoteQuery {
            query_id: "q-1".to_owned(),
            memory_limit_bytes: Some(1 << 20),
            scan_bytes_per_task: TabletTaskCount::BYTES_PER_TASK,
            collect_metrics: false,
        };
        let headers = headers(&options, &query).unwrap();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[QUERY_ID], "q-1");
        assert_eq!(headers[MEMORY_LIMIT], "1048576");
        assert_eq!(headers["tarn-set-datafusion.execution.batch_size"], "123");
    }
}
