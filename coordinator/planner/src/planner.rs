//! Plans one query at a time over a catalog snapshot.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{ParamValues, ResolvedTableReference, ScalarValue, TableReference};
use datafusion::datasource::ViewTable;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::Expr;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{self, Query};
use futures::future::BoxFuture;
use tarn_catalog::{Catalog, View};
use tarn_proto::NodeId;
use tarn_proto::query_id::QueryId;
use tarn_scan::files::{FilesOptions, FilesTable, resolve};
use tarn_scan::{ScanContext, WorkerSet, aggregated_early, paced, query_pool};
use tarn_sql::Statement;
use url::Url;

use crate::coercion::coerce;
use crate::dialect::translate;
use crate::distributed::{self, RemoteQuery, WorkerChannels, is_distributed};
use crate::error::{Error, Result};
use crate::labels::{Labels, separate};
use crate::not_in::sound;
use crate::references::{number_parameters, replace_files, spell, without_functions};
use crate::relations::Relations;
use crate::session::Templates;
use crate::subqueries::guard;

/// The catalog of Tarn's own tables, named as StarRocks names it.
pub const CATALOG: &str = "default_catalog";

/// Views that may stand in views.
const MAX_VIEW_DEPTH: usize = 32;

/// What a planner is made for.
#[derive(Clone, Debug)]
pub struct PlannerConfig {
    /// Threads that one query uses on this node.
    pub target_partitions: usize,
    /// Memory that all queries may hold on this node, in bytes.
    pub memory_limit: usize,
    /// Directories and limits for what queries spill.
    pub spill: Arc<DiskManager>,
}

/// Plans queries. One per process.
pub struct Planner {
    templates: Templates,
    scans: Arc<ScanContext>,
    workers: WorkerSet,
    channels: WorkerChannels,
}

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planner").finish_non_exhaustive()
    }
}

/// What a query is planned against.
#[derive(Clone, Debug)]
pub struct QueryContext {
    /// All tables, at one moment.
    pub catalog: Catalog,
    /// Where unqualified names are looked up.
    pub database: Option<String>,
    /// Names the query everywhere.
    pub query_id: String,
    /// Memory that its operators may hold on each node before they spill, in bytes; `None`: what the node has for all.
    pub memory_limit: Option<u64>,
    /// The session's time zone, for `now()` and the like.
    pub time_zone: String,
    /// Whether compute nodes may take part.
    pub distributed: bool,
    /// What a task on a compute node should read at least, in bytes. A query that reads less is one task.
    pub scan_bytes_per_task: u64,
    /// What part of their columns' values filters may let pass for bitmap indexes to be used, in thousandths.
    pub bitmap_max_filter_ratio: u16,
    /// Whether tasks on compute nodes send their metrics, for `EXPLAIN ANALYZE`.
    pub collect_metrics: bool,
    /// Reads only this file of `FILES()`, its rows in order, to find a row again by its number.
    pub only_file: Option<usize>,
    /// Compute nodes that were lost while the query ran before, and take no part in it now.
    pub without: Vec<Url>,
    /// Storage nodes that were not heard lately, or failed while the query ran before: other replicas are read.
    pub silent: BTreeSet<NodeId>,
}

/// A query that is known to be valid.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Result columns.
    pub schema: SchemaRef,
    /// One field for each parameter, `$1`, `$2`, ..; `Null` where the type is not known.
    pub parameters: SchemaRef,
}

/// A query that can run, once.
#[derive(Clone)]
pub struct QueryPlan {
    /// After optimization.
    pub logical: LogicalPlan,
    /// With stages, if it is distributed.
    pub physical: Arc<dyn ExecutionPlan>,
    /// What it runs with.
    pub task: Arc<TaskContext>,
    /// What its `FILES()` stand for, in order.
    pub files: Vec<Arc<FilesTable>>,
    names: Vec<String>,
}

impl QueryPlan {
    /// Result columns, named as the query's text has them. The physical plan's batches may have other names.
    pub fn schema(&self) -> SchemaRef {
        named(&self.physical.schema(), &self.names)
    }
}

