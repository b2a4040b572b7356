//! Queries: planning, running, running again when a node is lost, explaining.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tarn_gateway::engine::{BatchStream, EngineError, Outcome, Prepared, Result};
use tarn_planner::distributed::{explain as explain_plan, explain_analyze, lost_worker};
use tarn_planner::{Planner, PlannerConfig, QueryContext, QueryPlan};
use tarn_proto::storage::StorePool;
use tarn_proto::{DataType, ErrorKind};
use tarn_scan::files::{FilesOptions, resolve};
use tarn_scan::{Again, CacheConfig, Failure, ScanContext, WorkerSet};
use tarn_sql::{Statement, ast};
use tracing::{Span, warn};

use crate::modify::{self, Lowered, Modification};
use crate::owners::Takeover;
use crate::session::SessionContext;
use crate::{Config, Error};

/// Runs of a query whose nodes are lost before its first row went out.
const ATTEMPTS: usize = 3;

/// The column of `EXPLAIN`, named as StarRocks names it.
const EXPLAIN_COLUMN: &str = "Explain String";

/// The planner of a coordinator, which runs what is not worth a compute node, and everything if there is none.
pub(crate) async fn planner(
    config: &Config,
    stores: StorePool,
    workers: WorkerSet,
) -> std::result::Result<Arc<Planner>, Error> {
    let cache = CacheConfig { memory_bytes: config.cache_memory_bytes, ..CacheConfig::default() };
    let scans = ScanContext::new(stores, cache).await.map_err(|e| Error::Engine(tarn_proto::error::chain(&e)))?;
    let spill = config.data.join("spill");
    let disk = emptied(&spill).map_err(DataFusionError::from).and_then(|()| {
        DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill]))
            .with_max_temp_directory_size(config.spill_limit_bytes)
            .build()
    });
    let spill = Arc::new(disk.map_err(|e| Error::Engine(e.strip_backtrace()))?);
    let target_partitions = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let memory_limit = usize::try_from(config.memory_limit_bytes).unwrap_or(usize::MAX);
    Planner::new(scans, workers, PlannerConfig { target_partitions, memory_limit, spill })
        .map_err(|e| Error::Engine(tarn_proto::error::chain(&e)))
}

/// Makes the directory, without what an earlier process left in it.
fn emptied(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(directory),
    }
}

/// What a statement's queries are planned against.
pub(crate) fn planning(context: &SessionContext) -> QueryContext {
    QueryContext {
        catalog: context.catalog.clone(),
        database: context.database.clone(),
        query_id: context.query_id().to_owned(),
        memory_limit: context.variables.query_mem_limit(),
        time_zone: context.variables.get("time_zone").unwrap_or("UTC").to_owned(),
        distributed: true,
        scan_bytes_per_task: context.variables.scan_bytes_per_task(),
        bitmap_max_filter_ratio: context.variables.bitmap_max_filter_ratio(),
        collect_metrics: false,
        only_file: None,
        without: Vec::new(),
        silent: context.shared.catalog.silent(&context.catalog),
    }
}

/// The planner's error as the client's.
pub(crate) fn planner_error(error: tarn_planner::Error) -> EngineError {
    EngineError { kind: error.kind(), message: tarn_proto::error::chain(&error) }
}

/// An error of a running query as the client's.
pub(crate) fn run_error(error: DataFusionError) -> EngineError {
    if let Some(node) = lost_worker(&error) {
        let message = format!("compute node {node} was lost while the query ran: run it again");
        return EngineError { kind: ErrorKind::Unavailable, message };
    }
    match Failure::of(&error) {
        Some(Failure { kind, message, .. }) => EngineError { kind, message },
        None => planner_error(error.into()),
    }
}

/// Runs a query.
pub async fn run(context: &SessionContext, query: &ast::Query, parameters: Option<&RecordBatch>) -> Result<Outcome> {
    let (schema, rows) = first_rows(context, query, parameters).await?;
    let span = Span::current();
    let names = schema.clone();
    let batches = rows.map(move |batch| {
        let _entered = span.enter();
        batch.and_then(|batch| relabel(&batch, &names)).map_err(run_error)
    });
    Ok(Outcome::Rows { query_id: context.query_id().to_owned(), schema, batches: Box::pin(batches) as BatchStream })
}

