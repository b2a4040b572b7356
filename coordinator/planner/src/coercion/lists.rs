//! IN lists that DataFusion's simplifier must not merge. It takes lists over one operand for sets: what two lists have in
//! common is empty or not by the look of their elements, and an empty list is false where NULL makes it unknown.
//!
//! A list that holds a NULL or anything but constants is therefore made a call of `is_in`, and so is the second of two
//! lists over an operand that may be NULL. Filters drop what is unknown, so that there, outside of NOT, lists without NOT
//! may be merged.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, not};
use tarn_functions::is_in;

/// Separates the lists of an expression, which keeps rows if it is a `filter`.
pub(super) fn separate(expr: Expr, schema: &DFSchema, filter: bool) -> Result<Transformed<Expr>> {
    let filter = filter && is_boolean(&expr);
    expr.transform_down(|expr| {
        if is_boolean(&expr) {
            let condition = condition(expr, schema, filter, &mut Vec::new())?;
            return Ok(Transformed::new(condition.data, condition.transformed, TreeNodeRecursion::Jump));
        }
        Ok(match expr {
            Expr::InList(list) if !is_of_constants(&list.list) => Transformed::yes(call(list)),
            other => Transformed::no(other),
        })
    })
}

fn is_boolean(expr: &Expr) -> bool {
    matches!(expr, Expr::Not(_) | Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }))
}

/// Separates the lists that AND, OR and NOT connect. `seen` are the operands of those before.
fn condition(expr: Expr, schema: &DFSchema, filter: bool, seen: &mut Vec<Expr>) -> Result<Transformed<Expr>> {
    if let Some(list) = as_list(&expr) {
        let alone = filter && !list.negated;
        if !is_of_constants(&list.list) || (!alone && list.expr.nullable(schema)? && seen.contains(&list.expr)) {
            return Ok(Transformed::yes(call(list)));
        }
        if !alone {
            seen.push(*list.expr);
        }
        return Ok(Transformed::no(expr));
    }
    if is_boolean(&expr) {
        let filter = filter && !matches!(expr, Expr::Not(_));
        return expr.map_children(|child| condition(child, schema, filter, seen));
    }
    separate(expr, schema, false)
}

/// An IN list, or what the simplifier makes one of: `k = 1 OR k = 2`.
fn as_list(expr: &Expr) -> Option<InList> {
    match expr {
        Expr::InList(list) => Some(list.clone()),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut list, more) = (element(left)?, element(right)?);
            if list.expr != more.expr || list.negated || more.negated {
                return None;
            }
            list.list.extend(more.list);
            Some(list)
        }
        _ => None,
    }
}

fn element(expr: &Expr) -> Option<InList> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(_), Expr::Literal(..)) => Some(InList::new(left.clone(), vec![*right.clone()], false)),
            (Expr::Literal(..), Expr::Column(_)) => Some(InList::new(right.clone(), vec![*left.clone()], false)),
            _ => None,
        },
        other => as_list(other).filter(|list| matches!(*list.expr, Expr::Column(_))),
    }
}

fn is_of_constants(list: &[Expr]) -> bool {
    list.iter().all(|value| matches!(value, Expr::Literal(value, _) if !value.is_null()))
}

fn call(list: InList) -> Expr {
    let found = is_in(*list.expr, list.list);
    if list.negated { not(found) } else { found }
}
