//! Statements: from SQL to a `FlightInfo`, and from a ticket to a stream of rows.
//!
//! A statement that returns rows is only planned by `GetFlightInfo`; it runs when its ticket is redeemed, and its rows
//! stream as they are computed. A statement that returns none (DDL, `INSERT`, `SET`) runs in `GetFlightInfo` itself, to
//! its end: drivers redeem tickets in the background and drop them with the cursor, so a statement that ran in `DoGet`
//! might never run, and its error might never be seen. Its ticket yields an empty stream.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use serde_json::json;
use tarn_proto::ErrorKind;

use super::call::Call;
use super::error::Error;
use super::results::{self, FlightDataStream};
use super::sessions::ClientSession;
use super::statements::{PendingQuery, PreparedStatement, Running, Statements, new_handle};
use super::wire;
use crate::engine::{self, BatchStream, EngineError, Outcome, Prepared};

/// Rows that one `FlightInfo` promises when the number is not known.
const UNKNOWN: i64 = -1;

/// Plans a query for `DoGet`, or runs a statement that returns no rows.
pub(crate) async fn flight_info(
    statements: &Statements,
    call: &Call,
    descriptor: FlightDescriptor,
    (session, sql, prepared): (&Arc<ClientSession>, &str, &Prepared),
    bound: Option<RecordBatch>,
) -> Result<FlightInfo, Error> {
    check_bound(prepared, bound.as_ref())?;
    if prepared.returns_rows {
        let schema = wire::result_schema(&prepared.schema);
        let pending =
            PendingQuery { session: Arc::clone(session), sql: sql.to_owned(), schema: Arc::clone(&schema), bound };
        let handle = statements.issue(pending)?;
        let metadata = json!({ "statement": handle }).to_string();
        return info(descriptor, &schema, handle.into(), UNKNOWN, metadata);
    }
    let _busy = session.busy();
    let applied = apply(session, sql, bound).await?;
    let metadata = json!({ "rows": applied.rows, "message": applied.message }).to_string();
    let rows = applied.count();
    call.set_message(applied.message);
    info(descriptor, &Schema::empty(), Bytes::new(), rows, metadata)
}

fn info(
    descriptor: FlightDescriptor,
    schema: &Schema,
    statement_handle: Bytes,
    rows: i64,
    metadata: String,
) -> Result<FlightInfo, Error> {
    let ticket = TicketStatementQuery { statement_handle }.as_any().encode_to_vec();
    Ok(FlightInfo::new()
        .try_with_schema(schema)?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket)))
        .with_total_records(rows)
        .with_app_metadata(metadata))
}

/// Redeems a ticket: runs its query.
pub(crate) async fn redeem(
    statements: &Arc<Statements>,
    call: &Call,
    ticket: &TicketStatementQuery,
) -> Result<FlightDataStream, Error> {
    if ticket.statement_handle.is_empty() {
        return Ok(results::empty());
    }
    let (query, running) = statements.redeem(&ticket.statement_handle, &call.session.user)?;
    run(call, &query.session, query.sql, query.schema, query.bound, running).await
}

/// Runs a prepared statement whose handle came as a ticket.
pub(crate) async fn run_prepared(
    statements: &Arc<Statements>,
    call: &Call,
    statement: &PreparedStatement,
) -> Result<FlightDataStream, Error> {
    let bound = statement.bound.lock().clone();
    check_bound(&statement.prepared, bound.as_ref())?;
    let running = statements.run(new_handle(), &statement.session);
    let schema = wire::result_schema(&statement.prepared.schema);
    run(call, &statement.session, statement.sql.clone(), schema, bound, running).await
}

