//! Statements through the engine, over a real catalog on a real consensus log of one coordinator. The storage node is one
//! that remembers tablets and holds no rows.

mod cluster;
pub(crate) mod one;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::{Mutex, RwLock};
use tarn_catalog::{Operation, Response, Role};
use tarn_gateway::engine::{ClientInfo, Engine, Outcome, Session};
use tarn_proto::storage::{
    FileKey, LoadSpec, PublishTablet, Result as StoreResult, RowsetWriter, StoreError, StorePool, TabletStore,
    Unpublished,
};
use tarn_proto::wire::{HeartbeatRequest, Manifest, NodeRole, TabletReport};
use tarn_proto::{ErrorKind, NodeId, TableSchema, TabletId, TxnId, Version};
use tarn_raft::CatalogRaft;
use tarn_scan::{QueryRuntime, WorkerSet};

use crate::engine::CoordinatorEngine;
use crate::session::Shared;
use crate::{Config, Coordinator, Members, ReplicatedCatalog, query};
use one::One;

const STORAGE: &str = "127.0.0.1:2";

/// Remembers which tablets were created.
#[derive(Default)]
pub(crate) struct Tablets {
    pub created: Mutex<Vec<TabletId>>,
    /// Whether calls fail.
    pub away: AtomicBool,
}

impl Tablets {
    fn answers(&self) -> StoreResult<()> {
        match self.away.load(Ordering::SeqCst) {
            true => {
                Err(StoreError { kind: ErrorKind::Unavailable, address: STORAGE.into(), message: "is away".into() })
            }
            false => Ok(()),
        }
    }
}

fn no_rows<T>() -> StoreResult<T> {
    Err(StoreError { kind: ErrorKind::Invalid, address: STORAGE.into(), message: "holds no rows".into() })
}

#[async_trait]
impl TabletStore for Tablets {
    async fn create_tablets(&self, _: &TableSchema, tablets: &[TabletId]) -> StoreResult<()> {
        self.answers()?;
        self.created.lock().extend(tablets);
        Ok(())
    }
    async fn drop_tablets(&self, tablets: &[TabletId]) -> StoreResult<()> {
        self.answers()?;
        self.created.lock().retain(|t| !tablets.contains(t));
        Ok(())
    }
    async fn write(&self, _: TxnId, _: &str, _: &LoadSpec) -> StoreResult<Box<dyn RowsetWriter>> {
        no_rows()
    }
    async fn publish(&self, _: TxnId, _: &[PublishTablet]) -> StoreResult<Vec<Unpublished>> {
        no_rows()
    }
    async fn abort(&self, _: TxnId) -> StoreResult<()> {
        no_rows()
    }
    async fn manifests(&self, _: &[(TabletId, Version)]) -> StoreResult<Vec<Manifest>> {
        no_rows()
    }
    async fn read_ranges(&self, _: FileKey, _: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        no_rows()
    }
    async fn tablets(&self) -> StoreResult<Vec<TabletReport>> {
        self.answers()?;
        let report = |t: &TabletId| TabletReport { tablet_id: t.get(), ..TabletReport::default() };
        Ok(self.created.lock().iter().map(report).collect())
    }
}

