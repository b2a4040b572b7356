//! The operator that passes on what a scan has aggregated.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use futures::{StreamExt, stream};

use super::Early;
use super::spec::Spec;
use crate::tablet::TabletSource;

/// The plan with its partial aggregations done inside scans as far as they can be: as many nodes, in the same places.
pub fn aggregated_early(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match EarlyAggregateExec::of(&node)? {
            Some(early) => Transformed::yes(Arc::new(early)),
            None => Transformed::no(node),
        })
    })
    .data()
}

/// A partial aggregation whose scan does a part of it.
#[derive(Debug)]
struct EarlyAggregateExec {
    /// The stock operator above the scan.
    rest: Arc<dyn ExecutionPlan>,
    early: Arc<Early>,
    metrics: ExecutionPlanMetricsSet,
}

impl EarlyAggregateExec {
    fn of(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
        let Some(source) = TabletSource::of(aggregate.input().as_ref()) else { return Ok(None) };
        if source.limit.is_some() {
            return Ok(None);
        }
        let Some(spec) = Spec::of(aggregate) else { return Ok(None) };
        let early = Arc::new(Early::new(spec, source.partitions));
        let source = TabletSource { early: Some(early.clone()), ..source.clone() };
        let scan = DataSourceExec::from_data_source(source);
        let rest = replace_children_if_necessary(node.clone(), vec![scan])?;
        Ok(Some(Self { rest, early, metrics: ExecutionPlanMetricsSet::new() }))
    }
}

impl DisplayAs for EarlyAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rest.fmt_as(format, f)
    }
}

impl ExecutionPlan for EarlyAggregateExec {
    fn name(&self) -> &'static str {
        "EarlyAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rest.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.rest.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.rest.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let rest = replace_children_if_necessary(self.rest.clone(), children)?;
        Ok(Arc::new(Self { rest, early: self.early.clone(), metrics: ExecutionPlanMetricsSet::new() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rest = self.rest.execute(partition, context)?;
        let schema = rest.schema();
        let (early, metrics) = (self.early.clone(), BaselineMetrics::new(&self.metrics, partition));
        // The scan has ended when the operator above it has.
        let states = stream::once(async move {
            let _timer = metrics.elapsed_compute().timer();
            let states = early.finish(partition).map_err(DataFusionError::from).transpose()?;
            if let Ok(states) = &states {
                metrics.record_output(states.num_rows());
            }
            Some(states)
        });
        let states = states.filter_map(std::future::ready);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rest.chain(states))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut all = self.rest.metrics()?;
        self.metrics.clone_inner().iter().for_each(|metric| all.push(metric.clone()));
        Some(all)
    }
}
