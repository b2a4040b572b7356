//! Joins that give way.
//!
//! A task ends when its query is cancelled, and lets others run, only where it yields. DataFusion yields after some number
//! of batches from scans and exchanges. A join can make thousands of batches of each of those: without yielding for its
//! own it would work on for minutes after its query was killed. One that returns few of many pairs gets its rows in small
//! pieces besides: see `tarn_scan::paced`, which acts where the plan runs.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use tarn_scan::needs_pace;

/// Counts the batches of every join as work after which to yield.
#[derive(Debug)]
pub(crate) struct GiveWay;

impl PhysicalOptimizerRule for GiveWay {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !is_join(&node) {
                return Ok(Transformed::no(node));
            }
            let mut children: Vec<_> = node.children().into_iter().cloned().collect();
            let node = if needs_pace(node.as_ref()) {
                children[1] = Arc::new(CooperativeExec::new(children[1].clone()));
                replace_children_if_necessary(node, children)?
            } else {
                node
            };
            let node: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
            Ok(Transformed::yes(node))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "give_way"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_join(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<HashJoinExec>().is_some()
        || node.downcast_ref::<NestedLoopJoinExec>().is_some()
        || node.downcast_ref::<CrossJoinExec>().is_some()
        || node.downcast_ref::<SortMergeJoinExec>().is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    #[tokio::test]
    async fn a_join_that_makes_many_rows_of_few_can_be_given_up() {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(SessionConfig::new().with_target_partitions(1))
            .with_physical_optimizer_rule(Arc::new(GiveWay))
            .build();
        // A billion pairs: a join that does not yield makes them all before the time is looked at.
        let sql = "select count(*) from range(0, 100000) a join range(0, 100000) b on a.value % 10 = b.value % 10";
        let query = SessionContext::new_with_state(state).sql(sql).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), query.collect()).await.is_err());
    }
}
