//! Loads: `INSERT` and bulk ingest, each one transaction under a label.
//!
//! ```text
//!  target    which partitions, and whether their rows are replaced
//!  columns   source columns to the table's: by position or name, defaults, DEFAULT in VALUES
//!  increments numbers for AUTO_INCREMENT columns
//!  filler    values for what is not read of a row
//!  update    which columns of rows that are there change, and under which condition
//!  here      label ──► plan ──► one writer per stream of rows: coerce, route, send ──► commit ──► visible
//! ```

mod columns;
mod filler;
mod increments;
mod target;
mod update;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream_partitioned};
use futures::{Stream, StreamExt, TryStreamExt};
use tarn_catalog::Table;
use tarn_gateway::engine::{BatchStream, EngineError, Outcome, Result, UpdateOptions};
use tarn_ingest::coerce::{self, coerce};
use tarn_ingest::load::{Begun, Request};
use tarn_ingest::{Load, TabletSink};
use tarn_planner::QueryPlan;
use tarn_proto::storage::LoadSpec;
use tarn_proto::{ErrorKind, task};
use tarn_sql::Insert;
use tokio::task::JoinSet;

pub(crate) use columns::{Columns, default_expr, is_default, source_query};

use crate::owners::Repeats;
use crate::query::{planner_error, planning, run_error};
use crate::session::SessionContext;

/// How long a committed load is waited for, so that whoever wrote reads what he wrote: as long as its statement may take, but
/// not less and not more than this. What is not visible by then is told to be committed, and will be.
const VISIBLE_WAIT: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(600);

/// Where a bulk ingest's rows go.
#[derive(Clone, Debug)]
pub struct IngestTarget {
    /// The table, which exists. Columns are matched by name.
    pub table: Arc<Table>,
    /// The label, or a generated one.
    pub label: Option<String>,
    /// What becomes of rows that are there.
    pub update: UpdateOptions,
}

/// A load that failed.
pub struct Failed {
    /// Why.
    pub error: EngineError,
    /// Nobody can tell whether its rows are there: they must not be dropped.
    pub unclear: bool,
}

impl Failed {
    pub(crate) const fn surely(error: EngineError) -> Self {
        Self { error, unclear: false }
    }

    /// Whether the same load may succeed if it is tried again at once. Nothing of it stays then.
    pub(crate) fn is_worth_another(&self) -> bool {
        !self.unclear && self.error.kind.is_retryable()
    }
}

/// Runs an `INSERT`. Ends by itself when [`SessionContext::interrupted`] does.
pub async fn run(context: &SessionContext, insert: &Insert, parameters: Option<&RecordBatch>) -> Result<Outcome> {
    load(context, insert, parameters).await.map_err(|failed| failed.error)
}

/// As [`run`], and tells more when it fails. Runs again over the newest catalog if a node was lost.
pub async fn load(
    context: &SessionContext,
    insert: &Insert,
    parameters: Option<&RecordBatch>,
) -> std::result::Result<Outcome, Failed> {
    let (mut context, mut repeats) = (context.clone(), Repeats::default());
    loop {
        match load_once(&context, insert, parameters).await {
            Err(failed) if failed.is_worth_another() => {
                if !repeats.again(&context).await.map_err(Failed::surely)? {
                    return Err(Failed::surely(repeats.told(failed.error)));
                }
                context = context.refreshed();
            }
            done => return done,
        }
    }
}

async fn load_once(
    context: &SessionContext,
    insert: &Insert,
    parameters: Option<&RecordBatch>,
) -> std::result::Result<Outcome, Failed> {
    match written(context, insert, parameters).await.map_err(Failed::surely)? {
        Started::Repeated(outcome) => Ok(affected(outcome)),
        Started::Load(load, written) => Ok(affected(finish(context, load, written).await?)),
    }
}

/// A load that was begun, and what became of writing its rows.
enum Started {
    Repeated(tarn_ingest::Outcome),
    Load(Box<Load>, Result<()>),
}

