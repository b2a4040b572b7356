//! Loads: `INSERT` and bulk ingest.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tarn_catalog::Table;
use tarn_gateway::engine::{BatchStream, EngineError, Outcome, Result};
use tarn_proto::ErrorKind;
use tarn_sql::Insert;

use crate::session::SessionContext;

/// Where a bulk ingest's rows go.
#[derive(Clone, Debug)]
pub struct IngestTarget {
    /// The table, which exists. Columns are matched by name.
    pub table: Arc<Table>,
    /// The label, or a generated one.
    pub label: Option<String>,
}

fn unavailable<T>() -> Result<T> {
    Err(EngineError { kind: ErrorKind::Invalid, message: "loads are not available yet".to_owned() })
}

/// Runs an `INSERT`. Ends by itself when [`SessionContext::interrupted`] does.
pub async fn run(_: &SessionContext, _: &Insert, _: Option<&RecordBatch>) -> Result<Outcome> {
    unavailable()
}

/// Loads batches as one transaction. Returns rows loaded.
pub async fn ingest(_: &SessionContext, _: IngestTarget, _: SchemaRef, _: BatchStream) -> Result<u64> {
    unavailable()
}