fn named(schema: &Schema, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Planner {
    /// A planner of tablet scans over `scans`, which spreads them over `workers`.
    pub fn new(scans: Arc<ScanContext>, workers: WorkerSet, config: PlannerConfig) -> Result<Arc<Self>> {
        let templates = Templates::new(config)?;
        Ok(Arc::new(Self { templates, scans, workers, channels: WorkerChannels::default() }))
    }

    /// Plans a query without reading data and says what it takes and returns.
    pub async fn prepare(self: &Arc<Self>, query: &Query, context: QueryContext) -> Result<Prepared> {
        let Logical { plan, labels, .. } = Planning::new(self, context).logical(query.clone()).await?;
        let parameters: HashMap<String, Option<DataType>> = plan.get_parameter_types()?;
        let count = parameters.keys().filter_map(|name| name.trim_start_matches('$').parse().ok()).max().unwrap_or(0);
        let fields = (1..=count).map(|i: usize| {
            let name = format!("${i}");
            let data_type = parameters.get(&name).cloned().flatten().unwrap_or(DataType::Null);
            Field::new(name, data_type, true)
        });
        Ok(Prepared {
            schema: named(plan.schema().as_arrow(), &labels.apply(plan.schema().as_arrow())),
            parameters: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        })
    }

    /// Plans a query with its parameters' values: one row, a column each.
    pub async fn plan(
        self: &Arc<Self>,
        query: &Query,
        context: QueryContext,
        parameters: Option<&RecordBatch>,
    ) -> Result<QueryPlan> {
        let Logical { planning, state, plan, files, labels } =
            Planning::new(self, context).logical(query.clone()).await?;
        let plan = analyze(&state, bind(plan, parameters)?)?;
        let names = labels.apply(plan.schema().as_arrow());
        let logical = state.optimizer().optimize(plan, &state, |_, _| {})?;
        let physical = state.query_planner().create_physical_plan(&logical, &state).await?;
        // Compute nodes do this to their tasks themselves.
        let physical = if is_distributed(physical.as_ref()) { physical } else { paced(aggregated_early(physical)?)? };
        Ok(QueryPlan { logical, physical, task: planning.task(&state), files, names })
    }

    /// The value of an expression without columns.
    pub async fn constant(self: &Arc<Self>, expr: &ast::Expr, context: QueryContext) -> Result<ScalarValue> {
        let planning = Arc::new(Planning::new(self, context));
        let state = planning.state(HashMap::new())?;
        let schema = datafusion::common::DFSchema::empty();
        let aliased = ast::ExprWithAlias { expr: expr.clone(), alias: None };
        let expr = state.create_logical_expr_from_sql_expr(aliased, &schema)?;
        let physical = state.create_physical_expr(expr, &schema)?;
        let row = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            vec![],
            &datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
        )
        .map_err(datafusion::error::DataFusionError::from)?;
        let value = physical.evaluate(&row)?;
        let array = value.into_array(1)?;
        Ok(ScalarValue::try_from_array(&array, 0)?)
    }
}

/// Gives every expression the type that its rows will have.
fn analyze(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?)
}

/// Puts values in the places of parameters.
fn bind(plan: LogicalPlan, parameters: Option<&RecordBatch>) -> Result<LogicalPlan> {
    let expected = plan.get_parameter_names()?.len();
    let given = parameters.map_or(0, RecordBatch::num_columns);
    if expected == 0 {
        return Ok(plan);
    }
    let Some(batch) = parameters.filter(|b| b.num_rows() == 1 && b.num_columns() >= expected) else {
        return Err(Error::Parameters { expected, given });
    };
    let values = batch.columns().iter().map(|c| ScalarValue::try_from_array(c, 0));
    let values = values.collect::<datafusion::error::Result<Vec<_>>>()?;
    Ok(coerce(plan.with_param_values(ParamValues::from(values))?)?)
}

struct Logical {
    planning: Arc<Planning>,
    state: SessionState,
    plan: LogicalPlan,
    files: Vec<Arc<FilesTable>>,
    labels: Labels,
}

/// One query, or one view in it, on its way to a plan.
#[derive(Clone)]
pub(crate) struct Planning {
    planner: Arc<Planner>,
    pub(crate) context: QueryContext,
    depth: usize,
}

impl Planning {
    fn new(planner: &Arc<Planner>, context: QueryContext) -> Self {
        Self { planner: planner.clone(), context, depth: 0 }
    }

    pub(crate) fn scans(&self) -> &Arc<ScanContext> {
        &self.planner.scans
    }

    /// A session that sees the snapshot and `files`.
    fn state(self: &Arc<Self>, files: HashMap<String, Arc<dyn TableProvider>>) -> Result<SessionState> {
        let Planner { templates, scans, workers, channels } = self.planner.as_ref();
        let workers = self.context.without.iter().fold(workers.clone(), |left, lost| distributed::without(&left, lost));
        let remote = self.context.distributed && !workers.snapshot().is_empty();
        let mut state = if remote { &templates.spread } else { &templates.plain }.clone();
        let mut config = state.config().clone();
        config.options_mut().catalog.default_catalog = CATALOG.to_owned();
        config.options_mut().catalog.default_schema = self.context.database.clone().unwrap_or_default();
        if self.context.only_file.is_some() {
            config.options_mut().execution.target_partitions = 1;
        }
        config.set_extension(Arc::new(QueryId(self.context.query_id.as_str().into())));
        config.options_mut().execution.time_zone = Some(self.context.time_zone.clone());
        if remote {
            let query = RemoteQuery {
                query_id: self.context.query_id.clone(),
                memory_limit_bytes: self.context.memory_limit,
                scan_bytes_per_task: self.context.scan_bytes_per_task,
                collect_metrics: self.context.collect_metrics,
            };
            config = distributed::spread(config, scans, &workers, channels, &query)?;
        }
        *state.config_mut() = config;
        // Now is when the query begins.
        state.mark_start_execution();
        state.register_catalog_list(Arc::new(Relations { planning: self.clone(), files, lenient: false }));
        Ok(state)
    }