async fn written(context: &SessionContext, insert: &Insert, parameters: Option<&RecordBatch>) -> Result<Started> {
    let table = context.table(&insert.table)?;
    let mut target = target::lower(&table, insert, context.variables.dynamic_overwrite())?;
    let query = source_query(&table, insert)?;
    let label = insert.label.as_ref().map(|l| l.text.clone());
    let mut options = update::of_session(&table, &context.variables);
    // What is replaced has no rows that could keep values.
    options.partial = options.partial.filter(|_| !insert.overwrite);
    let given = columns::targets(&table, insert)?;
    let spec = spec(&table, &given, &options)?;
    let load = match begin(context, &table, spec, label).await? {
        Begun::New(load) => load,
        Begun::Repeated(outcome) => return Ok(Started::Repeated(outcome)),
    };
    let written = tokio::select! {
        biased;
        error = context.interrupted() => Err(error),
        written = async {
            let plan = context.shared.planner.plan(&query, planning(context), parameters).await.map_err(planner_error)?;
            let columns = Columns::by_position(&table, insert, &plan.schema(), options.partial.is_some())?;
            if let Some(replacing) = &mut target.replacing
                && plan.reads(table.id)
            {
                replacing.read = Some(table.clone());
            }
            context.process.enter("loading");
            load.sink().aim(target).await.map_err(load_error)?;
            match write_plan(context, load.sink(), &columns, &plan).await {
                Err(WriteError::Row(error)) => Err(place_in_file(context, &query, &columns, &plan, error).await),
                Err(WriteError::Other(error)) => Err(error),
                Ok(()) => Ok(()),
            }
        } => written,
    };
    Ok(Started::Load(load, written))
}

/// Loads batches as one transaction.
pub async fn ingest(
    context: &SessionContext,
    target: IngestTarget,
    schema: SchemaRef,
    batches: BatchStream,
) -> std::result::Result<tarn_ingest::Outcome, Failed> {
    let IngestTarget { table, label, update } = target;
    let columns = Columns::by_name(&table, &schema, update.partial.is_some()).map_err(Failed::surely)?;
    let is_given = |name: &str| schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name));
    let named = table.schema.columns.iter().enumerate().filter(|(_, column)| is_given(&column.name));
    let given: Vec<usize> = named.map(|(position, _)| position).collect();
    let spec = spec(&table, &given, &update).map_err(Failed::surely)?;
    let load = match begin(context, &table, spec, label).await.map_err(Failed::surely)? {
        Begun::New(load) => load,
        Begun::Repeated(outcome) => return Ok(outcome),
    };
    context.process.enter("loading");
    let written = tokio::select! {
        biased;
        error = context.interrupted() => Err(error),
        written = write_stream(context, load.sink(), &columns, batches) => written.map_err(EngineError::from),
    };
    finish(context, load, written).await
}

/// What a load writes that has the columns at the positions `given`.
fn spec(table: &Table, given: &[usize], options: &UpdateOptions) -> Result<LoadSpec> {
    let update = update::of_load(table, given, options.partial, options.merge_condition.as_deref())?;
    Ok(match update {
        Some(update) => LoadSpec::update(table.schema.clone(), update),
        None => LoadSpec::rows(table.schema.clone()),
    })
}

/// Takes a label, or makes one.
pub(crate) async fn begin(
    context: &SessionContext,
    table: &Table,
    spec: LoadSpec,
    label: Option<String>,
) -> Result<Begun> {
    let left = context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let request = Request {
        database: table.database,
        table: table.id,
        spec,
        label,
        owner: context.shared.load_owner()?,
        timeout: left.unwrap_or(Duration::MAX),
    };
    let catalog = Arc::new(context.shared.catalog.clone());
    Load::begin(catalog, context.shared.catalog.stores().clone(), request).await.map_err(load_error)
}

/// Commits what was written, or gives the load up.
pub(crate) async fn finish(
    context: &SessionContext,
    load: Box<Load>,
    written: Result<()>,
) -> std::result::Result<tarn_ingest::Outcome, Failed> {
    match written {
        Ok(()) => {
            context.process.enter("committing");
            let left = context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let wait = left.unwrap_or(Duration::MAX).clamp(*VISIBLE_WAIT.start(), *VISIBLE_WAIT.end());
            load.commit(wait).await.map_err(|error| {
                let unclear = matches!(error, tarn_ingest::Error::Unclear { .. });
                Failed { error: load_error(error), unclear }
            })
        }
        Err(error) => {
            load.abort(&error.message).await;
            Err(Failed::surely(error))
        }
    }
}

/// What the client is told.
pub(crate) fn affected(outcome: tarn_ingest::Outcome) -> Outcome {
    let tarn_ingest::Outcome { txn, label, status, rows, repeated } = outcome;
    let told = if repeated { ", 'repeated':'true'" } else { "" };
    Outcome::Affected {
        rows: Some(rows),
        message: format!("{{'label':'{label}', 'status':'{status}', 'txnId':'{}'{told}}}", txn.get()),
        repeated,
    }
}

/// Why rows could not be written.
pub(crate) enum WriteError {
    /// One row is wrong.
    Row(coerce::RowError),
    Other(EngineError),
}