async fn run(
    call: &Call,
    session: &Arc<ClientSession>,
    sql: String,
    schema: SchemaRef,
    bound: Option<RecordBatch>,
    running: Running,
) -> Result<FlightDataStream, Error> {
    let mut executions = rows(bound).into_iter();
    let Some(first) = executions.next() else {
        return Ok(results::stream(schema, stream::empty().boxed(), running));
    };
    let opened = tokio::select! {
        biased;
        () = running.cancel.cancelled() => return Err(Error::Cancelled),
        opened = open(session, &sql, first.as_ref()) => opened?,
    };
    call.set_query_id(opened.query_id);
    let session = Arc::clone(session);
    // A query with several rows of parameters runs once for each, one after the other.
    let rest = stream::iter(executions).then(move |row| {
        let (session, sql) = (Arc::clone(&session), sql.clone());
        async move {
            let opened = open(&session, &sql, row.as_ref()).await?;
            if opened.repeated { Err(one_load()) } else { Ok(opened.batches) }
        }
    });
    let batches = opened.batches.chain(rest.try_flatten()).boxed();
    Ok(results::stream(schema, batches, running))
}

struct Opened {
    query_id: Option<String>,
    batches: BatchStream,
    repeated: bool,
}

async fn open(session: &ClientSession, sql: &str, parameters: Option<&RecordBatch>) -> engine::Result<Opened> {
    Ok(match session.engine.execute(sql, parameters).await? {
        Outcome::Rows { query_id, batches, .. } => Opened { query_id: Some(query_id), batches, repeated: false },
        Outcome::Affected { repeated, .. } => Opened { query_id: None, batches: stream::empty().boxed(), repeated },
    })
}

/// A label that the rows before have used says nothing of this one, which was not loaded.
fn one_load() -> EngineError {
    let message = "a label names one load: bind one row, or leave the label out".to_owned();
    EngineError { kind: ErrorKind::Invalid, message }
}

/// What statements without rows did.
#[derive(Default)]
pub(crate) struct Applied {
    rows: Option<u64>,
    message: String,
}

impl Applied {
    /// Rows changed as Flight counts them: -1 where the statement changes none.
    pub(crate) fn count(&self) -> i64 {
        self.rows.map_or(UNKNOWN, |rows| i64::try_from(rows).unwrap_or(i64::MAX))
    }

    pub(crate) fn into_message(self) -> String {
        self.message
    }
}

/// Runs a statement to its end, once for each row of parameters. Rows it returns are discarded.
pub(crate) async fn apply(session: &ClientSession, sql: &str, bound: Option<RecordBatch>) -> Result<Applied, Error> {
    let executions = rows(bound);
    let several = executions.len() > 1;
    let mut total = Applied { rows: executions.is_empty().then_some(0), message: String::new() };
    for (row, parameters) in executions.iter().enumerate() {
        let failed = |source| if several { Error::Row { row: row + 1, source } } else { Error::Engine(source) };
        match session.engine.execute(sql, parameters.as_ref()).await.map_err(failed)? {
            Outcome::Affected { repeated: true, .. } if row > 0 => return Err(failed(one_load())),
            Outcome::Affected { rows, message, .. } => {
                total.rows = rows.map(|rows| rows + total.rows.unwrap_or(0)).or(total.rows);
                total.message = message;
            }
            Outcome::Rows { mut batches, .. } => while batches.try_next().await?.is_some() {},
        }
    }
    Ok(total)
}

/// One set of parameters for each execution: none bound means one execution without.
fn rows(bound: Option<RecordBatch>) -> Vec<Option<RecordBatch>> {
    match bound {
        None => vec![None],
        Some(batch) => (0..batch.num_rows()).map(|row| Some(batch.slice(row, 1))).collect(),
    }
}

/// Checks that as many values are bound as the statement has parameters.
pub(crate) fn check_bound(prepared: &Prepared, bound: Option<&RecordBatch>) -> Result<(), Error> {
    let expected = prepared.parameters.fields().len();
    let bound = bound.map_or(0, RecordBatch::num_columns);
    if expected == bound { Ok(()) } else { Err(Error::ParameterCount { expected, bound }) }
}
