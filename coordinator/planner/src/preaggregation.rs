//! Where a query's own aggregation makes the merge of an AGGREGATE or UNIQUE table's rows redundant.
//!
//! Such a scan may return the rows of a key one by one if what is above it gives the same answer for them as for the one
//! row that they are merged to: it groups by key columns, filters by key columns, and looks at each value column only
//! through the aggregate function that the column itself is declared with. These are StarRocks' rules, and `EXPLAIN` gives
//! its reasons where one does not hold. What is not known to be right leaves the merge on.

mod argument;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use tarn_proto::DataType;
use tarn_scan::{Preaggregation, TabletSource};

use argument::{Argument, UNKNOWN};

/// Decides for every scan whether it merges. Must run last: it looks at the filters that others pushed into scans.
#[derive(Debug)]
pub(crate) struct Preaggregate;

impl PhysicalOptimizerRule for Preaggregate {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        decide(plan, &Above::Other)
    }

    fn name(&self) -> &'static str {
        "preaggregate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What is done with the rows of a node, as far as that matters.
enum Above {
    /// An aggregation, and nothing else between that would tell merged from unmerged rows.
    Aggregation(Aggregation),
    /// A join.
    Join,
    /// Anything else.
    Other,
}

/// An aggregation, and filters before it, over the columns of a node below it.
#[derive(Clone, Default)]
struct Aggregation {
    groups: Vec<Arc<dyn PhysicalExpr>>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    calls: Vec<Call>,
}

/// A call of an aggregate function.
#[derive(Clone)]
struct Call {
    function: String,
    distinct: bool,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
}

impl Aggregation {
    fn of(node: &AggregateExec) -> Self {
        let calls = node.aggr_expr().iter().map(|call| Call {
            function: call.fun().name().to_ascii_uppercase(),
            distinct: call.is_distinct(),
            arguments: call.expressions(),
        });
        Self {
            groups: node.group_expr().input_exprs(),
            filters: node.filter_expr().iter().flatten().cloned().collect(),
            calls: calls.collect(),
        }
    }

    /// The same over the columns that `below` gives for each of the present ones.
    fn over(&self, below: impl Fn(&Column) -> Option<Arc<dyn PhysicalExpr>>) -> Option<Self> {
        let all = |exprs: &[Arc<dyn PhysicalExpr>]| -> Option<Vec<_>> {
            exprs.iter().map(|expr| replaced(expr, &below)).collect()
        };
        let calls = self.calls.iter().map(|call| Some(Call { arguments: all(&call.arguments)?, ..call.clone() }));
        Some(Self { groups: all(&self.groups)?, filters: all(&self.filters)?, calls: calls.collect::<Option<_>>()? })
    }
}

fn replaced(
    expr: &Arc<dyn PhysicalExpr>,
    below: &impl Fn(&Column) -> Option<Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let mut complete = true;
    let replaced = expr
        .clone()
        .transform(|node| {
            Ok(match node.downcast_ref::<Column>().map(below) {
                None => Transformed::no(node),
                Some(Some(expr)) => Transformed::yes(expr),
                Some(None) => {
                    complete = false;
                    Transformed::no(node)
                }
            })
        })
        .data()
        .ok()?;
    complete.then_some(replaced)
}

fn decide(plan: Arc<dyn ExecutionPlan>, above: &Above) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(source) = TabletSource::of(plan.as_ref()) {
        if !source.schema().model.merges_on_read() {
            return Ok(plan);
        }
        let decision = match reason_to_merge(source, above, plan.fetch()) {
            Some(reason) => Preaggregation::Off(reason.into()),
            None => Preaggregation::On,
        };
        return Ok(source.with_preaggregation(decision));
    }
    let below = below(plan.as_ref(), above);
    let children = plan.children().into_iter().map(|child| decide(child.clone(), &below));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children)
}

/// What is done with the rows of a node's inputs.
fn below(node: &dyn ExecutionPlan, above: &Above) -> Above {
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return match aggregate.mode().input_mode() {
            AggregateInputMode::Raw => Above::Aggregation(Aggregation::of(aggregate)),
            AggregateInputMode::Partial => Above::Other,
        };
    }
    if node.is::<HashJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
    {
        return Above::Join;
    }
    let aggregation = match above {
        Above::Aggregation(aggregation) => aggregation,
        Above::Join if passes(node) || node.is::<ProjectionExec>() || node.is::<FilterExec>() => return Above::Join,
        Above::Join | Above::Other => return Above::Other,
    };
    if node.fetch().is_some() {
        // Of unmerged rows, others come first.
        return Above::Other;
    }
    through(node, aggregation).map_or(Above::Other, Above::Aggregation)
}

