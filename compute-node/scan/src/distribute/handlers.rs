//! The questions that datafusion-distributed asks while it plans and starts a query.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler, DistributedLeafExec,
    RouteTasksEvent, RouteTasksEventResponse, RouteTasksHandler, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
    ScaleUpLeafNodeHandler,
};
use url::Url;

use super::WorkerSet;
use super::affinity;
use crate::tablet::{TabletRead, TabletSource};

/// Says how many tasks a tablet scan is worth.
#[derive(Clone, Debug)]
pub struct TabletTaskCount {
    workers: WorkerSet,
    bytes_per_task: u64,
}

impl TabletTaskCount {
    /// What one task should read at least, in bytes: less is read faster than another task is started.
    pub const BYTES_PER_TASK: u64 = 32 << 20;

    /// A handler for the cluster of these workers. A scan becomes one more task for each `bytes_per_task`, usually
    /// [`Self::BYTES_PER_TASK`].
    pub fn new(workers: WorkerSet, bytes_per_task: u64) -> Self {
        Self { workers, bytes_per_task: bytes_per_task.max(1) }
    }

    fn count(&self, source: &TabletSource) -> usize {
        let bytes: u64 = source.tablets().iter().map(|t| t.bytes).sum();
        let worth = usize::try_from(bytes.div_ceil(self.bytes_per_task)).unwrap_or(usize::MAX);
        worth.min(self.workers.snapshot().len()).min(source.tablets().len()).max(1)
    }
}

#[async_trait]
impl DesiredTaskCountHandler for TabletTaskCount {
    async fn handle(&self, ev: DesiredTaskCountEvent<'_>) -> Option<Result<DesiredTaskCountEventResponse>> {
        let source = TabletSource::of(ev.plan.as_ref())?;
        // What is above a single partition may rely on it: a limit, a row number, a merge would run in each task.
        if ev.plan.output_partitioning().partition_count() == 1 {
            return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
        }
        Some(Ok(DesiredTaskCountEventResponse::desired(self.count(source))))
    }
}

/// Splits the tablets of a scan among the tasks of its stage.
#[derive(Clone, Debug)]
pub struct TabletScaleUp(WorkerSet);

impl TabletScaleUp {
    /// A handler for the cluster of these workers.
    pub fn new(workers: WorkerSet) -> Self {
        Self(workers)
    }

    fn variants(&self, source: &TabletSource, tasks: usize, partitions: usize) -> Vec<Arc<dyn ExecutionPlan>> {
        let workers = self.0.snapshot();
        let sizes: Vec<_> = source.tablets().iter().map(|t| (t.tablet, t.bytes)).collect();
        let homes = affinity::choose(&workers, source.table(), tasks);
        affinity::split(&sizes, &homes)
            .into_iter()
            .zip(&homes)
            .map(|(group, home)| {
                let tablets: Vec<TabletRead> = group.into_iter().map(|i| source.tablets()[i].clone()).collect();
                source.with_tablets(tablets, partitions, home.cloned()).into_plan()
            })
            .collect()
    }
}

impl ScaleUpLeafNodeHandler for TabletScaleUp {
    fn handle(&self, ev: ScaleUpLeafNodeEvent) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
        let source = TabletSource::of(ev.plan.as_ref())?;
        let partitions = ev.plan.output_partitioning().partition_count();
        let variants = self.variants(source, ev.task_count, partitions);
        let leaf = DistributedLeafExec::try_new(ev.plan.clone(), variants);
        Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
    }
}

/// Sends each task to the worker that has its tablets in the cache.
#[derive(Clone, Debug)]
pub struct TabletRouting(WorkerSet);

impl TabletRouting {
    /// A handler for the cluster of these workers.
    pub fn new(workers: WorkerSet) -> Self {
        Self(workers)
    }
}

impl RouteTasksHandler for TabletRouting {
    fn handle(&self, ev: RouteTasksEvent) -> Option<Result<RouteTasksEventResponse>> {
        let leaf = largest_leaf(ev.plan)?;
        let wanted: Vec<Option<&Url>> =
            (0..ev.task_count).map(|task| leaf.get(task).and_then(|home| home.as_ref())).collect();
        let routes = affinity::route(&wanted, &self.0.snapshot());
        (routes.len() == ev.task_count).then(|| Ok(RouteTasksEventResponse::new(routes)))
    }
}

/// Where the tasks of the stage's largest tablet scan want to run. `None` if it has no scan that was split, or a single
/// scan that nobody prefers.
fn largest_leaf(plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<Option<Url>>> {
    let mut largest: Option<(u64, Vec<Option<Url>>)> = None;
    plan.apply(|node| {
        if let Some(leaf) = node.downcast_ref::<DistributedLeafExec>()
            && let Some(original) = TabletSource::of(leaf.original().as_ref())
        {
            let bytes = original.tablets().iter().map(|t| t.bytes).sum();
            if largest.as_ref().is_none_or(|(most, _)| *most < bytes) {
                let homes = leaf.variants().iter().map(|v| TabletSource::of(v.as_ref())?.home.clone()).collect();
                largest = Some((bytes, homes));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .ok()?;
    largest.map(|(_, homes)| homes)
}
