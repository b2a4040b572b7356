//! An engine in memory that understands a handful of statements, enough to drive the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tarn_catalog::command::TableSpec;
use tarn_catalog::{Catalog, ColumnInfo, Command, Context, Distribution, Operation, Partitioning, Response, Role};
use tarn_gateway::engine::{
    BatchStream, ClientInfo, Engine, EngineError, IfTable, IngestRequest, Outcome, Prepared, Result, Session,
};
use tarn_proto::{
    Column, ColumnId, DataType as TarnType, DatabaseId, ErrorKind, SchemaVersion, TableModel, TableSchema,
};

/// Rows of the tables, and what was seen.
#[derive(Default)]
pub struct State {
    /// Tables by `database.name`.
    pub tables: Mutex<BTreeMap<String, (SchemaRef, Vec<RecordBatch>)>>,
    /// Statements that were executed, in order.
    pub executed: Mutex<Vec<String>>,
    /// Result streams that exist.
    pub open_results: AtomicUsize,
    /// Sessions that exist.
    pub open_sessions: AtomicUsize,
    /// Labels that were used.
    pub labels: Mutex<BTreeSet<String>>,
    /// Query ids that were cancelled by id.
    pub cancelled: Mutex<Vec<String>>,
    next: AtomicU64,
}

/// The engine. `root`'s password is `password`.
pub struct MockEngine {
    /// Shared with sessions.
    pub state: Arc<State>,
    /// Of `root`.
    pub password: String,
    /// What metadata calls see.
    pub catalog: Mutex<Catalog>,
}

struct MockSession {
    id: u64,
    state: Arc<State>,
    options: Mutex<BTreeMap<String, String>>,
}

/// Counts down when dropped.
struct Counted(Arc<State>, fn(&State) -> &AtomicUsize);

impl Counted {
    fn new(state: &Arc<State>, counter: fn(&State) -> &AtomicUsize) -> Self {
        counter(state).fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state), counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1(&self.0).fetch_sub(1, Ordering::SeqCst);
    }
}

fn error<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T> {
    Err(EngineError { kind, message: message.into() })
}

impl MockEngine {
    /// An engine with the database `shop` of two tables and two views, one of which is broken.
    pub fn new(password: &str) -> Arc<Self> {
        Arc::new(Self { state: Arc::default(), password: password.to_owned(), catalog: Mutex::new(sample_catalog()) })
    }
}

#[async_trait::async_trait]
impl Engine for MockEngine {
    async fn authenticate(&self, user: &str, password: &str) -> Result<()> {
        if user == "root" && password == self.password {
            return Ok(());
        }
        error(ErrorKind::Denied, format!("access denied for user `{user}`"))
    }

    async fn open_session(&self, client: ClientInfo) -> Result<Arc<dyn Session>> {
        assert!(client.address.starts_with("127.0.0.1:"), "{client:?}");
        self.state.open_sessions.fetch_add(1, Ordering::SeqCst);
        let options = [("catalog", "default_catalog"), ("schema", ""), ("query_timeout", "300")];
        Ok(Arc::new(MockSession {
            id: self.state.next.fetch_add(1, Ordering::SeqCst),
            state: Arc::clone(&self.state),
            options: Mutex::new(options.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        }))
    }

    async fn catalog(&self) -> Result<Catalog> {
        Ok(self.catalog.lock().clone())
    }

    async fn cancel_query(&self, query_id: &str) -> Result<bool> {
        self.state.cancelled.lock().push(query_id.to_owned());
        Ok(query_id == "elsewhere")
    }
}

impl Drop for MockSession {
    fn drop(&mut self) {
        self.state.open_sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), false)).collect::<Vec<_>>()))
}

impl MockSession {
    fn key(&self, table: &str) -> String {
        let database = self.options.lock()["schema"].clone();
        if table.contains('.') { table.to_owned() } else { format!("{database}.{table}") }
    }

    fn table_schema(&self, table: &str) -> Result<SchemaRef> {
        match self.state.tables.lock().get(&self.key(table)) {
            Some((schema, _)) => Ok(Arc::clone(schema)),
            None => error(ErrorKind::NotFound, format!("table `{table}` does not exist")),
        }
    }

    fn rows(&self, schema: SchemaRef, batches: BatchStream) -> Outcome {
        let open = Counted::new(&self.state, |s| &s.open_results);
        let query_id = format!("q{}", self.state.next.fetch_add(1, Ordering::SeqCst));
        let batches = batches.inspect_ok(move |_| {
            let _keep = &open;
        });
        Outcome::Rows { query_id, schema, batches: batches.boxed() }
    }

    fn batch(&self, batch: RecordBatch) -> Outcome {
        self.rows(batch.schema(), stream::iter([Ok(batch)]).boxed())
    }
}