    /// What the plans of `state` run with: the query's own memory, and what the process's queries share.
    fn task(&self, state: &SessionState) -> Arc<TaskContext> {
        let shared = state.runtime_env();
        let limit = self.context.memory_limit.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let runtime = RuntimeEnv {
            memory_pool: query_pool(limit, shared.memory_pool.clone()),
            disk_manager: shared.disk_manager.clone(),
            cache_manager: shared.cache_manager.clone(),
            object_store_registry: shared.object_store_registry.clone(),
        };
        Arc::new(TaskContext::from(state).with_runtime(Arc::new(runtime)))
    }

    async fn logical(self, mut query: Query) -> Result<Logical> {
        let planning = Arc::new(self);
        let labels = Labels::of(&query);
        number_parameters(&mut query);
        translate(&mut query);
        let mut files: HashMap<String, Arc<dyn TableProvider>> = HashMap::new();
        let mut tables = Vec::new();
        for (properties, number) in replace_files(&mut query)?.into_iter().zip(1..) {
            let table = Arc::new(resolve(&FilesOptions::parse(&properties)?).await?);
            let provider = planning.context.only_file.and_then(|file| table.file_provider(file));
            files.insert(format!("file_{number}"), provider.unwrap_or_else(|| table.provider()));
            tables.push(table);
        }
        let state = planning.state(files)?;
        let relations = planning.referenced(&state, &query).await?;
        spell(&mut query, &relations);
        separate(&mut query);
        let statement = DfStatement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        let plan = coerce(sound(guard(state.statement_to_plan(statement).await?)?)?)?;
        // What a parameter is worth, its value will tell.
        let plan = if plan.get_parameter_names()?.is_empty() { analyze(&state, plan)? } else { plan };
        Ok(Logical { planning, state, plan, files: tables, labels })
    }

    /// The tables that a query names, all of which exist, with their columns.
    async fn referenced(
        &self,
        state: &SessionState,
        query: &Query,
    ) -> Result<Vec<(ResolvedTableReference, SchemaRef)>> {
        let mut query = query.clone();
        without_functions(&mut query);
        spell(&mut query, &[]);
        let statement = DfStatement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        let mut found = Vec::new();
        for reference in state.resolve_table_references(&statement)? {
            if let TableReference::Bare { table } = &reference
                && self.context.database.is_none()
            {
                return Err(Error::NoDatabase { table: table.to_string() });
            }
            let resolved = reference.resolve(CATALOG, self.context.database.as_deref().unwrap_or_default());
            if resolved.catalog.as_ref() != CATALOG {
                return Err(Error::UnknownCatalog(resolved.catalog.to_string()));
            }
            let name = format!("{}.{}", resolved.schema, resolved.table);
            let schema = state
                .schema_for_ref(TableReference::from(resolved.clone()))
                .map_err(|_| Error::UnknownDatabase(resolved.schema.to_string()))?;
            match schema.table(&resolved.table).await {
                Ok(Some(table)) => found.push((resolved, table.schema())),
                Ok(None) => return Err(Error::UnknownTable(name)),
                Err(datafusion::error::DataFusionError::External(cause)) => {
                    return Err(match cause.downcast::<Error>() {
                        Ok(error) => *error,
                        Err(cause) => datafusion::error::DataFusionError::External(cause).into(),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// A view of `database` as a table. Boxed, because the view's query may read views.
    pub(crate) fn view(self: Arc<Self>, database: String, view: Arc<View>) -> BoxFuture<'static, Result<ViewTable>> {
        Box::pin(async move {
            self.view_plan(&database, &view)
                .await
                .map_err(|source| Error::View { view: format!("{database}.{}", view.name), source: Box::new(source) })
        })
    }

    async fn view_plan(&self, database: &str, view: &View) -> Result<ViewTable> {
        if self.depth >= MAX_VIEW_DEPTH {
            return Err(Error::ViewDepth(MAX_VIEW_DEPTH));
        }
        let Statement::Query(query) = tarn_sql::parse_one(&view.query)? else {
            return Err(Error::UnknownTable(format!("{database}.{}", view.name)));
        };
        let mut inner = self.clone();
        inner.context.database = Some(database.to_owned());
        inner.depth += 1;
        let Logical { mut plan, labels, .. } = inner.logical(*query).await?;
        let names = if view.columns.is_empty() { labels.apply(plan.schema().as_arrow()) } else { view.columns.clone() };
        let planned = plan.schema().fields().iter();
        if planned.zip(&names).any(|(field, name)| field.name() != name) {
            let renamed: Vec<Expr> = plan
                .schema()
                .columns()
                .into_iter()
                .zip(&names)
                .map(|(column, name)| Expr::Column(column).alias(name))
                .collect();
            plan = LogicalPlanBuilder::from(plan).project(renamed)?.build()?;
        }
        Ok(ViewTable::new(plan, Some(view.query.clone())))
    }
}