struct World {
    one: One,
    store: Arc<Tablets>,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(Tablets::default());
        Self { one: One::start(store.clone()).await, store }
    }

    /// The rows of a statement as text, with `NULL`s; no rows where it returns none.
    async fn run(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let prepared = self.one.session.prepare(sql).await.map_err(|e| e.to_string())?;
        match self.one.session.execute(sql, None).await.map_err(|e| e.to_string())? {
            Outcome::Affected { .. } => {
                assert!(!prepared.returns_rows, "{sql}");
                Ok(Vec::new())
            }
            Outcome::Rows { schema, batches, .. } => {
                assert_eq!(prepared.schema, schema, "{sql}");
                let batches: Vec<_> = batches.try_collect().await.map_err(|e| e.to_string())?;
                let text = |column: &arrow::array::ArrayRef, row| {
                    let column = column.as_string::<i32>();
                    if arrow::array::Array::is_null(column, row) {
                        "NULL".to_owned()
                    } else {
                        column.value(row).to_owned()
                    }
                };
                let rows = batches.iter().flat_map(|batch| {
                    (0..batch.num_rows()).map(move |row| batch.columns().iter().map(|c| text(c, row)).collect())
                });
                Ok(rows.collect())
            }
        }
    }

    async fn ok(&self, sql: &str) -> Vec<Vec<String>> {
        self.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The values of one column.
    async fn column(&self, sql: &str, column: usize) -> Vec<String> {
        self.ok(sql).await.into_iter().map(|row| row[column].clone()).collect()
    }

    async fn refused(&self, sql: &str) -> String {
        self.run(sql).await.expect_err(sql)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_tables_are_made_shown_changed_and_dropped() {
    let world = World::new().await;
    assert!(world.refused("create table t (a int)").await.contains("no database is selected"));
    world.ok("create database shop").await;
    assert!(world.refused("create database shop").await.contains("`shop` exists already"));
    world.ok("create database if not exists shop").await;
    assert_eq!(world.column("show databases like 's%'", 0).await, ["shop"]);
    assert_eq!(world.refused("use nothing").await, "database `nothing` does not exist at line 1, column 5");
    world.ok("use shop").await;

    let create = "create table t (k int not null comment 'the key', d date, v varchar(9) default 'x') duplicate key (k) \
                  partition by range (d) (start ('2024-01-01') end ('2024-01-03') every (interval 1 day)) \
                  distributed by hash (k) buckets 3";
    world.ok(create).await;
    assert_eq!(world.store.created.lock().len(), 6, "two partitions of three tablets");
    assert!(world.refused(create).await.contains("`t` exists already"));
    assert_eq!(world.ok("show full tables").await, [["t", "BASE TABLE"]]);
    let expected = [
        ["k", "int", "NO", "true", "NULL", ""],
        ["d", "date", "YES", "false", "NULL", "NONE"],
        ["v", "varchar(9)", "YES", "false", "x", "NONE"],
    ];
    assert_eq!(world.ok("desc t").await, expected);
    assert_eq!(world.column("show partitions from t", 1).await, ["p20240101", "p20240102"]);
    assert_eq!(world.ok("show tablets from t partition (p20240102)").await.len(), 3);

    world.ok("alter table t add partition p3 values less than ('2024-02-01')").await;
    let ranges = world.column("show partitions from t", 6).await;
    assert_eq!(ranges[2], r#"[("2024-01-03"), ("2024-02-01"))"#);
    world.ok("alter table t rename partition p3 rest").await;
    world.ok("alter table t drop partition p20240101").await;
    assert_eq!(world.column("show partitions from t", 1).await, ["p20240102", "rest"]);
    let tablets = world.column("show tablets from t", 0).await;
    world.ok("truncate table t partition (rest)").await;
    assert_ne!(world.column("show tablets from t", 0).await, tablets);

    world.ok("create table u like t").await;
    let shown = world.column("show create table t", 1).await;
    let again = shown[0].replacen("`t`", "`w`", 1);
    world.ok(&again).await;
    assert_eq!(world.column("show create table w", 1).await, [again]);
    world.ok("alter table u rename z").await;
    assert_eq!(world.column("show tables", 0).await, ["t", "w", "z"]);
    world.ok("drop table z").await;
    assert!(world.refused("drop table z").await.contains("table `z` does not exist at line 1, column 12"));
    world.ok("drop table if exists z").await;
    world.ok("drop database shop").await;
    assert!(world.refused("show tables").await.contains("database `shop` does not exist"));
    world.one.raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_users_processes_and_nodes() {
    let world = World::new().await;
    assert!(world.one.engine.authenticate("root", "secret").await.is_ok());
    for (user, password) in [("root", ""), ("root", "secreT"), ("somebody", "secret")] {
        let error = world.one.engine.authenticate(user, password).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
    world.ok("set query_timeout = 7, time_zone = '+08:00', autocommit = ON").await;
    assert_eq!(world.ok("show variables like 'QUERY_time%'").await, [["query_timeout", "7"]]);
    let message = world.refused("set query_timeout = 8, query_timout = 9").await;
    assert!(message.contains("did you mean `query_timeout`? at line 1, column 24"), "{message}");
    assert_eq!(world.one.session.option("query_timeout").as_deref(), Some("7"), "all or nothing");
    world.ok("set query_timeout = default").await;
    assert_eq!(world.one.session.option("query_timeout").as_deref(), Some("300"));
    assert!(world.one.session.set_option("schema", Some("nothing")).await.is_err());
    world.ok("create database shop").await;
    world.one.session.set_option("schema", Some("shop")).await.unwrap();
    assert_eq!(world.one.session.option("schema").as_deref(), Some("shop"));

    let list = world.ok("show full processlist").await;
    assert_eq!(list.len(), 1, "{list:?}");
    let (id, database, sql) = (&list[0][1], &list[0][4], &list[0][9]);
    assert_eq!(
        (id, database.as_str(), sql.as_str()),
        (&world.one.session.id().to_string(), "shop", "show full processlist")
    );
    assert_eq!(world.column("show storage nodes", 2).await, [STORAGE]);
    assert_eq!(world.column("show storage nodes", 3).await, ["true"]);
    assert_eq!(world.column("show coordinators", 1).await, ["LEADER"]);
    assert!(world.ok("show compute nodes").await.is_empty());
    assert!(world.refused("kill query 'nothing'").await.contains("no statement and no connection"));
    world.ok(&format!("kill {id}")).await;
    assert!(world.refused("show processlist").await.contains("the connection was killed"));
    world.one.raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_serves_clients_joins_its_cluster_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spilled = folder.path().join("spill").join("datafusion-before");
    std::fs::create_dir_all(&spilled).unwrap();
    let config = Config {
        data: folder.path().into(),
        listen,
        flight: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        initial_voters: BTreeMap::from([("1".to_owned(), listen.to_string())]),
        ..Config::default()
    };
    let coordinator = Coordinator::start(config, StorePool::default()).await.unwrap();
    assert!(!spilled.exists(), "what an earlier process spilled goes");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    let told = loop {
        poll.tick().await;
        if let Some(member) = coordinator.members().get(NodeId(1)) {
            break member.clone();
        }
        assert!(Instant::now() < deadline, "no heartbeat: {:?}", coordinator.ready());
    };
    assert_eq!(told.flight_address, coordinator.flight_address());
    let load = told.load;
    assert!(load.cores > 0 && load.memory_used_bytes > 0 && load.disk_used_bytes > 0, "{load:?}");
    assert_eq!(coordinator.ready(), Ok(()));
    let answering = tokio::net::TcpStream::connect(coordinator.flight_address()).await;
    assert!(answering.is_ok(), "{answering:?}");
    drop(answering);
    let address = coordinator.flight_address().to_owned();
    coordinator.shutdown().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "nobody listens any more");
}
