//! Syntax of StarRocks in the words that DataFusion knows.
//!
//! | written | planned as |
//! |---|---|
//! | `CAST(x AS type)`, `x::type` | `TRY_CAST`: what cannot be cast is NULL |
//! | `timestamp '..'` | a DATETIME, in microseconds |
//! | `1e3` | a DOUBLE; numbers without an exponent are DECIMAL |
//! | `x [NOT] REGEXP y`, `x [NOT] RLIKE y` | `[NOT] regexp_like(x, y)` |
//! | `if(a, b, c)` | `CASE WHEN a THEN b ELSE c END` |
//! | `mod(a, b)` | `a % b` |
//! | `length(text)` | `octet_length(text)`: the length in bytes |
//! | `x[1].field` | `x[1]['field']` |
//! | `FROM TABLE(f(..))` | `FROM f(..)` |

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SetExpr,
    TableFactor, TableFunctionArgs, TimezoneInfo, TypedString, UnaryOperator, Value, ValueWithSpan, Values, VisitMut,
    VisitorMut,
};

/// Rewrites a query in place.
pub(crate) fn translate(query: &mut Query) {
    struct Translator;
    impl VisitorMut for Translator {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            if let SetExpr::Values(values) = query.body.as_mut() {
                numbers_of_one_type(values);
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            if let Some(table) = table_function(factor) {
                *factor = table;
            }
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Some(translated) = expression(expr) {
                *expr = translated;
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Translator);
}

fn expression(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Value(_) if has_exponent(expr) => double(expr),
        Expr::Cast { kind, .. } => {
            *kind = CastKind::TryCast;
            None
        }
        Expr::TypedString(TypedString { data_type, .. }) => {
            if let DataType::Datetime(_) | DataType::Timestamp(_, TimezoneInfo::None) = data_type {
                *data_type = DataType::Timestamp(Some(6), TimezoneInfo::None);
            }
            None
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            for access in access_chain {
                if let AccessExpr::Dot(Expr::Identifier(field)) = access {
                    *access = AccessExpr::Dot(Expr::value(Value::SingleQuotedString(field.value.clone())));
                }
            }
            None
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            let call = call("regexp_like", vec![expr.as_ref().clone(), pattern.as_ref().clone()]);
            let not = |call| Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) };
            Some(Expr::Nested(Box::new(if *negated { not(call) } else { call })))
        }
        Expr::Function(function) if is_named(function, "length") => {
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("octet_length"))]);
            None
        }
        Expr::Function(function) if is_named(function, "mod") => match arguments(function)?.as_slice() {
            [left, right] => {
                let operand = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
                let (left, right) = (operand(left), operand(right));
                Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right })))
            }
            _ => None,
        },
        Expr::Function(function) if is_named(function, "if") => match arguments(function)?.as_slice() {
            [condition, then, otherwise] => Some(Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen { condition: condition.clone(), result: then.clone() }],
                else_result: Some(Box::new(otherwise.clone())),
            }),
            _ => None,
        },
        _ => None,
    }
}

/// Makes numbers that stand in a column of `VALUES` with a DOUBLE doubles too.
fn numbers_of_one_type(values: &mut Values) {
    let width = values.rows.iter().map(|row| row.len()).max().unwrap_or(0);
    for column in 0..width {
        if values.rows.iter().any(|row| row.get(column).is_some_and(|expr| has_exponent(unsigned(expr)))) {
            for row in &mut values.rows {
                let Some(expr) = row.get_mut(column) else { continue };
                let number = match expr {
                    Expr::UnaryOp { expr, .. } => expr.as_mut(),
                    expr => expr,
                };
                if let Some(double) = double(number) {
                    *number = double;
                }
            }
        }
    }
}

fn unsigned(expr: &Expr) -> &Expr {
    match expr {
        Expr::UnaryOp { expr, .. } => expr,
        other => other,
    }
}

fn has_exponent(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) if text.contains(['e', 'E']))
}

/// A number as a DOUBLE.
fn double(number: &Expr) -> Option<Expr> {
    let Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) = number else { return None };
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::SingleQuotedString(text.clone()))),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    })
}

/// `TABLE(f(..))` as `f(..)`.
fn table_function(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::TableFunction { expr: Expr::Function(function), alias } = factor else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    Some(TableFactor::Table {
        name: function.name.clone(),
        alias: alias.clone(),
        args: Some(TableFunctionArgs { args: list.args.clone(), settings: None }),
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    })
}

fn is_named(function: &Function, name: &str) -> bool {
    matches!(function.name.0.as_slice(),
        [ObjectNamePart::Identifier(ident)] if ident.value.eq_ignore_ascii_case(name))
}

fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    plain.collect()
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarn_sql::Statement;

    fn translated(sql: &str) -> String {
        let Ok(Statement::Query(mut query)) = tarn_sql::parse_one(sql) else { panic!("no query") };
        translate(&mut query);
        query.to_string()
    }

    #[test]
    fn expressions_are_translated_wherever_they_stand() {
        assert_eq!(translated("select cast(a as int) + 1"), "SELECT TRY_CAST(a AS INT) + 1");
        assert_eq!(
            translated("select 1 where if(a regexp 'x', 1, length(b)) = 1"),
            "SELECT 1 WHERE CASE WHEN (regexp_like(a, 'x')) THEN 1 ELSE octet_length(b) END = 1"
        );
        assert_eq!(translated("select a not rlike 'x'"), "SELECT (NOT regexp_like(a, 'x'))");
        assert_eq!(
            translated("values (1.5, 2), (-1e3, 2)"),
            "VALUES (TRY_CAST('1.5' AS DOUBLE), 2), (-TRY_CAST('1e3' AS DOUBLE), 2)"
        );
        assert_eq!(translated("select timestamp '9999-12-31'"), "SELECT TIMESTAMP(6) '9999-12-31'");
        assert_eq!(translated("select 1e300, 1.5"), "SELECT CAST('1e300' AS DOUBLE), 1.5");
    }

    #[test]
    fn table_of_a_function_is_the_function() {
        assert_eq!(translated("select * from table(generate_series(1, 3)) t"), "SELECT * FROM generate_series(1, 3) t");
    }
}