/// The aggregation over the input of a node that returns its input's rows, all or some of them. `None` for other nodes.
fn through(node: &dyn ExecutionPlan, aggregation: &Aggregation) -> Option<Aggregation> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        return aggregation.over(|column| projection.expr().get(column.index()).map(|e| e.expr.clone()));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let input = filter.input().schema();
        let mut aggregation = aggregation.over(|column| {
            let index = match filter.projection() {
                Some(projection) => *projection.get(column.index())?,
                None => column.index(),
            };
            Some(Arc::new(Column::new(input.fields().get(index)?.name(), index)))
        })?;
        aggregation.filters.push(filter.predicate().clone());
        return Some(aggregation);
    }
    passes(node).then(|| aggregation.clone())
}

/// Whether a node returns its input's rows as they are.
fn passes(node: &dyn ExecutionPlan) -> bool {
    node.is::<RepartitionExec>() || node.is::<CoalescePartitionsExec>() || node.is::<CooperativeExec>()
}

/// Why a scan must merge, in StarRocks' words. `None` if the answer is the same without.
fn reason_to_merge(source: &TabletSource, above: &Above, limit: Option<usize>) -> Option<String> {
    let aggregation = match above {
        Above::Aggregation(aggregation) if limit.is_none() => aggregation,
        Above::Join => return Some("Has can not pre-aggregation Join".to_owned()),
        _ => return Some("None aggregate function".to_owned()),
    };
    let schema = source.schema();
    let table_column = |column: &Column| {
        let position = *source.projection().get(column.index())?;
        Some(Arc::new(Column::new(&schema.columns.get(position)?.name, position)) as Arc<dyn PhysicalExpr>)
    };
    let Some(Aggregation { groups, filters, calls }) = aggregation.over(table_column) else {
        return Some("The column of aggregate function isn't bound ".to_owned() + source.table());
    };
    let is_key = |column: &Column| schema.columns.get(column.index()).is_some_and(|c| schema.keys.contains(&c.id));
    let over_keys = |expr: &Arc<dyn PhysicalExpr>| collect_columns(expr).iter().all(is_key);
    if !filters.iter().chain(source.filters()).all(over_keys) {
        return Some("Predicates include the value column".to_owned());
    }
    if !groups.iter().all(over_keys) {
        return Some("Group columns isn't Key column".to_owned());
    }
    if filters.iter().chain(&groups).any(is_volatile) {
        return Some("Expressions aren't deterministic".to_owned());
    }
    calls.iter().find_map(|call| reason_of_call(source, call))
}

/// Why a call of an aggregate function, over the table's columns, needs merged rows.
fn reason_of_call(source: &TabletSource, call: &Call) -> Option<String> {
    let Call { function, distinct, arguments } = call;
    let schema = source.schema();
    let [argument] = &arguments[..] else {
        return Some("Aggregate function has more than one parameter".to_owned());
    };
    let argument = match Argument::of(argument, schema) {
        Ok(argument) => argument,
        // It is `count(*)`, which has no parameter where this reason comes from.
        Err(_) if function == "COUNT" && collect_columns(argument).is_empty() => {
            return Some("Aggregate function has more than one parameter".to_owned());
        }
        Err(reason) => return Some(reason.to_owned()),
    };
    let column = |position: &usize| schema.columns.get(*position);
    let is_key = |position: &usize| column(position).is_some_and(|c| schema.keys.contains(&c.id));
    if !argument.conditions.iter().all(is_key) {
        return Some("The column of aggregate function isn't key".to_owned());
    }
    let only_once = matches!(function.as_str(), "MIN" | "MAX");
    if argument.returns.is_empty() && !only_once && function != "SUM" {
        // A choice among zero and NULL, which others count.
        return Some(UNKNOWN.to_owned());
    }
    for position in &argument.returns {
        if is_key(position) {
            // A value that stands there more often changes nothing.
            if !(only_once || *distinct || function == "APPROX_DISTINCT") {
                return Some(format!("The key column don't support aggregate function: {function}"));
            }
            continue;
        }
        let aggregation = column(position).and_then(|c| c.aggregation).map_or("REPLACE", |a| a.name());
        let function = if *distinct && !only_once { format!("MULTI_DISTINCT_{function}") } else { function.clone() };
        if function != aggregation {
            return Some(format!("Aggregate Operator not match: {function} <--> {aggregation}"));
        }
        if only_once && column(position).is_some_and(|c| matches!(c.data_type, DataType::Float | DataType::Double)) {
            // Which of NaN and a number it returns depends on the order of rows.
            return Some(format!("{function} of a FLOAT or DOUBLE column may see NaN"));
        }
    }
    None
}