/// `SELECT * FROM name` as the gateway and clients write it.
fn selected(sql: &str) -> Option<String> {
    sql.strip_prefix("SELECT * FROM ").map(|name| name.replace(['`', '"'], ""))
}

#[async_trait::async_trait]
impl Session for MockSession {
    fn id(&self) -> u64 {
        self.id
    }

    async fn prepare(&self, sql: &str) -> Result<Prepared> {
        let parameters = (1..=sql.matches('?').count())
            .map(|n| Field::new(format!("${n}"), DataType::Null, true))
            .collect::<Vec<_>>();
        let columns = match sql {
            "SELECT 1" => schema(&[("1", DataType::Int64)]),
            "SELECT DATABASE()" => schema(&[("database", DataType::Utf8View)]),
            "SELECT SLOW" | "SELECT FAILING" => schema(&[("n", DataType::Int64)]),
            "SELECT ?" => schema(&[("v", DataType::Utf8View)]),
            "SELECT" => return error(ErrorKind::Invalid, "line 1, column 7: expected an expression"),
            _ => match selected(sql) {
                Some(name) if name == "shop.totals" => schema(&[("total", DataType::Utf8View)]),
                Some(name) => self.table_schema(&name)?,
                None => Arc::new(Schema::empty()),
            },
        };
        let returns_rows = sql.starts_with("SELECT");
        Ok(Prepared { schema: columns, parameters: Arc::new(Schema::new(parameters)), returns_rows })
    }

    async fn execute(&self, sql: &str, parameters: Option<&RecordBatch>) -> Result<Outcome> {
        self.state.executed.lock().push(sql.to_owned());
        let text =
            |t: String| RecordBatch::try_from_iter([("v", Arc::new(StringViewArray::from(vec![t])) as ArrayRef)]);
        let number = |n: i64| RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n])) as ArrayRef)]);
        Ok(match sql.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["SELECT", "1"] => self.batch(number(1).unwrap()),
            ["SELECT", "DATABASE()"] => self.batch(text(self.options.lock()["schema"].clone()).unwrap()),
            ["SELECT", "SLOW"] => {
                let ticks = stream::unfold(0, move |n| async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    Some((Ok(number(n).unwrap()), n + 1))
                });
                self.rows(schema(&[("n", DataType::Int64)]), ticks.boxed())
            }
            ["SELECT", "FAILING"] => {
                let lost = error(ErrorKind::Unavailable, "compute node n7 was lost");
                self.rows(schema(&[("n", DataType::Int64)]), stream::iter([Ok(number(1).unwrap()), lost]).boxed())
            }
            ["SELECT", "?"] => {
                let parameters = parameters.expect("a bound parameter");
                assert_eq!((parameters.num_rows(), parameters.num_columns()), (1, 1));
                let value = arrow::util::display::array_value_to_string(parameters.column(0), 0).unwrap();
                self.batch(text(value).unwrap())
            }
            ["SELECT", "*", "FROM", name] => {
                let key = self.key(&name.replace(['`', '"'], ""));
                let (schema, batches) = self.state.tables.lock()[&key].clone();
                self.rows(schema, stream::iter(batches.into_iter().map(Ok)).boxed())
            }
            ["USE", database] => {
                self.options.lock().insert("schema".to_owned(), (*database).to_owned());
                Outcome::Affected { rows: None, message: String::new(), repeated: false }
            }
            ["CREATE", "TABLE", name] => {
                let empty = (schema(&[("a", DataType::Int64)]), Vec::new());
                self.state.tables.lock().insert(self.key(name), empty);
                Outcome::Affected { rows: None, message: String::new(), repeated: false }
            }
            ["INSERT", "INTO", name, "VALUES", values] => {
                self.table_schema(name)?;
                let value: i64 = match (*values, parameters) {
                    ("(?)", Some(row)) => {
                        let value = arrow::util::display::array_value_to_string(row.column(0), 0).unwrap();
                        value.parse().or_else(|_| error(ErrorKind::Invalid, format!("`{value}` is no number")))?
                    }
                    (values, _) => values.trim_matches(['(', ')']).parse().unwrap(),
                };
                let batch = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![value])) as ArrayRef)]);
                let batch = batch.unwrap();
                self.state.tables.lock().get_mut(&self.key(name)).unwrap().1.push(batch);
                let message = "{'label':'ö','status':'VISIBLE'}".to_owned();
                Outcome::Affected { rows: Some(1), message, repeated: false }
            }
            ["INSERT", "INTO", _, "WITH", "LABEL", label, "VALUES", "(?)"] => {
                let repeated = !self.state.labels.lock().insert((*label).to_owned());
                Outcome::Affected { rows: Some(1), message: String::new(), repeated }
            }
            ["FAIL", kind] => {
                let kind = match *kind {
                    "exists" => ErrorKind::AlreadyExists,
                    "full" => ErrorKind::Exhausted,
                    _ => ErrorKind::Internal,
                };
                return error(kind, "as asked");
            }
            _ => return error(ErrorKind::Invalid, format!("line 1, column 1: unexpected `{sql}`")),
        })
    }

    async fn ingest(&self, request: IngestRequest, schema: SchemaRef, batches: BatchStream) -> Result<u64> {
        let key = match &request.database {
            Some(database) => format!("{database}.{}", request.table),
            None => self.key(&request.table),
        };
        let exists = self.state.tables.lock().contains_key(&key);
        match (exists, request.if_absent, request.if_exists) {
            (true, _, IfTable::Fail) => {
                return error(ErrorKind::AlreadyExists, format!("table `{key}` exists already"));
            }
            (false, IfTable::Fail, _) => return error(ErrorKind::NotFound, format!("table `{key}` does not exist")),
            _ => {}
        }
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
        let mut tables = self.state.tables.lock();
        if request.if_exists == IfTable::Replace {
            tables.remove(&key);
        }
        tables.entry(key).or_insert((schema, Vec::new())).1.extend(batches);
        Ok(rows)
    }

    fn option(&self, name: &str) -> Option<String> {
        self.options.lock().get(name).cloned()
    }

    fn options(&self) -> Vec<(String, String)> {
        self.options.lock().clone().into_iter().collect()
    }

    async fn set_option(&self, name: &str, value: Option<&str>) -> Result<()> {
        match (self.options.lock().get_mut(name), value) {
            (None, _) => error(ErrorKind::NotFound, format!("unknown variable `{name}`")),
            (Some(_), Some("bad")) => error(ErrorKind::Invalid, "bad value"),
            (Some(option), value) => {
                *option = value.unwrap_or_default().to_owned();
                Ok(())
            }
        }
    }
}

