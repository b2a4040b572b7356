//! The leaf of a plan.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source::{DataSource, OpenArgs};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, apply_expression_roots};
use tarn_proto::TableSchema;
use tarn_proto::volume::Volume;
use url::Url;

use super::early::Early;
use super::execution::Execution;
use super::{Preaggregation, Pruned, TabletRead, TabletScan, pushdown};
use crate::context::ScanContext;

/// Rows that are worth another output partition.
const MIN_ROWS_PER_PARTITION: u64 = 65_536;

/// Tablets at a version, as a DataFusion source. Holds ids only: manifests are resolved when it is opened.
#[derive(Clone, Debug)]
pub struct TabletSource {
    pub(crate) context: Arc<ScanContext>,
    pub(crate) table: Arc<str>,
    pub(crate) schema: Arc<TableSchema>,
    /// Where the tablets' segments are, if not on their storage nodes.
    pub(crate) volume: Option<Arc<Volume>>,
    pub(crate) tablets: Arc<[TabletRead]>,
    pub(crate) partitions: usize,
    pub(crate) projection: Vec<usize>,
    /// Over the table's columns.
    pub(crate) filters: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) limit: Option<usize>,
    pub(crate) exact_rows: bool,
    /// Of no meaning where no rows are merged.
    pub(crate) preaggregation: Preaggregation,
    pub(crate) pruned: Pruned,
    pub(crate) bitmap_max_filter_ratio: u16,
    /// The worker that should run this, because it has the tablets in its cache. Not sent over the wire.
    pub(crate) home: Option<Url>,
    /// What output partitions aggregate themselves, where the plan runs. Not sent over the wire.
    pub(crate) early: Option<Arc<Early>>,
    pub(crate) output: SchemaRef,
    pub(crate) metrics: ExecutionPlanMetricsSet,
}

