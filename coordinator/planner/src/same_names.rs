//! Filters stay where two columns of one name could be confused.
//!
//! DataFusion pushes filters through a physical plan by the names of columns. Where a join's output has two columns of
//! one name (`a.id` and `b.id`), and another node orders its columns, it takes the first of that name: the filter reaches
//! the scan of the wrong table, and rows are lost. Below such nodes filters are pushed as ever.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

/// Rules of this name push filters, by name.
const PUSHES: &str = "FilterPushdown";

/// A rule that is kept from nodes whose input or output has two columns of one name.
#[derive(Debug)]
struct UniqueNames(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

/// Keeps the rules that push filters from nodes where they would err.
pub(crate) fn guard(
    rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>],
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let guarded = rules.iter().map(|rule| -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
        if rule.name().starts_with(PUSHES) { Arc::new(UniqueNames(rule.clone())) } else { rule.clone() }
    });
    guarded.collect()
}

impl PhysicalOptimizerRule for UniqueNames {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if is_clear(&plan) {
            return self.0.optimize(plan, config);
        }
        let children = plan.children().into_iter().map(|child| self.optimize(child.clone(), config));
        let children = children.collect::<Result<Vec<_>>>()?;
        replace_children_if_necessary(plan, children)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Whether no node of the plan has two columns of one name.
fn is_clear(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let mut names = HashSet::new();
    schema.fields().iter().all(|field| names.insert(field.name())) && plan.children().into_iter().all(is_clear)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    #[tokio::test]
    async fn the_guard_is_there_before_and_after_distribution() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let rules = guard(state.physical_optimizers());
        let guarded = rules.iter().filter(|rule| format!("{rule:?}").starts_with("UniqueNames")).count();
        assert_eq!(guarded, 2, "DataFusion pushes filters at other places, or by another name, than it did");
    }

    #[tokio::test]
    async fn a_filter_over_a_turned_join_keeps_its_table() {
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(SessionConfig::new().with_target_partitions(1))
            .build();
        let rules = guard(state.physical_optimizers());
        let state = SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(rules).build();
        let context = SessionContext::new_with_state(state);
        let table = |k: Vec<i64>, v: Vec<i64>| {
            let columns: [(&str, ArrayRef); 2] =
                [("k", Arc::new(Int64Array::from(k))), ("v", Arc::new(Int64Array::from(v)))];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        context.register_batch("a", table(vec![1, 2, 3], vec![10, 20, 30])).unwrap();
        context.register_batch("b", table(vec![1, 2], vec![100, 5])).unwrap();
        let sql = "select a.v, b.v as w from a right join b on a.k = b.k where a.v < 50 or b.v > 1000 order by a.v";
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    }
}
