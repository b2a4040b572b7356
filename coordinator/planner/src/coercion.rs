//! The common type of operands, where DataFusion's choice loses digits or cannot hold the values, and casts whose results
//! differ from DataFusion's.
//!
//! | meet | compared as | DataFusion's choice |
//! |---|---|---|
//! | FLOAT or DOUBLE, DECIMAL | DOUBLE | DECIMAL(30,15), in which a DOUBLE of 123.45 is not 123.45 |
//! | DATETIME, DATE or text or other times | microseconds | nanoseconds, which end in the year 2262 |
//! | DATE, text or digits | days, microseconds if a text has a time of day | days |
//! | DATE plus an interval with a time of day | microseconds | days |
//! | a key of a MAP, its keys | the keys' type | the literal's type |
//!
//! | cast | here | DataFusion |
//! |---|---|---|
//! | DATETIME to text | `2024-01-01 10:00:00` | `2024-01-01T10:00:00` |
//! | text to DATE or DATETIME | all of MySQL's spellings | ISO 8601 |
//! | a number to one with fewer digits | stays where it is | is moved to the other side of a comparison: `cast(5.4 as int) = 5` becomes `5.4 = 5` |
//!
//! Runs before the analyzer, so that a plan's schema says what its rows will be. What has run through it does not change
//! if it runs again.

mod lists;
mod meet;
mod plans;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::functions::{UDFCoercionExt, fields_with_udf};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, cast};
use tarn_functions::{AS_CAST, as_cast, text_to_date, text_to_datetime};

use meet::{choose, compare, is_date, is_datetime, is_text, literal, micros, spoken, text_of};

/// Functions whose result is one of their arguments.
const CHOICES: [&str; 5] = ["coalesce", "greatest", "ifnull", "least", "nvl"];

/// Gives operands that are compared, and the branches of a choice, a type that holds them all.
pub(crate) fn coerce(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(coerce_node).map(|plan| plan.data)
}

fn coerce_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Join(join) => plans::join(join)?,
        LogicalPlan::Union(union) => plans::union(union)?,
        plan => plan,
    };
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let filter = matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
    let coerced = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let coerced = expr.transform_up(|expr| coerce_expr(expr, &schema))?;
        let coerced = coerced.transform_data(|expr| lists::separate(expr, &schema, filter))?;
        Ok(coerced.update_data(|expr| name.restore(expr)))
    })?;
    // Types of inputs may have changed too.
    coerced.map_data(LogicalPlan::recompute_schema)
}