impl TabletSource {
    pub(crate) fn try_new(context: Arc<ScanContext>, spec: TabletScan) -> Result<Self> {
        let output = Arc::new(spec.schema.to_arrow().project(&spec.projection)?);
        Ok(Self {
            context,
            table: spec.table.into(),
            schema: Arc::new(spec.schema),
            volume: spec.volume,
            partitions: spec.partitions.len().max(1),
            tablets: spec.partitions.into_iter().flatten().collect(),
            projection: spec.projection,
            filters: spec.filters,
            limit: spec.limit,
            exact_rows: spec.exact_rows,
            preaggregation: Preaggregation::Off("None aggregate function".into()),
            pruned: spec.pruned,
            bitmap_max_filter_ratio: spec.bitmap_max_filter_ratio,
            home: None,
            early: None,
            output,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(crate) fn into_plan(self) -> Arc<dyn ExecutionPlan> {
        DataSourceExec::from_data_source(self)
    }

    /// The scan in `plan`, if it is one.
    pub fn of(plan: &dyn ExecutionPlan) -> Option<&Self> {
        plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref()
    }

    /// The tablets that are read.
    pub fn tablets(&self) -> &[TabletRead] {
        &self.tablets
    }

    /// `database.table`.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The table's schema.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Positions of the columns that are returned.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// Filters over the table's columns that are evaluated here.
    pub fn filters(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.filters
    }

    /// The same scan, which merges rows of equal keys or leaves that to the operators above. Only for tables that merge
    /// on read; [`Preaggregation::On`] only if these operators give the same answer for merged and for unmerged rows.
    pub fn with_preaggregation(&self, preaggregation: Preaggregation) -> Arc<dyn ExecutionPlan> {
        Self { preaggregation, ..self.clone() }.into_plan()
    }

    /// The same scan of other tablets, with other output partitions and its own metrics.
    pub(crate) fn with_tablets(&self, tablets: Vec<TabletRead>, partitions: usize, home: Option<Url>) -> Self {
        Self {
            tablets: tablets.into(),
            partitions: partitions.max(1),
            home,
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }
    }

    fn rows(&self) -> u64 {
        self.tablets.iter().map(|t| t.rows).sum()
    }

    fn bytes(&self) -> u64 {
        self.tablets.iter().map(|t| t.bytes).sum()
    }

    fn execution(&self, shared: bool) -> Arc<Execution> {
        Arc::new(Execution::new(self, shared))
    }
}

impl DataSource for TabletSource {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.open_with_args(OpenArgs::new(partition, context))
    }

    fn create_sibling_state(&self, config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.execution(config.execution.enable_file_stream_work_stealing))
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        let execution = match args.sibling_state.map(|state| state.downcast::<Execution>()) {
            Some(Ok(execution)) => execution,
            _ => self.execution(false),
        };
        Ok(execution.open(args.partition, &args.context))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let (separator, partitions) = match format {
            DisplayFormatType::TreeRender => ("\n", String::new()),
            _ => (", ", format!(", partitions={}", self.partitions)),
        };
        let total = self.pruned.tablets_total.max(self.tablets.len());
        write!(f, "table={}{separator}tablets={}/{total}", self.table, self.tablets.len())?;
        if self.pruned.partitions_total > 0 {
            let Pruned { partitions, partitions_total, .. } = self.pruned;
            write!(f, "{separator}table_partitions={partitions}/{partitions_total}")?;
        }
        write!(f, "{partitions}{separator}projection=[")?;
        for (index, field) in self.output.fields().iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, field.name())?;
        }
        write!(f, "]")?;
        for (index, filter) in self.filters.iter().enumerate() {
            let before = if index > 0 { " AND " } else { "predicate=" };
            write!(f, "{}{before}{filter}", if index > 0 { "" } else { separator })?;
        }
        if let Some(limit) = self.limit {
            write!(f, "{separator}limit={limit}")?;
        }
        match &self.preaggregation {
            _ if !self.schema.model.merges_on_read() => Ok(()),
            Preaggregation::On => write!(f, "{separator}PREAGGREGATION: ON"),
            Preaggregation::Off(reason) => write!(f, "{separator}PREAGGREGATION: OFF. Reason: {reason}"),
        }
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        _file_min_size: usize,
        _ordering: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let useful = self.rows().div_ceil(MIN_ROWS_PER_PARTITION).max(1);
        let partitions = target_partitions.min(usize::try_from(useful).unwrap_or(usize::MAX));
        if partitions <= self.partitions {
            return Ok(None);
        }
        Ok(Some(Arc::new(Self { partitions, ..self.clone() })))
    }

    fn output_partitioning(&self) -> Partitioning {
        // Never `Hash`: DataFusion compares expressions only, not hash functions, and would join wrongly.
        Partitioning::UnknownPartitioning(self.partitions)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.output.clone())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let columns = self.schema.columns.len().max(1) as u64;
        let mut rows = self.rows();
        let mut bytes = self.bytes() / columns * self.output.fields().len() as u64;
        let mut exact = self.exact_rows && self.filters.is_empty();
        if partition.is_some() {
            // Partitions share the work.
            exact = false;
            rows /= self.partitions as u64;
            bytes /= self.partitions as u64;
        }
        if let Some(limit) = self.limit {
            rows = rows.min(limit as u64);
        }
        let precision = if exact { Precision::Exact } else { Precision::Inexact };
        Ok(Arc::new(Statistics {
            num_rows: precision(rows as usize),
            total_byte_size: Precision::Inexact(bytes as usize),
            column_statistics: vec![ColumnStatistics::new_unknown(); self.output.fields().len()],
        }))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self { limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        // Columns only, under their own names; everything else stays in the `ProjectionExec` above.
        let columns: Option<Vec<usize>> = projection
            .iter()
            .map(|p| {
                let column = p.expr.downcast_ref::<Column>()?;
                (column.name() == p.alias).then(|| self.projection.get(column.index()).copied()).flatten()
            })
            .collect();
        let Some(columns) = columns else { return Ok(None) };
        let output = Arc::new(self.schema.to_arrow().project(&columns)?);
        Ok(Some(Arc::new(Self { projection: columns, output, ..self.clone() })))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        if self.limit.is_some() {
            // A filter above a limit must not run below it.
            return Ok(FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; filters.len()]));
        }
        let mut source = self.clone();
        let mut results = Vec::with_capacity(filters.len());
        for filter in filters {
            let over_table = pushdown::map_columns(filter, |column| {
                let index = *self.projection.get(column.index())?;
                Some(Arc::new(Column::new(&self.schema.columns[index].name, index)))
            })
            .ok_or_else(|| DataFusionError::Internal("a filter names a column that the scan lacks".to_owned()))?;
            let exact = pushdown::is_exact(&self.context, &self.schema, &over_table);
            // Where rows are merged, a filter must leave out all rows of a key or none.
            let only_saves_work = pushdown::is_dynamic(&over_table)
                && (!self.schema.model.merges_on_read() || pushdown::is_over_keys(&self.schema, &over_table));
            if exact || only_saves_work {
                source.filters.push(over_table);
            }
            results.push(if exact { PushedDown::Yes } else { PushedDown::No });
        }
        let pushed = source.filters.len() > self.filters.len();
        let result = FilterPushdownPropagation::with_parent_pushdown_result(results);
        Ok(if pushed { result.with_updated_node(Arc::new(source) as _) } else { result })
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.filters.iter(), f)
    }
}
