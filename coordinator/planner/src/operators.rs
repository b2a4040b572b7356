//! Operators, and functions that DataFusion plans like operators, that mean something else here than there.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Arithmetic of MySQL and StarRocks: `/` of integers is a DOUBLE, dividing by zero is NULL, and sums, differences and
/// products of small integers are of the next larger type, which holds them.
#[derive(Debug)]
pub(crate) struct Arithmetic;

impl ExprPlanner for Arithmetic {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        match op {
            BinaryOperator::Divide => {
                let integers = is_integer(&left, schema) && is_integer(&right, schema);
                let left = if integers { cast(left, DataType::Float64) } else { left };
                Ok(PlannerResult::Planned(left / unless_zero(right)))
            }
            BinaryOperator::Modulo => Ok(PlannerResult::Planned(left % unless_zero(right))),
            BinaryOperator::MyIntegerDivide => {
                let quotient = cast(left, DataType::Int64) / unless_zero(cast(right, DataType::Int64));
                Ok(PlannerResult::Planned(quotient))
            }
            BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply => {
                let (left, right) = match larger(&left, &right, schema) {
                    Some(data_type) => (cast(left, data_type.clone()), cast(right, data_type)),
                    None => (left, right),
                };
                Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
            }
            op => Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        }
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(tarn_functions::substr().call(args)))
    }
}

fn is_integer(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|t| t.is_integer() || matches!(t, DataType::Decimal128(_, 0)) || t.is_null())
}

/// The type after that of two integers, unless theirs is the largest already.
fn larger(left: &Expr, right: &Expr, schema: &DFSchema) -> Option<DataType> {
    const TYPES: [DataType; 4] = [DataType::Int8, DataType::Int16, DataType::Int32, DataType::Int64];
    let place = |expr: &Expr| expr.get_type(schema).ok().and_then(|t| TYPES.iter().position(|known| *known == t));
    TYPES.get(place(left)?.max(place(right)?) + 1).cloned()
}

/// The divisor, NULL where it is zero. A constant that is not zero stays as it is.
fn unless_zero(divisor: Expr) -> Expr {
    match &divisor {
        Expr::Literal(value, _)
            if value
                .cast_to(&DataType::Float64)
                .is_ok_and(|v| v != datafusion::common::ScalarValue::Float64(Some(0.0))) =>
        {
            divisor
        }
        _ => nullif(divisor, lit(0)),
    }
}