impl From<WriteError> for EngineError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Row(error) => Self { kind: ErrorKind::Invalid, message: error.to_string() },
            WriteError::Other(error) => error,
        }
    }
}

impl From<EngineError> for WriteError {
    fn from(error: EngineError) -> Self {
        Self::Other(error)
    }
}

pub(crate) fn load_error(error: tarn_ingest::Error) -> EngineError {
    EngineError { kind: error.kind(), message: tarn_proto::error::chain(&error) }
}

/// Runs the plan, each of its partitions as a task that writes what it returns.
pub(crate) async fn write_plan(
    context: &SessionContext,
    sink: &Arc<TabletSink>,
    columns: &Columns,
    plan: &QueryPlan,
) -> std::result::Result<(), WriteError> {
    context.process.follow(plan.physical.clone());
    // Until the first wait: the plan's tasks and the writers run on the threads of queries.
    let entered = context.shared.threads.enter();
    let streams = execute_stream_partitioned(plan.physical.clone(), plan.task.clone()).map_err(run_error)?;
    debug_assert_eq!(streams.len(), plan.physical.output_partitioning().partition_count());
    // Dropping the set, as when the load is interrupted, aborts its tasks.
    let mut writers = JoinSet::new();
    for stream in streams {
        let (context, sink, columns) = (context.clone(), sink.clone(), columns.clone());
        let rows = stream.map_err(run_error);
        task::spawn_in(&mut writers, "insert", async move { write_stream(&context, &sink, &columns, rows).await });
    }
    drop(entered);
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|_| EngineError { kind: ErrorKind::Internal, message: "a writer failed".to_owned() })??;
    }
    Ok(())
}

/// Brings the rows of one stream to their tablets.
async fn write_stream(
    context: &SessionContext,
    sink: &Arc<TabletSink>,
    columns: &Columns,
    rows: impl Stream<Item = Result<RecordBatch>>,
) -> std::result::Result<(), WriteError> {
    let mut router = sink.router().map_err(load_error)?;
    let next = AtomicU64::new(1);
    let mut rows = std::pin::pin!(rows);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let first = next.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let mut arranged = columns.arrange(&batch)?;
        if let Some((table, column)) = columns.auto_increment() {
            arranged = increments::fill(context, table, arranged, column).await?;
        }
        let coerced = coerce_arranged(columns, &arranged, first)?;
        sink.write(&mut router, &coerced, first).await.map_err(load_error)?;
        context.process.progress(batch.num_rows() as u64, batch.get_array_memory_size() as u64);
    }
    Ok(())
}

fn coerce_arranged(columns: &Columns, batch: &RecordBatch, first: u64) -> std::result::Result<RecordBatch, WriteError> {
    coerce(batch, columns.schema(), first).map_err(|error| match error {
        coerce::Error::Row(error) => WriteError::Row(error),
        other => WriteError::Other(EngineError { kind: ErrorKind::Invalid, message: other.to_string() }),
    })
}

/// Finds the refused row again, file by file in order, to name the file and the row in it. Rows of parallel readers have
/// no numbers of their own.
async fn place_in_file(
    context: &SessionContext,
    query: &tarn_sql::ast::Query,
    columns: &Columns,
    plan: &QueryPlan,
    error: coerce::RowError,
) -> EngineError {
    let [files] = plan.files.as_slice() else { return WriteError::Row(error).into() };
    for (index, file) in files.files().iter().enumerate() {
        let mut planning = planning(context);
        planning.only_file = Some(index);
        planning.distributed = false;
        let Ok(plan) = context.shared.planner.plan(query, planning, None).await else { break };
        let Ok(stream) = datafusion::physical_plan::execute_stream(plan.physical, plan.task) else { break };
        if let Some(refused) = first_refused(columns, stream).await {
            let refused = coerce::RowError { file: Some(files.display(file)), ..refused };
            return WriteError::Row(refused).into();
        }
    }
    WriteError::Row(error).into()
}

async fn first_refused(
    columns: &Columns,
    mut rows: datafusion::execution::SendableRecordBatchStream,
) -> Option<coerce::RowError> {
    let mut first = 1;
    while let Some(Ok(batch)) = rows.next().await {
        let mut arranged = columns.arrange(&batch).ok()?;
        if let Some((_, column)) = columns.auto_increment() {
            // Any numbers will do.
            arranged = increments::filled(&arranged, column, 1).ok()?;
        }
        if let Err(WriteError::Row(error)) = coerce_arranged(columns, &arranged, first) {
            return Some(error);
        }
        first += batch.num_rows() as u64;
    }
    None
}
