//! The sessions that queries' sessions are copies of: making one takes long, a copy does not.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::prelude::SessionConfig;

use crate::cardinality;
use crate::distributed;
use crate::give_way::GiveWay;
use crate::operators::Arithmetic;
use crate::planner::PlannerConfig;
use crate::preaggregation::Preaggregate;
use crate::same_names::guard;

/// Sessions without a query's tables and settings.
pub(crate) struct Templates {
    /// Plans for this process.
    pub plain: SessionState,
    /// Plans for compute nodes.
    pub spread: SessionState,
}

impl Templates {
    pub fn new(config: PlannerConfig) -> Result<Self> {
        let mut session = SessionConfig::new()
            .with_target_partitions(config.target_partitions)
            .with_create_default_catalog_and_schema(false);
        let options = session.options_mut();
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.collect_spans = true;
        options.sql_parser.default_null_ordering = "nulls_min".to_owned();
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        options.optimizer.use_statistics_registry = true;
        let memory_pool = Arc::new(GreedyMemoryPool::new(config.memory_limit));
        let runtime = RuntimeEnv { memory_pool, disk_manager: config.spill, ..RuntimeEnv::default() };
        let defaults = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(Arc::new(runtime))
            .with_default_features()
            .build();
        let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Arithmetic)];
        planners.extend(defaults.expr_planners().iter().cloned());
        let rules = guard(defaults.physical_optimizers());
        let plain = SessionStateBuilder::new_from_existing(defaults)
            .with_expr_planners(planners)
            .with_physical_optimizer_rules(rules)
            .with_physical_optimizer_rule(Arc::new(GiveWay))
            .with_physical_optimizer_rule(Arc::new(Preaggregate))
            .with_statistics_registry(cardinality::registry());
        let plain = with_functions(plain)?;
        let spread = with_functions(distributed::prepare(SessionStateBuilder::new_from_existing(plain.clone())))?;
        Ok(Self { plain, spread })
    }
}

/// The session with Tarn's functions. They come last: a session that is made of another one takes that one's functions in
/// no order, and those of DataFusion that are still there by an alias take back their names.
fn with_functions(builder: SessionStateBuilder) -> Result<SessionState> {
    let mut session = builder.build();
    tarn_functions::register(&mut session)?;
    Ok(session)
}

#[cfg(test)]
mod tests {
    use datafusion::execution::disk_manager::DiskManagerBuilder;

    use super::*;

    #[test]
    fn functions_of_tarn_replace_those_of_their_names_every_time() {
        for _ in 0..8 {
            let spill = Arc::new(DiskManagerBuilder::default().build().unwrap());
            let config = PlannerConfig { target_partitions: 2, memory_limit: 1 << 20, spill };
            let Templates { plain, spread } = Templates::new(config).unwrap();
            for ours in tarn_functions::all() {
                assert_eq!(plain.scalar_functions()[ours.name()], ours);
                assert_eq!(spread.scalar_functions()[ours.name()], ours);
            }
        }
    }
}