fn coerce_expr(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let changed = match &mut expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            compare(vec![&mut *binary.left, &mut *binary.right], schema)?
        }
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::Plus | Operator::Minus) => add(binary, schema),
        Expr::BinaryExpr(binary) if binary.op == Operator::StringConcat => {
            texts([&mut *binary.left, &mut *binary.right], schema)
        }
        Expr::Like(like) => texts([&mut *like.expr, &mut *like.pattern], schema),
        Expr::Between(between) => compare(vec![&mut *between.expr, &mut *between.low, &mut *between.high], schema)?,
        Expr::InList(list) => {
            let operands = std::iter::once(&mut *list.expr).chain(list.list.iter_mut());
            compare(operands.collect(), schema)?
        }
        Expr::InSubquery(test) => plans::subquery(&mut test.expr, &mut test.subquery, schema)?,
        Expr::SetComparison(test) => plans::subquery(&mut test.expr, &mut test.subquery, schema)?,
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
            let compared = compare(compared, schema)?;
            choose(results, schema)? || compared
        }
        Expr::Negative(operand) => match operand.get_type(schema).ok().and_then(|t| larger(&t)) {
            // Not a second time.
            Some(larger) if !matches!(**operand, Expr::Cast(_)) => {
                **operand = cast(std::mem::take(&mut **operand), larger);
                true
            }
            _ => false,
        },
        Expr::Cast(conversion) => {
            let (said, to) = (spoken(&conversion.expr), conversion.field.data_type().clone());
            match conversion.expr.get_type(schema) {
                Ok(from) if is_text(&from) && (is_date(&to) || is_datetime(&to)) && said.is_some() => {
                    if let Some(said) = said {
                        expr = literal(&said, &to)?;
                    }
                    true
                }
                Ok(from) if is_text(&to) => match written(&mut conversion.expr, &from, &to) {
                    Some(text) => {
                        expr = text;
                        true
                    }
                    None => false,
                },
                Ok(from) if loses_digits(&from, &to) => {
                    expr = as_cast(expr);
                    true
                }
                _ => false,
            }
        }
        Expr::TryCast(conversion) => {
            let to = conversion.field.data_type().clone();
            let from = conversion.expr.get_type(schema);
            match from.as_ref().ok().and_then(|from| attempted(&mut conversion.expr, from, &to)) {
                Some(converted) => {
                    expr = converted;
                    true
                }
                None if from.is_ok_and(|from| loses_digits(&from, &to)) => {
                    expr = as_cast(expr);
                    true
                }
                None => false,
            }
        }
        Expr::ScalarFunction(function) => match function.func.name() {
            name if CHOICES.contains(&name) => {
                let chosen = choose(function.args.iter_mut().collect(), schema)?;
                coalesced(function, schema) || chosen
            }
            // It was there before.
            AS_CAST => match function.args.as_mut_slice() {
                [Expr::ScalarFunction(same)] if same.func.name() == AS_CAST => {
                    function.args = std::mem::take(&mut same.args);
                    true
                }
                _ => false,
            },
            "nullif" => compare(function.args.iter_mut().collect(), schema)?,
            "get_field" => keys(function, schema),
            "date_trunc" if function.args.get(1).is_some_and(|t| t.get_type(schema).is_ok_and(|t| is_date(&t))) => {
                function.args[1] = cast(std::mem::take(&mut function.args[1]), micros());
                expr = cast(expr, DataType::Date32);
                true
            }
            _ => {
                let func = function.func.clone();
                arguments(&mut function.args, func.as_ref(), schema)
            }
        },
        Expr::AggregateFunction(function) => {
            let func = function.func.clone();
            arguments(&mut function.params.args, func.as_ref(), schema)
        }
        _ => false,
    };
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Makes a DATE that an interval is added to a DATETIME, unless the interval is of whole days.
fn add(binary: &mut BinaryExpr, schema: &DFSchema) -> bool {
    let has_time = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => interval.nanoseconds != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => interval.milliseconds != 0,
        other => matches!(other.get_type(schema), Ok(DataType::Interval(_))),
    };
    let is_date = |expr: &Expr| expr.get_type(schema).is_ok_and(|t| is_date(&t));
    let date = if is_date(&binary.left) && has_time(&binary.right) {
        &mut binary.left
    } else if binary.op == Operator::Plus && has_time(&binary.left) && is_date(&binary.right) {
        &mut binary.right
    } else {
        return false;
    };
    **date = cast(std::mem::take(&mut **date), micros());
    true
}

/// Writes times among operands that are used as texts.
fn texts<const N: usize>(operands: [&mut Expr; N], schema: &DFSchema) -> bool {
    let mut changed = false;
    for operand in operands {
        if let Ok(from @ DataType::Timestamp(..)) = operand.get_type(schema) {
            *operand = text_of(std::mem::take(operand), &from);
            changed = true;
        }
    }
    changed
}

/// A time as text of the type `to`.
fn written(expr: &mut Expr, from: &DataType, to: &DataType) -> Option<Expr> {
    if !matches!(from, DataType::Timestamp(..)) {
        return None;
    }
    let text = text_of(std::mem::take(expr), from);
    Some(if *to == DataType::Utf8View { text } else { cast(text, to.clone()) })
}

