//! The common type of operands, where DataFusion's choice loses digits or cannot hold the values.
//!
//! | meet | compared as | DataFusion's choice |
//! |---|---|---|
//! | FLOAT or DOUBLE, DECIMAL | DOUBLE | DECIMAL(30,15), in which a DOUBLE of 123.45 is not 123.45 |
//! | DATETIME, DATE or text or other times | microseconds | nanoseconds, which end in the year 2262 |
//!
//! Runs before the analyzer, so that a plan's schema says what its rows will be.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, cast, try_cast};

/// Functions whose result is one of their arguments.
const CHOICES: [&str; 6] = ["coalesce", "greatest", "ifnull", "least", "nullif", "nvl"];

/// Gives operands that are compared, and the branches of a choice, a type that holds them all.
pub(crate) fn coerce(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(coerce_node).map(|plan| plan.data)
}

fn coerce_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let coerced = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let coerced = expr.transform_up(|expr| Ok(coerce_expr(expr, &schema)))?;
        Ok(coerced.update_data(|expr| name.restore(expr)))
    })?;
    // Types of inputs may have changed too.
    coerced.map_data(LogicalPlan::recompute_schema)
}

fn coerce_expr(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            meet(vec![&mut *binary.left, &mut *binary.right], schema)
        }
        Expr::Between(between) => meet(vec![&mut *between.expr, &mut *between.low, &mut *between.high], schema),
        Expr::InList(list) => {
            let operands = std::iter::once(&mut *list.expr).chain(list.list.iter_mut());
            meet(operands.collect(), schema)
        }
        Expr::Case(case) => {
            let mut compared: Vec<&mut Expr> = case.expr.iter_mut().map(|e| &mut **e).collect();
            let mut results: Vec<&mut Expr> = case.else_expr.iter_mut().map(|e| &mut **e).collect();
            let is_simple = !compared.is_empty();
            for (when, then) in &mut case.when_then_expr {
                if is_simple {
                    compared.push(&mut **when);
                }
                results.push(&mut **then);
            }
            let compared = meet(compared, schema);
            floats(results, schema) || compared
        }
        Expr::ScalarFunction(function) if CHOICES.contains(&function.func.name()) => {
            floats(function.args.iter_mut().collect(), schema)
        }
        Expr::ScalarFunction(function) if function.func.name() == "date_trunc" && function.args.len() == 2 => {
            match function.args[1].get_type(schema) {
                Ok(DataType::Date32) => {
                    function.args[1] = cast(std::mem::take(&mut function.args[1]), micros());
                    expr = cast(expr, DataType::Date32);
                    true
                }
                Ok(t) if is_text(&t) => {
                    function.args[1] = try_cast(std::mem::take(&mut function.args[1]), micros());
                    true
                }
                _ => false,
            }
        }
        _ => false,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn meet(operands: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types = types_of(&operands, schema);
    if types.iter().flatten().any(|t| matches!(t, DataType::Timestamp(TimeUnit::Microsecond, None))) {
        return times(operands, &types);
    }
    floats(operands, schema)
}

/// Makes what meets a DATETIME one too.
fn times(operands: Vec<&mut Expr>, types: &[Option<DataType>]) -> bool {
    let mut changed = false;
    for (operand, data_type) in operands.into_iter().zip(types) {
        let Some(data_type) = data_type else { continue };
        let expr = match data_type {
            t if is_text(t) => try_cast(std::mem::take(operand), micros()),
            DataType::Date32 | DataType::Date64 => cast(std::mem::take(operand), micros()),
            DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
                cast(std::mem::take(operand), DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            _ => continue,
        };
        *operand = expr;
        changed = true;
    }
    changed
}

/// Makes decimals among the operands DOUBLE if one of the others is a float.
fn floats(operands: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types = types_of(&operands, schema);
    let is_decimal = |t: &DataType| matches!(t, DataType::Decimal128(..) | DataType::Decimal256(..));
    if !types.iter().flatten().any(DataType::is_floating) || !types.iter().flatten().any(is_decimal) {
        return false;
    }
    for (operand, data_type) in operands.into_iter().zip(types) {
        if data_type.as_ref().is_some_and(is_decimal) {
            *operand = cast(std::mem::take(operand), DataType::Float64);
        }
    }
    true
}

fn types_of(operands: &[&mut Expr], schema: &DFSchema) -> Vec<Option<DataType>> {
    operands.iter().map(|operand| operand.get_type(schema).ok()).collect()
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

const fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{col, in_list, lit};

    use super::*;

    fn coerced(expr: Expr) -> String {
        let schema = Schema::new(vec![
            Field::new("v", DataType::Float64, true),
            Field::new("d", DataType::Decimal128(10, 2), true),
            Field::new("t", micros(), true),
        ]);
        let schema = DFSchema::try_from(schema).unwrap();
        coerce_expr(expr, &schema).data.to_string()
    }

    #[test]
    fn a_decimal_is_a_double_beside_a_double_only() {
        let price = || lit(ScalarValue::Decimal128(Some(12_345), 5, 2));
        assert_eq!(coerced(col("v").eq(price())), "v = CAST(Decimal128(123.45,5,2) AS Float64)");
        assert_eq!(coerced(col("d").eq(price())), "d = Decimal128(123.45,5,2)");
        assert_eq!(
            coerced(in_list(col("v"), vec![price(), lit(1i64)], false)),
            "v IN ([CAST(Decimal128(123.45,5,2) AS Float64), Int64(1)])"
        );
    }

    #[test]
    fn what_meets_a_datetime_is_one_in_microseconds() {
        let compared = coerced(col("t").lt(lit("2999-01-01")));
        assert!(compared.contains("TRY_CAST") && !compared.contains("ns"), "{compared}");
        let date = coerced(lit(ScalarValue::Date32(Some(1))).gt(col("t")));
        assert!(date.starts_with("CAST("), "{date}");
        assert_eq!(coerced(col("t").eq(col("t"))), "t = t");
    }
}
