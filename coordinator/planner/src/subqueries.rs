//! Subqueries whose meaning DataFusion's rewriting would change.
//!
//! - A subquery that stands for a value becomes a join. If it has several rows, rows would be multiplied: it is made to
//!   fail instead.
//! - `x > ANY (subquery)` and its kin become a filter within the subquery. If both have a column of one name, the filter
//!   would compare that column with itself: the subquery gets a name of its own.
//! - `EXISTS (SELECT count(*) ..)` is true, because there is a row without groups too. As a join it would not be.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};

/// Makes the plan's subqueries safe to rewrite.
pub(crate) fn guard(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut compared = 0;
    plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let guarded = expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(subquery) if may_have_rows(&subquery) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(single(subquery)?)))
                }
                Expr::SetComparison(mut comparison) => {
                    compared += 1;
                    let plan = comparison.subquery.subquery.as_ref().clone();
                    let named = LogicalPlanBuilder::from(plan).alias(format!("__compared_{compared}"))?.build()?;
                    comparison.subquery = comparison.subquery.with_plan(named.into());
                    Ok(Transformed::yes(Expr::SetComparison(comparison)))
                }
                Expr::Exists(exists) if has_a_row(&exists.subquery.subquery) => {
                    Ok(Transformed::yes(lit(!exists.negated)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(guarded.update_data(|expr| name.restore(expr)))
        })
    })
    .map(|plan| plan.data)
}

/// Whether it may have more than one row. DataFusion itself refuses a correlated one that may.
fn may_have_rows(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty() && subquery.subquery.max_rows().is_none_or(|rows| rows > 1)
}

/// Whether it has a row whatever its tables hold.
fn has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Sort(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().into_iter().all(has_a_row)
        }
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

fn single(subquery: Subquery) -> Result<Subquery> {
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    let column = Expr::Column((qualifier, field).into());
    let name = field.name().clone();
    let value = tarn_functions::single_value().call(vec![column]).alias(name);
    let none: [Expr; 0] = [];
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone()).aggregate(none, [value])?.build()?;
    Ok(subquery.with_plan(plan.into()))
}
