//! Joins that can be stopped while they find nothing.
//!
//! A join with a condition that it must evaluate pair by pair may work through millions of pairs of one input batch and
//! return none of them. DataFusion yields only where batches come out, so that neither KILL nor a deadline would end it.
//! Such a join gets its rows in small pieces here, with a yield after each.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use futures::{Stream, StreamExt};

/// Rows of a piece, for a join that compares each with all rows of its other side.
const ROWS_OF_ALL_PAIRS: usize = 256;

/// Whether a join may work long without returning rows. If so, planners put a [`CooperativeExec`] above its second input,
/// which [`paced`] replaces where the plan runs.
pub fn needs_pace(join: &dyn ExecutionPlan) -> bool {
    rows_of(join).is_some()
}

fn rows_of(join: &dyn ExecutionPlan) -> Option<usize> {
    if join.is::<NestedLoopJoinExec>() || join.is::<CrossJoinExec>() {
        return Some(ROWS_OF_ALL_PAIRS);
    }
    join.downcast_ref::<HashJoinExec>()?.filter().map(|_| usize::MAX)
}

/// The plan with its joins paced: as many nodes, in the same places.
pub fn paced(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(rows) = rows_of(node.as_ref()) else { return Ok(Transformed::no(node)) };
        let mut children: Vec<_> = node.children().into_iter().cloned().collect();
        let Some(input) = children.get(1).and_then(|c| c.downcast_ref::<CooperativeExec>()).map(|c| c.input().clone())
        else {
            return Ok(Transformed::no(node));
        };
        let properties = children[1].properties().clone();
        children[1] = Arc::new(PacedExec { input, properties, rows });
        Ok(Transformed::yes(replace_children_if_necessary(node, children)?))
    })
    .data()
}

/// The rows of `input`, in pieces of at most `rows`, with a yield after each.
#[derive(Debug)]
struct PacedExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    rows: usize,
}

impl DisplayAs for PacedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As the node that it replaces.
        f.write_str("CooperativeExec")
    }
}

impl ExecutionPlan for PacedExec {
    fn name(&self) -> &'static str {
        "PacedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self { input, properties: self.properties.clone(), rows: self.rows }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Pieces { input, rows: self.rows, rest: None, yielded: true }))
    }
}

struct Pieces {
    input: SendableRecordBatchStream,
    rows: usize,
    rest: Option<RecordBatch>,
    yielded: bool,
}

impl Stream for Pieces {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.yielded {
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match self.input.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(batch))) => batch,
                other => return other,
            },
        };
        let rows = self.rows.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.yielded = false;
        Poll::Ready(Some(Ok(batch.slice(0, rows))))
    }
}

impl RecordBatchStream for Pieces {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::physical_plan::execute_stream;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    async fn plan(session: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
        let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let plan = plan.transform_up(|node| {
            if !needs_pace(node.as_ref()) {
                return Ok(Transformed::no(node));
            }
            let mut children: Vec<_> = node.children().into_iter().cloned().collect();
            children[1] = Arc::new(CooperativeExec::new(children[1].clone()));
            Ok(Transformed::yes(replace_children_if_necessary(node, children)?))
        });
        paced(plan.data().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_join_that_finds_nothing_can_be_given_up() {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let sql = "select count(*) from range(0, 4000000) a, range(0, 4000000) b where a.value * b.value < 0";
        let plan = plan(&session, sql).await;
        let mut rows = execute_stream(plan, session.task_ctx()).unwrap();
        // The deadline is seen where the join yields; without that, this test would not end.
        assert!(tokio::time::timeout(Duration::from_millis(300), rows.next()).await.is_err());
    }

    #[tokio::test]
    async fn paced_joins_return_the_same_rows() {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for sql in [
            "select count(*) from range(0, 3000) a, range(0, 2000) b where a.value + b.value = 999",
            "select count(*) from range(0, 3000) a join range(0, 2000) b on a.value % 7 = b.value % 7 and a.value < b.value",
            "select count(*) from range(0, 300) a left join range(0, 200) b on a.value > b.value + 150",
        ] {
            let expected = session.sql(sql).await.unwrap().collect().await.unwrap();
            let found =
                datafusion::physical_plan::collect(plan(&session, sql).await, session.task_ctx()).await.unwrap();
            assert_eq!(found, expected, "{sql}");
        }
    }
}
