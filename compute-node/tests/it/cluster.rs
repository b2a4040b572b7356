//! Compute nodes of a test, each in a runtime of its own that can be killed, and the coordinator's side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use tarn_compute_node::{ComputeNode, Config};
use tarn_planner::distributed::{RemoteQuery, WorkerChannels, prepare, spread};
use tarn_proto::TabletId;
use tarn_proto::storage::{Peer, StorePool};
use tarn_scan::{CacheConfig, Pruned, ScanContext, TabletRead, TabletScan, WorkerSet};
use tokio::runtime::Runtime;
use url::Url;

use crate::store::{NODE, Store, Table, VERSION, tables};

/// What each tablet claims to weigh, so that plans are distributed.
const BYTES: u64 = 1 << 30;

pub struct Cluster {
    pub store: Arc<Store>,
    pub nodes: Vec<Node>,
    pub workers: WorkerSet,
    pub channels: WorkerChannels,
    context: Arc<ScanContext>,
    tables: Vec<Table>,
}

/// A compute node in its own runtime.
pub struct Node {
    runtime: Option<Runtime>,
    pub node: Option<ComputeNode>,
    _data: tempfile::TempDir,
}

impl Node {
    pub async fn start(store: Arc<Store>, config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let data = tempfile::tempdir().unwrap();
        let config = Config { listen: "127.0.0.1:0".parse().unwrap(), data_dir: data.path().to_owned(), ..config };
        let start = async move {
            let context = context(store).await;
            ComputeNode::start_with(config, context).await.unwrap()
        };
        let node = runtime.spawn(start).await.unwrap();
        Self { runtime: Some(runtime), node: Some(node), _data: data }
    }

    pub fn url(&self) -> Url {
        format!("http://{}", self.running().address()).parse().unwrap()
    }

    pub fn running(&self) -> &ComputeNode {
        self.node.as_ref().expect("the node was not killed")
    }

    /// Ends the node as a crash does: connections break, nothing is said.
    pub fn kill(&mut self) {
        self.runtime.take().expect("not killed twice").shutdown_background();
        self.node = None;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn context(store: Arc<Store>) -> Arc<ScanContext> {
    let cache = CacheConfig { memory_bytes: 64 << 20, ..CacheConfig::default() };
    ScanContext::new(StorePool::with_local(NODE, store), cache).await.unwrap()
}

impl Cluster {
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, Config::default()).await
    }

    pub async fn start_with(nodes: usize, config: Config) -> Self {
        let tables = tables();
        let store = Store::new(&tables).await;
        let mut started = Vec::new();
        for _ in 0..nodes {
            started.push(Node::start(store.clone(), config.clone()).await);
        }
        let workers = WorkerSet::new(started.iter().map(Node::url).collect());
        let context = context(store.clone()).await;
        Self { store, nodes: started, workers, channels: WorkerChannels::default(), context, tables }
    }

    /// A session that plans for the cluster's workers.
    pub fn session(&self, query_id: &str) -> SessionContext {
        self.session_on(&self.workers, query_id, None)
    }

    /// A session that runs everything here.
    pub fn plain_session(&self) -> SessionContext {
        self.session_on(&WorkerSet::default(), "plain", None)
    }

    pub fn session_on(&self, workers: &WorkerSet, query_id: &str, memory: Option<u64>) -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(3).with_batch_size(1000);
        let mut builder = SessionStateBuilder::new().with_default_features().with_config(config);
        let query = RemoteQuery {
            query_id: query_id.to_owned(),
            memory_limit_bytes: memory,
            scan_bytes_per_task: tarn_scan::TabletTaskCount::BYTES_PER_TASK,
            collect_metrics: true,
        };
        if !workers.snapshot().is_empty() {
            builder = prepare(builder);
            let config = builder.config().take().unwrap();
            builder = builder.with_config(spread(config, &self.context, workers, &self.channels, &query).unwrap());
        }
        let session = SessionContext::new_with_state(builder.build());
        for table in &self.tables {
            let tablets = table.parts.iter().map(|(tablet, rows)| TabletRead {
                tablet: TabletId(*tablet),
                version: VERSION,
                replicas: [Peer { node: NODE, address: "127.0.0.1:1".to_owned() }].into(),
                rows: rows.num_rows() as u64,
                bytes: BYTES,
            });
            let scan = TabletScan {
                table: format!("db.{}", table.name),
                schema: table.schema.clone(),
                volume: None,
                partitions: vec![tablets.collect()],
                projection: Vec::new(),
                filters: Vec::new(),
                limit: None,
                exact_rows: false,
                pruned: Pruned::default(),
                bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
            };
            let provider = Provider { context: self.context.clone(), scan };
            session.register_table(table.name, Arc::new(provider)).unwrap();
        }
        session
    }

    pub fn running(&self) -> Vec<usize> {
        self.nodes.iter().filter_map(|n| n.node.as_ref()).map(ComputeNode::running).collect()
    }
}

#[derive(Debug)]
struct Provider {
    context: Arc<ScanContext>,
    scan: TabletScan,
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        self.scan.schema.to_arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.scan.schema.columns.len()).collect();
        let scan = TabletScan { projection: projection.cloned().unwrap_or_else(all), limit, ..self.scan.clone() };
        tarn_scan::scan(self.context.clone(), scan)
    }
}

pub async fn plan(session: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    session.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// The rows of a plan as text.
pub async fn rows(session: &SessionContext, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<String>> {
    let batches: Vec<_> = execute_stream(plan.clone(), session.task_ctx())?.try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        let options = FormatOptions::new();
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    Ok(rows)
}

pub async fn answer(session: &SessionContext, sql: &str) -> Result<Vec<String>> {
    rows(session, &plan(session, sql).await).await
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
