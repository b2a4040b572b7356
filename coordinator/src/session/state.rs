//! One client's session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use parking_lot::Mutex;
use tarn_gateway::engine::{BatchStream, ClientInfo, IngestRequest, Outcome, Prepared, Result, Session};
use tarn_gateway::flight::CATALOG;
use tarn_ingest::CatalogClient;
use tarn_sql::{Position, Statement, parse_one};
use tracing::{Instrument, Span, debug, info_span};

use super::context::{check_catalog, check_database};
use super::{Error, SessionContext, Shared, Variables, dispatch};
use crate::processes::Connection;
use crate::{ddl, query};

/// The option that is the catalog.
const CATALOG_OPTION: &str = "catalog";
/// The option that is the current database.
const SCHEMA_OPTION: &str = "schema";

/// One client's session: its connection and what it has set.
pub struct ClientSession {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    settings: Mutex<Settings>,
}

/// What a client can set.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub database: Option<String>,
    pub variables: Arc<Variables>,
}

impl ClientSession {
    /// A session with default settings.
    pub fn new(shared: Arc<Shared>, client: ClientInfo) -> Self {
        let connection = shared.processes.connect(shared.node.get(), client);
        Self { shared, connection, settings: Mutex::default() }
    }

    /// What `statement` sees.
    async fn context(&self, sql: &str, statement: &Statement) -> std::result::Result<SessionContext, Error> {
        let timeout = {
            let settings = self.settings.lock();
            match statement {
                Statement::Insert(_)
                | Statement::Delete(_)
                | Statement::Update(_)
                | Statement::CreateTableAsSelect(_) => settings.variables.insert_timeout(),
                _ => settings.variables.query_timeout(),
            }
        };
        self.pinned(sql, dispatch::wants_newest(statement), timeout).await
    }

    /// A context over the newest catalog, or else over the one applied here, which holds all that this coordinator has
    /// answered. The first after a start is over the newest: the applied one is as old as the stop.
    async fn pinned(
        &self,
        sql: &str,
        newest: bool,
        timeout: std::time::Duration,
    ) -> std::result::Result<SessionContext, Error> {
        if self.connection.is_killed() {
            return Err(Error::Cancelled("the connection was killed: connect again".to_owned()));
        }
        let settings = self.settings.lock().clone();
        let process = self.shared.processes.begin(&self.connection, settings.database.as_deref().unwrap_or(""), sql);
        let deadline = Instant::now().checked_add(timeout);
        let catalog = &self.shared.catalog;
        let catalog = if newest || !self.shared.caught_up.load(Ordering::Relaxed) {
            let newest = catalog.linearizable().await?;
            self.shared.caught_up.store(true, Ordering::Relaxed);
            newest
        } else {
            catalog.catalog()
        };
        let (database, variables) = (settings.database, settings.variables);
        Ok(SessionContext { shared: self.shared.clone(), catalog, database, variables, process, deadline })
    }

    /// Changes what the client has set.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Settings) -> std::result::Result<T, Error>,
    ) -> std::result::Result<T, Error> {
        change(&mut self.settings.lock())
    }
}

#[async_trait]
impl Session for ClientSession {
    fn id(&self) -> u64 {
        self.connection.id
    }

    async fn prepare(&self, sql: &str) -> Result<Prepared> {
        let statement = parse_one(sql).map_err(Error::from)?;
        let database = self.settings.lock().database.clone();
        if let Some(prepared) = dispatch::shape(&statement, database.as_deref()) {
            return Ok(prepared);
        }
        let context = self.context(sql, &statement).await?;
        let prepared = async {
            match statement {
                Statement::CreateTableAsSelect(create) => {
                    let rows = query::prepare(&context, &Statement::Query(create.query)).await?;
                    Ok(Prepared { schema: Arc::new(Schema::empty()), parameters: rows.parameters, returns_rows: false })
                }
                statement => query::prepare(&context, &statement).await,
            }
        };
        logged("prepare", prepared).instrument(span(&context)).await
    }

    async fn execute(&self, sql: &str, parameters: Option<&RecordBatch>) -> Result<Outcome> {
        let statement = parse_one(sql).map_err(Error::from)?;
        let context = self.context(sql, &statement).await?;
        let span = span(&context);
        logged("execute", dispatch::run(self, context, statement, parameters)).instrument(span).await
    }

    async fn ingest(&self, request: IngestRequest, schema: SchemaRef, batches: BatchStream) -> Result<u64> {
        let timeout = self.settings.lock().variables.insert_timeout();
        let text = format!("INGEST INTO {}", tarn_sql::quote_ident(&request.table));
        let context = self.pinned(&text, true, timeout).await?;
        logged("ingest", ddl::ingest(&context, request, schema, batches)).instrument(span(&context)).await
    }

    fn option(&self, name: &str) -> Option<String> {
        let settings = self.settings.lock();
        match name {
            CATALOG_OPTION => Some(CATALOG.to_owned()),
            SCHEMA_OPTION => Some(settings.database.clone().unwrap_or_default()),
            _ => settings.variables.get(name).map(str::to_owned),
        }
    }

    fn options(&self) -> Vec<(String, String)> {
        let settings = self.settings.lock();
        let database = settings.database.clone().unwrap_or_default();
        let named = [(CATALOG_OPTION.to_owned(), CATALOG.to_owned()), (SCHEMA_OPTION.to_owned(), database)];
        named.into_iter().chain(settings.variables.all().map(|(k, v)| (k.to_owned(), v.to_owned()))).collect()
    }

    async fn set_option(&self, name: &str, value: Option<&str>) -> Result<()> {
        match (name, value) {
            (CATALOG_OPTION, None) => {}
            (CATALOG_OPTION, Some(catalog)) => {
                check_catalog(catalog).map_err(|e| Error::Invalid(e.to_string()))?;
            }
            (SCHEMA_OPTION, None | Some("")) => self.change(|s| {
                s.database = None;
                Ok(())
            })?,
            (SCHEMA_OPTION, Some(database)) => {
                let catalog = self.shared.catalog.linearizable().await.map_err(Error::from)?;
                // A value that is wrong, not an option that is unknown.
                check_database(&catalog, database).map_err(|e| Error::Invalid(e.to_string()))?;
                self.change(|s| {
                    s.database = Some(database.to_owned());
                    Ok(())
                })?;
            }
            (name, value) => self.change(|s| {
                let variables = Arc::make_mut(&mut s.variables);
                match value {
                    Some(value) => variables.set(name, value, Position::default()),
                    None => variables.reset(name, Position::default()),
                }
            })?,
        }
        Ok(())
    }
}

/// The span of what runs for a statement. Compute nodes have one of the same name and field.
fn span(context: &SessionContext) -> Span {
    info_span!("query", query_id = context.query_id())
}

/// Tells how a step of a statement went. The statement's text stays out of logs: it may hold secrets.
async fn logged<T>(step: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let started = Instant::now();
    let outcome = work.await;
    match &outcome {
        Ok(_) => debug!(step, elapsed = ?started.elapsed(), "statement answered"),
        Err(error) => debug!(step, elapsed = ?started.elapsed(), %error, "statement failed"),
    }
    outcome
}