/// Builds `shop` by the catalog's own commands.
fn sample_catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let mut index = 0;
    let mut apply = |operation| {
        index += 1;
        let response = catalog.apply(&Command { request_id: index, operation }, &Context { now_ms: 1 });
        assert!(!matches!(response, Response::Refused(_)), "{response:?}");
        response
    };
    let Response::Node(node) =
        apply(Operation::RegisterNode { role: Role::Storage, address: "127.0.0.1:1".to_owned(), node_id: None })
    else {
        panic!("no node")
    };
    let Response::Database(shop) = apply(Operation::CreateDatabase { name: "shop".to_owned(), if_not_exists: false })
    else {
        panic!("no database")
    };
    apply(Operation::CreateDatabase { name: "empty".to_owned(), if_not_exists: false });
    for (name, model) in [("orders", TableModel::Duplicate), ("items_1", TableModel::PrimaryKey)] {
        let table = Box::new(table(name, model));
        apply(Operation::CreateTable { database: shop, table, if_not_exists: false, placement: vec![node].into() });
    }
    for (name, query) in [("totals", "SELECT 1"), ("broken", "SELECT * FROM gone")] {
        apply(view(shop, name, query));
    }
    catalog
}

fn table(name: &str, model: TableModel) -> TableSpec {
    let column = |id, name: &str, data_type, nullable| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable,
        aggregation: None,
        initial: None,
    };
    TableSpec {
        name: name.to_owned(),
        schema: TableSchema {
            model,
            keys: vec![ColumnId(1)],
            version: SchemaVersion(1),
            columns: vec![
                column(1, "id", TarnType::BigInt, false),
                column(2, "name", TarnType::Varchar(20), true),
                column(3, "price", TarnType::Decimal(10, 2), true),
            ],
            sort_key: vec![ColumnId(1)],
            indexes: Vec::new(),
        },
        columns: [(1, ""), (2, "who bought"), (3, "")]
            .map(|(id, comment)| (ColumnId(id), ColumnInfo { default: None, comment: comment.to_owned() }))
            .into(),
        explicit_sort_key: false,
        partitioning: Partitioning::None,
        distribution: Distribution { columns: vec![ColumnId(1)], buckets: 1, hash_version: 1 },
        replication: 1,
        colocate_with: None,
        properties: BTreeMap::new(),
        comment: String::new(),
        partitions: Vec::new(),
    }
}

fn view(database: DatabaseId, name: &str, query: &str) -> Operation {
    Operation::CreateView {
        database,
        name: name.to_owned(),
        columns: Vec::new(),
        query: query.to_owned(),
        comment: String::new(),
        or_replace: false,
        if_not_exists: false,
    }
}