type Rows = futures::stream::BoxStream<'static, std::result::Result<RecordBatch, DataFusionError>>;

/// Starts the query and waits for its first batch. Until that is there, a lost compute or storage node is left out, a tablet
/// on a storage volume gets another owner, and the query runs again.
async fn first_rows(
    context: &SessionContext,
    query: &ast::Query,
    parameters: Option<&RecordBatch>,
) -> Result<(SchemaRef, Rows)> {
    let mut planning = planning(context);
    let (mut attempts, mut takeover) = (0, Takeover::default());
    loop {
        let plan = context.shared.planner.plan(query, planning.clone(), parameters).await.map_err(planner_error)?;
        context.process.enter("running");
        let schema = plan.schema();
        context.process.follow(plan.physical.clone());
        let threads = &context.shared.threads;
        let mut rows = threads.run(|| execute_stream(plan.physical, plan.task)).map_err(run_error)?;
        let error = match rows.next().await {
            None => return Ok((schema, futures::stream::empty().boxed())),
            Some(Ok(first)) => {
                let first = futures::stream::once(async move { Ok(first) });
                return Ok((schema, first.chain(rows).boxed()));
            }
            Some(Err(error)) => error,
        };
        drop(rows);
        let (worker, again) = (lost_worker(&error), Failure::of(&error).and_then(|failure| failure.again));
        attempts += usize::from(worker.is_some() || again != Some(Again::Owned));
        match (worker, again) {
            (None, Some(Again::Owned)) if takeover.wait(context).await? => {}
            (None, Some(Again::Owned)) => return Err(takeover.told(run_error(error))),
            _ if attempts == ATTEMPTS => return Err(run_error(error)),
            (Some(node), _) => {
                warn!(%node, attempts, "compute node lost before the first row; the query runs again without it");
                planning.without.push(node);
                continue;
            }
            // What the snapshot named is not there any more; what is there now has taken its place.
            (None, Some(Again::Refreshed)) => {}
            (None, Some(Again::Without(node))) => {
                warn!(%node, attempts, "storage node lost before the first row; the query runs again without it");
                planning.silent.insert(node);
            }
            (None, None) => return Err(run_error(error)),
        }
        planning.catalog = context.refreshed().catalog;
    }
}

/// The rows under the names of the query's text.
fn relabel(batch: &RecordBatch, schema: &SchemaRef) -> std::result::Result<RecordBatch, DataFusionError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)?)
}

/// Plans a query, or what an `INSERT`, `UPDATE` or `DELETE` reads, without running it.
pub async fn prepare(context: &SessionContext, statement: &Statement) -> Result<Prepared> {
    let planner = &context.shared.planner;
    match statement {
        Statement::Query(query) => {
            let prepared = planner.prepare(query, planning(context)).await.map_err(planner_error)?;
            Ok(Prepared { schema: prepared.schema, parameters: prepared.parameters, returns_rows: true })
        }
        Statement::Insert(insert) => {
            let target = context.table(&insert.table)?;
            let source = crate::insert::source_query(&target, insert)?;
            let prepared = planner.prepare(&source, planning(context)).await.map_err(planner_error)?;
            let schema = Arc::new(Schema::empty());
            Ok(Prepared { schema, parameters: prepared.parameters, returns_rows: false })
        }
        Statement::Explain { statement, .. } => {
            let inner = Box::pin(prepare(context, statement)).await?;
            Ok(Prepared { schema: explain_schema(), parameters: inner.parameters, returns_rows: true })
        }
        other => {
            let modification = Modification::of(other).ok_or_else(not_explained)?;
            let found = modify::lower(context, modification)?.query;
            let prepared = planner.prepare(&found, planning(context)).await.map_err(planner_error)?;
            let schema = Arc::new(Schema::empty());
            Ok(Prepared { schema, parameters: prepared.parameters, returns_rows: false })
        }
    }
}

