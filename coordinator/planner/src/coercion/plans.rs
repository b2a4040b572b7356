//! Operands that stand in plans of their own: the inputs of a UNION, the keys of a join (which INTERSECT and EXCEPT are
//! too), and the rows of a subquery.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, JoinConstraint, LogicalPlan, Projection, Subquery, Union};

use super::meet::{bring, chosen, compared, spoken};

/// Gives the columns of a UNION's inputs one type each.
pub(super) fn union(union: Union) -> Result<LogicalPlan> {
    let Union { inputs, schema } = union;
    let targets: Vec<Option<DataType>> = (0..schema.fields().len())
        .map(|column| {
            let types = inputs.iter().map(|input| input.schema().fields().get(column).map(|f| f.data_type().clone()));
            chosen(&types.map(|data_type| (data_type, None)).collect::<Vec<_>>())
        })
        .collect();
    let inputs = inputs.into_iter().map(|input| project(input, &targets)).collect::<Result<Vec<_>>>()?;
    let same = schema.fields().iter().zip(inputs[0].schema().fields()).all(|(a, b)| a.data_type() == b.data_type());
    let union = if same { Union { inputs, schema } } else { Union::try_new_with_loose_types(inputs)? };
    Ok(LogicalPlan::Union(union))
}

/// A plan whose columns have the target types, where there are some.
fn project(plan: Arc<LogicalPlan>, targets: &[Option<DataType>]) -> Result<Arc<LogicalPlan>> {
    let mut changed = false;
    let mut columns = Vec::with_capacity(plan.schema().fields().len());
    for ((qualifier, field), target) in plan.schema().iter().zip(targets) {
        let column = Expr::Column((qualifier, field).into());
        let Some(target) = target else {
            columns.push(column);
            continue;
        };
        let brought = bring(column.clone(), field.data_type(), target, None)?;
        columns.push(if brought == column {
            column
        } else {
            changed = true;
            brought.alias_qualified(qualifier.cloned(), field.name())
        });
    }
    if !changed {
        return Ok(plan);
    }
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, plan)?)))
}

/// Gives both keys of each pair one type. A join by USING needs its keys to be columns.
pub(super) fn join(mut join: Join) -> Result<LogicalPlan> {
    if join.join_constraint == JoinConstraint::On {
        for (left, right) in &mut join.on {
            let types = [left.get_type(join.left.schema()).ok(), right.get_type(join.right.schema()).ok()];
            let said = [spoken(left), spoken(right)];
            let known: Vec<_> = types.into_iter().zip(said).collect();
            let Some(target) = compared(&known) else { continue };
            for (key, (from, said)) in [left, right].into_iter().zip(known) {
                if let Some(from) = from {
                    *key = bring(std::mem::take(key), &from, &target, said.as_ref())?;
                }
            }
        }
    }
    Ok(LogicalPlan::Join(join))
}

/// Gives an expression and the rows of the subquery that it is compared with one type.
pub(super) fn subquery(expr: &mut Expr, rows: &mut Subquery, schema: &DFSchema) -> Result<bool> {
    let plan = rows.subquery.as_ref();
    // The analyzer refuses other subqueries.
    if plan.schema().fields().len() != 1 {
        return Ok(false);
    }
    let row_type = plan.schema().field(0).data_type().clone();
    let Ok(expr_type) = expr.get_type(schema) else { return Ok(false) };
    let known = [(Some(expr_type.clone()), spoken(expr)), (Some(row_type.clone()), None)];
    let Some(target) = compared(&known) else { return Ok(false) };
    *expr = bring(std::mem::take(expr), &expr_type, &target, known[0].1.as_ref())?;
    let (qualifier, field) = plan.schema().qualified_field(0);
    let named = |expr: Expr| expr.alias_qualified(qualifier.cloned(), field.name());
    // A projection stays the topmost node, where the optimizer looks for it.
    let brought = match plan {
        LogicalPlan::Projection(projection) => {
            let row = projection.expr[0].clone().unalias();
            let brought = named(bring(row, &row_type, &target, None)?);
            Projection::try_new(vec![brought], projection.input.clone())?
        }
        _ => {
            let row = Expr::Column((qualifier, field).into());
            let brought = named(bring(row, &row_type, &target, None)?);
            Projection::try_new(vec![brought], rows.subquery.clone())?
        }
    };
    rows.subquery = Arc::new(LogicalPlan::Projection(brought));
    Ok(true)
}
