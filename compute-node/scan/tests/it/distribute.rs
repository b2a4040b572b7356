//! Tasks, their tablets and their workers.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountHandler, DistributedLeafExec, RouteTasksEvent, RouteTasksHandler,
    ScaleUpLeafNodeEvent, ScaleUpLeafNodeHandler, WorkerResolver,
};
use tarn_proto::TabletId;
use tarn_scan::{TabletRead, TabletRouting, TabletScaleUp, TabletSource, TabletTaskCount, WorkerSet};
use url::Url;

use crate::fixture::{Fixture, VERSION, replicas};

fn workers(count: usize) -> Vec<Url> {
    (0..count).map(|i| format!("http://worker-{i}:9400").parse().unwrap()).collect()
}

async fn plan(tablets: u64, bytes: u64) -> Arc<dyn ExecutionPlan> {
    let fixture = Fixture::new().await;
    let mut spec = fixture.spec.clone();
    spec.partitions = (0..tablets)
        .map(|id| vec![TabletRead { tablet: TabletId(id), version: VERSION, replicas: replicas(), rows: 1000, bytes }])
        .collect();
    tarn_scan::scan(fixture.context.clone(), spec).unwrap()
}

async fn count(set: &WorkerSet, tablets: u64, bytes: u64) -> usize {
    let plan = plan(tablets, bytes).await;
    let config = SessionConfig::new();
    let event = DesiredTaskCountEvent { plan: &plan, session_config: &config };
    let response =
        TabletTaskCount::new(set.clone(), TabletTaskCount::BYTES_PER_TASK).handle(event).await.unwrap().unwrap();
    response.task_count.as_usize()
}

#[tokio::test]
async fn small_scans_are_one_task_and_large_ones_use_the_cluster() {
    let set = WorkerSet::new(workers(4));
    assert_eq!(count(&set, 8, 1 << 20).await, 1);
    assert_eq!(count(&set, 1, 1 << 40).await, 1);
    assert_eq!(count(&set, 8, 10 << 20).await, 3);
    assert_eq!(count(&set, 8, 1 << 30).await, 4);
    assert_eq!(count(&WorkerSet::default(), 8, 1 << 30).await, 1);
}

fn leaf(set: &WorkerSet, plan: &Arc<dyn ExecutionPlan>, tasks: usize) -> Arc<dyn ExecutionPlan> {
    let config = SessionConfig::new();
    let event = ScaleUpLeafNodeEvent { plan, task_count: tasks, session_config: &config };
    TabletScaleUp::new(set.clone()).handle(event).unwrap().unwrap().plan
}

#[tokio::test]
async fn tasks_share_the_tablets_and_run_where_those_are_cached() {
    let set = WorkerSet::new(workers(4));
    let plan = plan(64, 1 << 20).await;
    let node = leaf(&set, &plan, 3);
    let variants = node.downcast_ref::<DistributedLeafExec>().unwrap().variants();
    let mut all = BTreeSet::new();
    for variant in variants {
        let source = TabletSource::of(variant.as_ref()).unwrap();
        assert!(source.tablets().len() > 10, "{}", source.tablets().len());
        assert_eq!(variant.output_partitioning().partition_count(), 64);
        all.extend(source.tablets().iter().map(|t| t.tablet));
    }
    assert_eq!(all.len(), 64);

    let route = |set: &WorkerSet| {
        let task_ctx = Arc::new(datafusion::execution::TaskContext::default());
        let event = RouteTasksEvent { task_ctx, plan: &node, task_count: 3 };
        TabletRouting::new(set.clone()).handle(event).unwrap().unwrap().urls
    };
    let first = route(&set);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "each task on its own worker");
    assert_eq!(first, route(&set), "the same tablets go to the same workers");
    // A worker that left is replaced by the one that is free.
    set.replace(workers(4).into_iter().filter(|w| *w != first[0]).collect());
    let second = route(&set);
    assert_eq!(second[1..], first[1..]);
    assert_eq!(second.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn a_worker_set_is_shared_and_sorted() {
    let set = WorkerSet::default();
    let clone = set.clone();
    set.replace(workers(3).into_iter().rev().chain(workers(1)).collect());
    assert_eq!(clone.get_urls().unwrap(), workers(3));
}
