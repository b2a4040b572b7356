//! The arguments of the `FILES(..)` table function.

use sqlparser::ast::{BinaryOperator, Expr, FunctionArg, FunctionArgExpr, ObjectNamePart, Spanned, TableFactor, Value};

use crate::error::ParseError;
use crate::name::Position;

/// The table function that reads files in place.
pub const FILES: &str = "FILES";

/// The properties of `FILES("path" = "..", ..)`, names in lower case; `None` when the relation is something else.
pub fn files_properties(relation: &TableFactor) -> Option<Result<Vec<(String, String)>, ParseError>> {
    let TableFactor::Table { name, args: Some(args), .. } = relation else { return None };
    let [ObjectNamePart::Identifier(function)] = name.0.as_slice() else { return None };
    if !function.value.eq_ignore_ascii_case(FILES) {
        return None;
    }
    let at = function.span.start.into();
    let mut properties: Vec<(String, String)> = Vec::new();
    for arg in &args.args {
        match property(arg, at) {
            Ok((name, value, at)) => {
                if properties.iter().any(|(n, _)| *n == name) {
                    return Some(Err(ParseError::new(at, format!("property \"{name}\" of {FILES} is given twice"))));
                }
                properties.push((name, value));
            }
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(properties))
}

fn property(arg: &FunctionArg, function: Position) -> Result<(String, String, Position), ParseError> {
    let error = |at, found: &dyn std::fmt::Display| {
        ParseError::new(at, format!("expected \"name\" = \"value\" as argument of {FILES}, found {found}"))
    };
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else { return Err(error(function, arg)) };
    let at = match expr.span().start.into() {
        Position { line: 0, .. } => function,
        at => at,
    };
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (text(left), text(right)) {
            (Some(name), Some(value)) => Ok((name.to_lowercase(), value, at)),
            _ => Err(error(at, expr)),
        },
        _ => Err(error(at, expr)),
    }
}

/// A constant, or a bare word.
fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(s) | Value::DoubleQuotedString(s) => Some(s.clone()),
            Value::Number(n, _) => Some(n.clone()),
            Value::Boolean(b) => Some(b.to_string()),
            _ => None,
        },
        _ => None,
    }
}
