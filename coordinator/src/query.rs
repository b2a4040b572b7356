//! Queries: planning, running, explaining.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use tarn_gateway::engine::{EngineError, Outcome, Prepared, Result};
use tarn_proto::{DataType, ErrorKind};
use tarn_sql::{Statement, ast};

use crate::session::SessionContext;

/// Plans and runs queries for all sessions.
#[derive(Clone, Debug, Default)]
pub struct Planner;

fn unavailable<T>() -> Result<T> {
    Err(EngineError { kind: ErrorKind::Invalid, message: "queries are not available yet".to_owned() })
}

/// Runs a query.
pub async fn run(_: &SessionContext, _: &ast::Query, _: Option<&RecordBatch>) -> Result<Outcome> {
    unavailable()
}

/// Plans a query or an `INSERT` without running it.
pub async fn prepare(_: &SessionContext, _: &Statement) -> Result<Prepared> {
    unavailable()
}

/// Explains a query or an `INSERT`.
pub async fn explain(
    _: &SessionContext,
    _analyze: bool,
    _verbose: bool,
    _: &Statement,
    _: Option<&RecordBatch>,
) -> Result<Outcome> {
    unavailable()
}

/// The value of a constant expression in a type.
pub async fn constant(_: &ast::Expr, _: &DataType, _: &SessionContext) -> Result<ScalarValue> {
    unavailable()
}

/// The columns that `FILES` with these properties has: name, type, nullable.
pub async fn describe_files(_: &SessionContext, _: &[(String, String)]) -> Result<Vec<(String, DataType, bool)>> {
    unavailable()
}