/// A cast that is NULL where it is not possible.
fn attempted(expr: &mut Expr, from: &DataType, to: &DataType) -> Option<Expr> {
    if is_text(to) {
        return written(expr, from, to);
    }
    let function = match to {
        to if is_date(to) => text_to_date(),
        to if is_datetime(to) => text_to_datetime(),
        _ => return None,
    };
    // A number says a time by its digits.
    let text = match from {
        from if is_text(from) => std::mem::take(expr),
        from if from.is_integer() => cast(std::mem::take(expr), DataType::Utf8View),
        _ => return None,
    };
    Some(function.call(vec![text]))
}

/// Makes `ifnull`, which knows neither times nor decimals and takes them for texts, the `coalesce` that it is.
fn coalesced(function: &mut ScalarFunction, schema: &DFSchema) -> bool {
    let any = |is: fn(&DataType) -> bool| function.args.iter().any(|arg| arg.get_type(schema).is_ok_and(|t| is(&t)));
    if function.func.name() != "nvl" || any(is_text) || !any(|t| t.is_temporal() || t.is_decimal()) {
        return false;
    }
    function.func = datafusion::functions::core::coalesce();
    true
}

/// Whether several numbers become one.
fn loses_digits(from: &DataType, to: &DataType) -> bool {
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Some(*scale),
        integer if integer.is_integer() => Some(0),
        _ => None,
    };
    match (scale(from), scale(to)) {
        (Some(from), Some(to)) => to < from,
        (None, Some(_)) => from.is_floating(),
        (_, None) => false,
    }
}

/// The next larger type of integers, unless it is the largest.
fn larger(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int8 => Some(DataType::Int16),
        DataType::Int16 => Some(DataType::Int32),
        DataType::Int32 => Some(DataType::Int64),
        _ => None,
    }
}

/// Gives the keys in `map['key']` the type that the map's keys have.
fn keys(function: &mut ScalarFunction, schema: &DFSchema) -> bool {
    let [container, path @ ..] = function.args.as_mut_slice() else { return false };
    let Ok(mut data_type) = container.get_type(schema) else { return false };
    let mut changed = false;
    for key in path {
        let Expr::Literal(value, _) = key else { break };
        data_type = match data_type {
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else { break };
                let [key_field, value_field] = fields.as_ref() else { break };
                if value.data_type() != *key_field.data_type()
                    && let Ok(cast) = value.cast_to(key_field.data_type())
                {
                    *value = cast;
                    changed = true;
                }
                value_field.data_type().clone()
            }
            DataType::Struct(fields) => {
                let name = value.try_as_str().flatten().unwrap_or_default();
                let Some((_, field)) = fields.find(name) else { break };
                field.data_type().clone()
            }
            _ => break,
        };
    }
    changed
}

/// Casts arguments between times and texts where a function asks for the other.
fn arguments<F: UDFCoercionExt>(args: &mut [Expr], function: &F, schema: &DFSchema) -> bool {
    let fields: Result<Vec<FieldRef>> = args.iter().map(|arg| arg.to_field(schema).map(|(_, field)| field)).collect();
    let Ok(fields) = fields else { return false };
    if !fields.iter().any(|f| matches!(f.data_type(), DataType::Timestamp(..)) || is_text(f.data_type())) {
        return false;
    }
    let Ok(wanted) = fields_with_udf(&fields, function) else { return false };
    let mut changed = false;
    for ((arg, from), to) in args.iter_mut().zip(&fields).zip(&wanted) {
        let (from, to) = (from.data_type(), to.data_type());
        if matches!(from, DataType::Timestamp(..)) && is_text(to) {
            *arg = text_of(std::mem::take(arg), from);
        } else if is_text(from) && is_datetime(to) {
            *arg = text_to_datetime().call(vec![std::mem::take(arg)]);
        } else {
            continue;
        }
        changed = true;
    }
    changed
}

#[cfg(test)]
mod tests;
