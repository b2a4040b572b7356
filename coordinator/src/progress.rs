//! How much of its input a running plan has read, from the metrics of its leaves.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

/// The share of its leaves' rows that a plan has read here, 0 to 1. `None` while it has read none, as far as can be told:
/// no leaf knows how many rows it has, or the leaves run on compute nodes, which tell at the end.
pub fn share(plan: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    let (mut read, mut total) = (0, 0);
    add(plan, &mut read, &mut total);
    (read > 0 && total > 0).then(|| (read as f64 / total as f64).min(1.0))
}

fn add(plan: &Arc<dyn ExecutionPlan>, read: &mut usize, total: &mut usize) {
    let children = plan.children();
    if children.is_empty()
        && let Some(rows) = rows(plan)
    {
        *total += rows;
        // An estimate may be too low.
        *read += plan.metrics().and_then(|m| m.output_rows()).unwrap_or(0).min(rows);
    }
    for child in children {
        add(child, read, total);
    }
}

fn rows(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    statistics.num_rows.get_value().copied()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::prelude::SessionContext;
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_plan_tells_how_much_it_has_read_as_far_as_it_knows() {
        let context = SessionContext::new();
        let batch = |from: i64| {
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 100));
            RecordBatch::try_from_iter([("a", column)]).expect("a batch")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8").to_owned();
        let rows = context.read_batches((0..100).map(|i| batch(i * 100))).expect("rows");
        rows.write_parquet(&path, Default::default(), None).await.expect("files");
        let plan = context.read_parquet(&path, Default::default()).await.expect("a table");
        let plan = plan.create_physical_plan().await.expect("a plan");
        assert_eq!(share(&plan), None, "it has not begun");
        let mut rows = datafusion::physical_plan::execute_stream(plan.clone(), context.task_ctx()).expect("rows");
        rows.next().await.expect("a batch").expect("a batch");
        assert!(share(&plan).is_some_and(|share| share > 0.0));
        while rows.next().await.is_some() {}
        assert_eq!(share(&plan), Some(1.0));
    }
}
