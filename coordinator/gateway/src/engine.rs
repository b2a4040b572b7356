//! What a protocol needs of the server: sessions that run statements. Implemented by the coordinator.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::Stream;
use tarn_catalog::Catalog;
use tarn_proto::ErrorKind;
use tarn_proto::storage::UpdateMode;

/// A failed statement.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// What the client must do.
    pub kind: ErrorKind,
    /// Names the object and the remedy.
    pub message: String,
}

/// Result of a call to the engine.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Record batches of one schema. Dropping it cancels the query.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// Who is connecting.
#[derive(Clone, Debug, Default)]
pub struct ClientInfo {
    /// The authenticated user.
    pub user: String,
    /// `host:port` of the client.
    pub address: String,
    /// The protocol, for `SHOW PROCESSLIST`.
    pub protocol: &'static str,
}

/// Opens sessions.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Checks a user's password.
    async fn authenticate(&self, user: &str, password: &str) -> Result<()>;

    /// A new session, closed when the last handle is dropped.
    async fn open_session(&self, client: ClientInfo) -> Result<Arc<dyn Session>>;

    /// A linearizable snapshot of the catalog.
    async fn catalog(&self) -> Result<Catalog>;

    /// Cancels a query by its id, on whichever coordinator runs it. Returns whether it was found.
    async fn cancel_query(&self, query_id: &str) -> Result<bool>;
}

/// One client's state: current database, variables, running statements. Several statements may run at once.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Unique in the cluster while the session lives.
    fn id(&self) -> u64;

    /// Parses and plans a statement without running it. `$1`, `$2`, .. or `?` are parameters.
    async fn prepare(&self, sql: &str) -> Result<Prepared>;

    /// Runs one statement. `parameters` has one row and one column for each parameter, in order.
    async fn execute(&self, sql: &str, parameters: Option<&RecordBatch>) -> Result<Outcome>;

    /// Loads a stream of batches into a table, as one transaction. Returns rows loaded.
    async fn ingest(&self, request: IngestRequest, schema: SchemaRef, batches: BatchStream) -> Result<u64>;

    /// The value of a session option: `catalog`, `schema`, or a session variable.
    fn option(&self, name: &str) -> Option<String>;

    /// All session options.
    fn options(&self) -> Vec<(String, String)>;

    /// Sets a session option, or resets it with `None`.
    async fn set_option(&self, name: &str, value: Option<&str>) -> Result<()>;
}

/// A statement that is known to be valid.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Result columns. Empty for statements that return no rows.
    pub schema: SchemaRef,
    /// One field for each parameter, in order; named `$1`, `$2`, ... `Null` where the type is not known.
    pub parameters: SchemaRef,
    /// Whether it returns rows.
    pub returns_rows: bool,
}

/// What a statement did.
pub enum Outcome {
    /// Rows, as they are computed.
    Rows {
        /// Names the query in logs, `SHOW PROCESSLIST` and `KILL`.
        query_id: String,
        /// Of every batch.
        schema: SchemaRef,
        /// The rows.
        batches: BatchStream,
    },
    /// No rows to return.
    Affected {
        /// Rows loaded or changed; `None` for statements that change no rows.
        rows: Option<u64>,
        /// A line for people, e.g. an `INSERT`'s `{'label':'..','status':'VISIBLE','txnId':'..'}`; or empty.
        message: String,
        /// A load whose label had been used: nothing was loaded now.
        repeated: bool,
    },
}

/// What to do with the target table of a bulk ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTable {
    /// Make it.
    Create,
    /// Refuse.
    Fail,
    /// Add the rows to it.
    Append,
    /// Drop it and make it anew.
    Replace,
}

/// A bulk ingest (`CommandStatementIngest`).
#[derive(Clone, Debug)]
pub struct IngestRequest {
    /// The database, or the session's.
    pub database: Option<String>,
    /// The table.
    pub table: String,
    /// If it does not exist.
    pub if_absent: IfTable,
    /// If it exists.
    pub if_exists: IfTable,
    /// The label, or a generated one.
    pub label: Option<String>,
    /// What it does to rows that are there.
    pub update: UpdateOptions,
}

/// What a load into a PRIMARY KEY table does to rows that are there, if it does not replace them whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// Columns that the load does not have keep their values; how that is done.
    pub partial: Option<UpdateMode>,
    /// The column by which a row takes the place of another: only if its value is not less.
    pub merge_condition: Option<String>,
}
