//! How many rows a join is expected to return, where nothing is known of its keys.
//!
//! DataFusion takes the rows of a table for the distinct values of its columns. A fact table joined to a dimension then
//! seems to return as many rows as the dimension has, and such a join becomes the build side of the next one, with all
//! its facts. Here one side of a join is taken to hold a primary key: the side whose tables have fewer rows. Of the other
//! side's rows, the join keeps the share that filters left of the first. That is the estimate of System R (Selinger et
//! al., 1979) with `1 / (distinct keys)` as selectivity, and it holds for the joins of star and snowflake schemas.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::{JoinType, Statistics};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::operator_statistics::{
    ExtendedStatistics, StatisticsProvider, StatisticsRegistry, StatisticsResult,
};

/// Rows of the largest table below a node, before filters. Absent where no row count is known.
#[derive(Clone, Copy, Debug)]
struct BaseRows(f64);

/// DataFusion's estimates, but for joins.
pub(crate) fn registry() -> StatisticsRegistry {
    let builtin = StatisticsRegistry::default_with_builtin_providers();
    StatisticsRegistry::with_providers(vec![Arc::new(Cardinality(builtin.providers().to_vec()))])
}

/// Estimates joins by itself and leaves other nodes to the first provider that knows them.
#[derive(Debug)]
struct Cardinality(Vec<Arc<dyn StatisticsProvider>>);

impl StatisticsProvider for Cardinality {
    fn compute_statistics(
        &self,
        plan: &dyn ExecutionPlan,
        children: &[ExtendedStatistics],
    ) -> Result<StatisticsResult> {
        if let Some(joined) = join(plan, children) {
            return Ok(StatisticsResult::Computed(joined));
        }
        for provider in &self.0 {
            if let StatisticsResult::Computed(mut known) = provider.compute_statistics(plan, children)? {
                let below = children.iter().filter_map(base_rows).reduce(f64::max);
                if let Some(rows) = below.or_else(|| rows(&known).filter(|_| children.is_empty())) {
                    known.set_extension(BaseRows(rows));
                }
                return Ok(StatisticsResult::Computed(known));
            }
        }
        Ok(StatisticsResult::Delegate)
    }
}

fn rows(known: &ExtendedStatistics) -> Option<f64> {
    known.base().num_rows.get_value().map(|rows| *rows as f64)
}

fn base_rows(known: &ExtendedStatistics) -> Option<f64> {
    known.get_extension::<BaseRows>().map(|base| base.0)
}

/// Rows of an equi-join of `left` and `right` rows, of tables that had `left_base` and `right_base`.
fn estimate(join_type: JoinType, left: f64, right: f64, left_base: f64, right_base: f64) -> f64 {
    let inner = left * right / left_base.min(right_base).max(1.0);
    match join_type {
        JoinType::Inner => inner,
        JoinType::Left => inner.max(left),
        JoinType::Right => inner.max(right),
        JoinType::Full => inner.max(left).max(right),
        JoinType::LeftSemi => inner.min(left),
        JoinType::RightSemi => inner.min(right),
        JoinType::LeftAnti => left - inner.min(left),
        JoinType::RightAnti => right - inner.min(right),
        JoinType::LeftMark => left,
        JoinType::RightMark => right,
    }
}

fn join(plan: &dyn ExecutionPlan, children: &[ExtendedStatistics]) -> Option<ExtendedStatistics> {
    let join_type = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        *join.join_type()
    } else {
        plan.downcast_ref::<SortMergeJoinExec>()?.join_type()
    };
    let [left, right] = children else { return None };
    let (left_base, right_base) = (base_rows(left)?, base_rows(right)?);
    let (left_rows, right_rows) = (rows(left)?, rows(right)?);
    let estimated = estimate(join_type, left_rows, right_rows, left_base, right_base);
    let width = |known: &ExtendedStatistics, rows: f64| {
        known.base().total_byte_size.get_value().map(|bytes| *bytes as f64 / rows.max(1.0))
    };
    let bytes = width(left, left_rows).zip(width(right, right_rows)).map(|(l, r)| match join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => l * estimated,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => r * estimated,
        _ => (l + r) * estimated,
    });
    let mut joined = ExtendedStatistics::new(Statistics {
        num_rows: Precision::Inexact(estimated.round() as usize),
        total_byte_size: bytes.map_or(Precision::Absent, |bytes| Precision::Inexact(bytes.round() as usize)),
        column_statistics: Statistics::unknown_column(&plan.schema()),
    });
    joined.set_extension(BaseRows(left_base.max(right_base)));
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_keep_the_share_of_their_dimension() {
        assert_eq!(estimate(JoinType::Inner, 2_556.0, 6_000_000.0, 2_556.0, 6_000_000.0), 6_000_000.0);
        assert_eq!(estimate(JoinType::Inner, 6_000_000.0, 6_000.0, 6_000_000.0, 30_000.0), 1_200_000.0);
        assert_eq!(estimate(JoinType::Inner, 1_200_000.0, 400.0, 6_000_000.0, 2_000.0), 240_000.0);
    }

    #[test]
    fn outer_and_semi_joins_stay_in_their_bounds() {
        assert_eq!(estimate(JoinType::Left, 100.0, 1.0, 100.0, 1_000.0), 100.0);
        assert_eq!(estimate(JoinType::RightSemi, 100.0, 10.0, 100.0, 10.0), 10.0);
        assert_eq!(estimate(JoinType::LeftAnti, 100.0, 5.0, 100.0, 10.0), 50.0);
        assert_eq!(estimate(JoinType::Inner, 0.0, 0.0, 0.0, 0.0), 0.0);
    }
}
