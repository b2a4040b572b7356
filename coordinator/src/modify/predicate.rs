//! `DELETE` of DUPLICATE, AGGREGATE and UNIQUE tables: a predicate that storage nodes apply to the rows that are there,
//! as one transaction without rows.
//!
//! ```text
//!  conditions  the WHERE clause to comparisons of columns with expressions, Pure.
//!  constants   the expressions' values, by a query without a table
//!  here        partitions that can hold such rows ──► an empty batch to each of their tablets ──► commit ──► visible
//! ```

mod conditions;
mod constants;

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use tarn_catalog::Table;
use tarn_gateway::engine::{EngineError, Outcome, Result};
use tarn_ingest::Target;
use tarn_ingest::load::Begun;
use tarn_ingest::route::Reach;
use tarn_proto::storage::LoadSpec;
use tarn_proto::{ErrorKind, PartitionId};
use tarn_sql::Delete;

use crate::ddl::existing_partition;
use crate::insert::{self, Failed, load_error};
use crate::session::{Error, SessionContext};

pub use conditions::conditions;

/// Deletes rows of a table without a PRIMARY KEY.
pub async fn run(
    context: &SessionContext,
    delete: &Delete,
    table: &Table,
    parameters: Option<&RecordBatch>,
) -> std::result::Result<Outcome, Failed> {
    let (partitions, spec) = planned(context, delete, table, parameters).await.map_err(Failed::surely)?;
    let load = match insert::begin(context, table, spec, None).await.map_err(Failed::surely)? {
        Begun::New(load) => load,
        Begun::Repeated(outcome) => return Ok(insert::affected(outcome)),
    };
    context.process.enter("loading");
    let written = tokio::select! {
        biased;
        error = context.interrupted() => Err(error),
        written = async {
            load.sink().aim(Target { reach: Reach::Only(partitions.clone()), replacing: None }).await?;
            load.sink().touch(&partitions).await
        } => written.map_err(load_error),
    };
    let outcome = insert::finish(context, load, written).await?;
    // How many rows went is known to the storage nodes alone.
    Ok(match insert::affected(outcome) {
        Outcome::Affected { message, repeated, .. } => Outcome::Affected { rows: None, message, repeated },
        other => other,
    })
}

/// The partitions that can hold rows which go, and what is told to their tablets.
async fn planned(
    context: &SessionContext,
    delete: &Delete,
    table: &Table,
    parameters: Option<&RecordBatch>,
) -> Result<(BTreeSet<PartitionId>, LoadSpec)> {
    let conditions = conditions(delete, table)?;
    let named = delete.partitions.iter().map(|name| existing_partition(table, name).map(|partition| partition.id));
    let named: BTreeSet<PartitionId> = named.collect::<std::result::Result<_, Error>>()?;
    let constants = tokio::select! {
        biased;
        error = context.interrupted() => Err(error),
        constants = constants::evaluate(context, table, &conditions, parameters, delete.table.at()) => constants,
    }?;
    let matching = tarn_planner::matching_partitions(table, &constants.predicate(table)?);
    let mut partitions =
        matching.map_err(|e| EngineError { kind: ErrorKind::Internal, message: e.strip_backtrace() })?;
    if !named.is_empty() {
        partitions.retain(|id| named.contains(id));
    }
    Ok((partitions, LoadSpec::delete(table.schema.clone(), constants.into_predicate(table))))
}
