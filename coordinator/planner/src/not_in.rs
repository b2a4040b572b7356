//! `NOT IN (subquery)` within `OR` and `NOT`.
//!
//! As a condition of its own, DataFusion plans it as an anti-join that knows NULL. Elsewhere it plans a mark join, whose
//! mark is true or false: a NULL among the subquery's rows, or on the left, counts as no match, where SQL says unknown.
//! A filter treats unknown as false, and below an odd number of `NOT`s that is the same as true. So here the cases of
//! unknown are added to such a predicate, each as a subquery of its own:
//!
//! ```text
//!  x NOT IN (s) OR ..       x NOT IN (s) AND NOT (unknown) OR ..       unknown: s has a NULL, or x is NULL and s has rows
//!  NOT (x IN (s) OR ..)     NOT (x IN (s) OR unknown OR ..)
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{BinaryExpr, Exists, InSubquery};
use datafusion::logical_expr::utils::{disjunction, merge_schema};
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, not};

/// Makes the filters of a plan agree with SQL's three-valued logic.
pub(crate) fn sound(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let schema = merge_schema(&[input.as_ref()]);
            let predicate = condition(predicate, &schema)?;
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, input)?)))
        }
        node => Ok(Transformed::no(node)),
    })
    .map(|plan| plan.data)
}

/// A condition of which every conjunct must be true.
fn condition(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Ok(condition(*left, schema)?.and(condition(*right, schema)?))
        }
        Expr::Not(inner) if matches!(*inner, Expr::InSubquery(_)) => Ok(Expr::Not(inner)),
        Expr::InSubquery(_) => Ok(expr),
        part => within(part, true, schema),
    }
}

/// A part of a condition. `positive`: unknown counts as false, otherwise as true.
fn within(expr: Expr, positive: bool, schema: &DFSchema) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (within(*left, positive, schema)?, within(*right, positive, schema)?);
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::Not(inner) => not(within(*inner, !positive, schema)?),
        Expr::InSubquery(test) if test.negated == positive => match unknown(&test, schema)? {
            None => Expr::InSubquery(test),
            Some(unknown) if positive => Expr::InSubquery(test).and(not(unknown)),
            Some(unknown) => Expr::InSubquery(test).or(unknown),
        },
        other => other,
    })
}

/// Whether an `IN` that found no match is unknown. `None` if it never is.
fn unknown(test: &InSubquery, schema: &DFSchema) -> Result<Option<Expr>> {
    let Subquery { subquery, outer_ref_columns, spans } = &test.subquery;
    let rows = |plan: Arc<LogicalPlan>| {
        let outer_ref_columns = outer_ref_columns.clone();
        Expr::Exists(Exists::new(Subquery { subquery: plan, outer_ref_columns, spans: spans.clone() }, false))
    };
    let mut cases = Vec::new();
    let (qualifier, field) = subquery.schema().qualified_field(0);
    if field.is_nullable() {
        let null = Expr::Column((qualifier, field).into()).is_null();
        cases.push(rows(Arc::new(LogicalPlanBuilder::from(subquery.clone()).filter(null)?.build()?)));
    }
    if test.expr.nullable(schema)? {
        cases.push(test.expr.clone().is_null().and(rows(subquery.clone())));
    }
    Ok(disjunction(cases))
}