fn not_explained() -> EngineError {
    let message = "EXPLAIN takes a query, INSERT, UPDATE or DELETE".to_owned();
    EngineError { kind: ErrorKind::Invalid, message }
}

/// Explains a query, or what an `INSERT`, `UPDATE` or `DELETE` reads. With `analyze` a query is run, its rows are counted and dropped.
pub async fn explain(
    context: &SessionContext,
    analyze: bool,
    verbose: bool,
    statement: &Statement,
    parameters: Option<&RecordBatch>,
) -> Result<Outcome> {
    let (query, head) = match statement {
        Statement::Query(query) => (query.as_ref().clone(), None),
        Statement::Insert(insert) if !analyze => {
            let target = context.table(&insert.table)?;
            let sink = format!("TabletSink: table={}, one transaction", target.name);
            (crate::insert::source_query(&target, insert)?, Some(sink))
        }
        Statement::Insert(_) => {
            let message = "EXPLAIN ANALYZE would load the rows: explain the INSERT, or analyze its SELECT".to_owned();
            return Err(EngineError { kind: ErrorKind::Invalid, message });
        }
        other => {
            let modification = Modification::of(other).ok_or_else(not_explained)?;
            if analyze {
                let message = "EXPLAIN ANALYZE would change the rows: leave ANALYZE out".to_owned();
                return Err(EngineError { kind: ErrorKind::Invalid, message });
            }
            let Lowered { table, query, effect, .. } = modify::lower(context, modification)?;
            (query, Some(format!("TabletSink: table={}, {effect}, one transaction", table.name)))
        }
    };
    let mut planning = planning(context);
    planning.collect_metrics = analyze;
    let plan = context.shared.planner.plan(&query, planning, parameters).await.map_err(planner_error)?;
    let mut lines: Vec<String> = head.into_iter().collect();
    if verbose {
        lines.extend(plan.logical.display_indent().to_string().lines().map(str::to_owned));
        lines.push(String::new());
    }
    let text = if analyze {
        let (rows, elapsed) = drain(context, &plan).await?;
        lines.push(format!("query {}: {rows} rows in {:.3} s", context.query_id(), elapsed.as_secs_f64()));
        explain_analyze(plan.physical, verbose).await.map_err(run_error)?
    } else {
        explain_plan(plan.physical.as_ref())
    };
    lines.extend(text.lines().map(str::to_owned));
    let column = StringArray::from(lines);
    let batch = RecordBatch::try_new(explain_schema(), vec![Arc::new(column)])
        .map_err(|e| EngineError { kind: ErrorKind::Internal, message: e.to_string() })?;
    Ok(crate::session::rows(context.clone(), batch))
}

fn explain_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(EXPLAIN_COLUMN, ArrowType::Utf8, false)]))
}

async fn drain(context: &SessionContext, plan: &QueryPlan) -> Result<(u64, std::time::Duration)> {
    let started = std::time::Instant::now();
    context.process.enter("running");
    let (physical, task) = (plan.physical.clone(), plan.task.clone());
    let mut rows = context.shared.threads.run(|| execute_stream(physical, task)).map_err(run_error)?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        count += batch.map_err(run_error)?.num_rows() as u64;
    }
    Ok((count, started.elapsed()))
}

/// The value of a constant expression in a type.
pub async fn constant(expr: &ast::Expr, data_type: &DataType, context: &SessionContext) -> Result<ScalarValue> {
    let value = context.shared.planner.constant(expr, planning(context)).await.map_err(planner_error)?;
    value.cast_to(&data_type.to_arrow()).map_err(|_| EngineError {
        kind: ErrorKind::Invalid,
        message: format!("{value} is not a value of {data_type}"),
    })
}

/// The columns that `FILES` with these properties has: name, type, nullable.
pub async fn describe_files(
    _: &SessionContext,
    properties: &[(String, String)],
) -> Result<Vec<(String, DataType, bool)>> {
    let error = |e: tarn_scan::files::FilesError| planner_error(e.into());
    let options = FilesOptions::parse(properties).map_err(error)?;
    Ok(resolve(&options).await.map_err(error)?.describe())
}
