//! `USE` and `SET`.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use tarn_proto::DataType;
use tarn_sql::{Ident, Scope, SetValue, SetVariable, ast};

use super::context::{check_catalog, check_database};
use super::{ClientSession, Error, SessionContext};
use crate::query;

/// `USE [catalog.]database`, `SET CATALOG catalog`
pub fn use_database(
    session: &ClientSession,
    context: &SessionContext,
    catalog: Option<Ident>,
    database: Option<Ident>,
) -> Result<(), Error> {
    if let Some(catalog) = catalog {
        check_catalog(&catalog.name)?;
    }
    let Some(database) = database else { return Ok(()) };
    check_database(&context.catalog, &database.name).map_err(|source| Error::Catalog { source, at: database.at })?;
    session.change(|settings| {
        settings.database = Some(database.name);
        Ok(())
    })
}

/// `SET a = 1, b = 2`: all of them or, if one is wrong, none.
pub async fn set(
    session: &ClientSession,
    context: &SessionContext,
    assignments: Vec<SetVariable>,
) -> Result<(), Error> {
    let mut changed = (*context.variables).clone();
    for SetVariable { scope, name, at, value } in &assignments {
        match scope {
            Scope::Session => {}
            Scope::Global => return Err(Error::not_yet(*at, "global variables are")),
            Scope::User => return Err(Error::not_yet(*at, "user variables are")),
        }
        match value {
            SetValue::Default => changed.reset(name, *at)?,
            SetValue::Expr(expr) => changed.set(name, &text(expr, context).await?, *at)?,
        }
    }
    session.change(|settings| {
        settings.variables = Arc::new(changed);
        Ok(())
    })
}

/// The value of an expression as text: words and literals as they stand, anything else computed.
async fn text(expr: &ast::Expr, context: &SessionContext) -> Result<String, Error> {
    if let Some(text) = literal(expr) {
        return Ok(text);
    }
    let value = query::constant(expr, &DataType::String, context).await.map_err(|e| Error::Invalid(e.message))?;
    Ok(match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.unwrap_or_default()
        }
        value => value.to_string(),
    })
}

fn literal(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Identifier(word) => Some(word.value.clone()),
        ast::Expr::Nested(inner) => literal(inner),
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => literal(expr).map(|text| format!("-{text}")),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) => Some(number.clone()),
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => Some(text.clone()),
            ast::Value::Boolean(on) => Some(on.to_string()),
            ast::Value::Null => Some(String::new()),
            _ => None,
        },
        _ => None,
    }
}
