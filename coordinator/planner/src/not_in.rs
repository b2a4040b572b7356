//! `IN (subquery)` and `NOT IN (subquery)` where NULL matters.
//!
//! As a condition of its own, DataFusion plans `NOT IN` as an anti-join that knows NULL, if the left side is a column and
//! the subquery stands alone. Elsewhere it plans a mark join, whose mark is true or false: a NULL among the subquery's
//! rows, or on the left, counts as no match, where SQL says unknown. A filter treats unknown as false, and below an odd
//! number of `NOT`s that is the same as true. So here the cases of unknown are added to such a predicate:
//!
//! ```text
//!  x NOT IN (s) OR ..        x NOT IN (s) AND NOT (unknown) OR ..       unknown: s has a NULL, or x is NULL and s has rows
//!  NOT (x IN (s) OR ..)      NOT (x IN (s) OR unknown OR ..)
//!  x NOT IN (s of x's row)   NOT EXISTS (s WHERE y = x OR y IS NULL OR x IS NULL)
//! ```
//!
//! Within other expressions (`CASE`, `IS NULL`, `=`) such a test is refused.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, plan_err};
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
        Expr::Not(inner) if matches!(&*inner, Expr::InSubquery(test) if is_anti_join(test)) => Ok(Expr::Not(inner)),
        Expr::InSubquery(test) if is_anti_join(&test) => Ok(Expr::InSubquery(test)),
        part => within(part, true, schema),
    }
}

/// Whether DataFusion's anti-join is right for the test.
fn is_anti_join(test: &InSubquery) -> bool {
    test.subquery.outer_ref_columns.is_empty() && matches!(*test.expr, Expr::Column(_))
}

/// A part of a condition. `positive`: unknown counts as false, otherwise as true.
fn within(expr: Expr, positive: bool, schema: &DFSchema) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (within(*left, positive, schema)?, within(*right, positive, schema)?);
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(test) => {
                within(Expr::InSubquery(InSubquery { negated: !test.negated, ..test }), positive, schema)?
            }
            inner => not(within(inner, !positive, schema)?),
        },
        Expr::InSubquery(test) if test.negated == positive => match unknown(&test, schema)? {
            None => Expr::InSubquery(test),
            Some(_) if positive && !test.subquery.outer_ref_columns.is_empty() => no_match(test, schema)?,
            Some(unknown) if positive => Expr::InSubquery(test).and(not(unknown)),
            Some(unknown) => Expr::InSubquery(test).or(unknown),
        },
        Expr::InSubquery(test) => Expr::InSubquery(test),
        other => {
            if other.exists(|part| Ok(matches!(part, Expr::InSubquery(test) if unknown(test, schema)?.is_some())))? {
                return plan_err!(
                    "IN (subquery) within `{}` is not available where NULL may be on either side: use EXISTS, or filter \
                     the NULLs out",
                    other.variant_name()
                );
            }
            other
        }
    })
}

/// Whether an `IN` that found no match is unknown. `None` if it never is.
fn unknown(test: &InSubquery, schema: &DFSchema) -> Result<Option<Expr>> {
    let Subquery { subquery, .. } = &test.subquery;
    let rows = |plan: Arc<LogicalPlan>| Expr::Exists(Exists::new(test.subquery.with_plan(plan), false));
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

/// A correlated `NOT IN` as the absence of rows that match or may match.
fn no_match(test: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let InSubquery { expr, subquery, .. } = test;
    let mut outer = subquery.outer_ref_columns.clone();
    let left = expr
        .transform(|part| match part {
            Expr::Column(column) => {
                let (_, field) = schema.qualified_field_from_column(&column)?;
                let reference = Expr::OuterReferenceColumn(Arc::clone(field), column);
                outer.push(reference.clone());
                Ok(Transformed::yes(reference))
            }
            other => Ok(Transformed::no(other)),
        })?
        .data;
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    let right = Expr::Column((qualifier, field).into());
    let matches = right.clone().eq(left.clone()).or(right.is_null()).or(left.is_null());
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone()).filter(matches)?.build()?;
    let subquery = Subquery { subquery: plan.into(), outer_ref_columns: outer, spans: subquery.spans };
    Ok(Expr::Exists(Exists::new(subquery, true)))
}
