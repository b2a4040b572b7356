//! Bulk ingest through the engine, over a real catalog on a real consensus log. The storage node counts rows.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{ArrayRef, Int64Array};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tarn_ingest::{CatalogClient, Publisher};
use tarn_proto::storage::{
    Copies, FileKey, LoadSpec, PublishTablet, Result as StoreResult, RowsetWriter, TabletStore, Unpublished,
};
use tarn_proto::wire::{Manifest, RowsetSummary, TabletReport};
use tarn_proto::{ErrorKind, TableSchema, TabletId, TxnId, Version, task};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::reconcile::transactions::abandoned;
use crate::tests::one::One;

const MINUTE_MS: u64 = 60_000;
/// The id of the one storage node: the first that a catalog gives.
const STORAGE_NODE: u64 = 1001;

#[derive(Default)]
struct Rows(Mutex<Vec<TabletId>>);

#[async_trait]
impl TabletStore for Rows {
    async fn create_tablets(&self, _: &TableSchema, tablets: &[TabletId]) -> StoreResult<()> {
        self.0.lock().extend(tablets);
        Ok(())
    }
    async fn drop_tablets(&self, tablets: &[TabletId]) -> StoreResult<()> {
        self.0.lock().retain(|t| !tablets.contains(t));
        Ok(())
    }
    async fn write(&self, txn: TxnId, _: &str, _: &LoadSpec) -> StoreResult<Box<dyn RowsetWriter>> {
        Ok(Box::new(Writer { txn, rows: BTreeMap::new() }))
    }
    async fn publish(&self, _: TxnId, _: &[PublishTablet]) -> StoreResult<Vec<Unpublished>> {
        Ok(Vec::new())
    }
    async fn abort(&self, _: TxnId) -> StoreResult<()> {
        Ok(())
    }
    async fn manifests(&self, _: &[(TabletId, Version)]) -> StoreResult<Vec<Manifest>> {
        Ok(Vec::new())
    }
    async fn read_ranges(&self, _: FileKey, _: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        Ok(Vec::new())
    }
    async fn tablets(&self) -> StoreResult<Vec<TabletReport>> {
        let report = |t: &TabletId| TabletReport { tablet_id: t.get(), ..TabletReport::default() };
        Ok(self.0.lock().iter().map(report).collect())
    }
}

struct Writer {
    txn: TxnId,
    rows: BTreeMap<TabletId, u64>,
}

#[async_trait]
impl RowsetWriter for Writer {
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> StoreResult<()> {
        *self.rows.entry(tablet).or_default() += rows.num_rows() as u64;
        Ok(())
    }
    async fn finish(self: Box<Self>, _: &BTreeMap<TabletId, Copies>) -> StoreResult<Vec<RowsetSummary>> {
        let rowset_id = self.txn.get();
        let summary = |(tablet, rows): (TabletId, u64)| RowsetSummary {
            tablet_id: tablet.get(),
            rowset_id,
            rows,
            bytes: rows,
            holders: vec![STORAGE_NODE],
        };
        Ok(self.rows.into_iter().map(summary).collect())
    }
}

struct World {
    one: One,
    _publishing: DropGuard,
}

impl World {
    /// The database `shop`, in use.
    async fn new() -> Self {
        let one = One::start(Arc::new(Rows::default())).await;
        let publisher = Publisher::new(Arc::new(one.catalog.clone()), one.stores.clone());
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        task::spawn("publisher", async move { publisher.run(stop).await });
        let world = Self { one, _publishing: cancel.drop_guard() };
        world.run("create database shop").await;
        world.run("use shop").await;
        world
    }

    async fn run(&self, sql: &str) {
        self.one.session.execute(sql, None).await.map(drop).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Loads so many rows.
    async fn ingest(&self, table: &str, if_exists: IfTable, label: &str, rows: i64) -> Result<u64> {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("a", numbers)]).unwrap();
        let schema = batch.schema();
        self.one.session.ingest(request(table, if_exists, label), schema, stream::iter([Ok(batch)]).boxed()).await
    }

    /// Tables with the rows that are visible in them.
    fn tables(&self) -> Vec<(String, u64)> {
        let catalog = self.one.catalog.catalog();
        let rows = |relation: &Relation| match relation {
            Relation::Table(table) => (table.name.clone(), table.partitions.values().map(|p| p.rows).sum()),
            Relation::View(view) => panic!("{} is a view", view.name),
        };
        catalog.relations(catalog.database("shop").unwrap().id).map(rows).collect()
    }

    fn table(&self, name: &str) -> Arc<Table> {
        let catalog = self.one.catalog.catalog();
        catalog.table(catalog.database("shop").unwrap().id, name).unwrap()
    }
}

fn request(table: &str, if_exists: IfTable, label: &str) -> IngestRequest {
    let (table, label) = (table.to_owned(), Some(label.to_owned()));
    IngestRequest {
        database: None,
        table,
        if_absent: IfTable::Create,
        if_exists,
        label,
        update: UpdateOptions::default(),
    }
}

fn hidden(name: &str) -> String {
    hidden_name(name, &uuid::Uuid::now_v7().to_string())
}

fn named(name: &str, rows: u64) -> (String, u64) {
    (name.to_owned(), rows)
}

#[test]
fn hidden_names_are_told_from_users() {
    assert_eq!(hidden_for(&hidden("my_table")), Some("my_table"));
    for name in ["my_table", "__tarn_replacing_my_table", "__tarn_replacing_t_7"] {
        assert_eq!(hidden_for(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_replacement_leaves_the_table_that_it_made() {
    let world = World::new().await;
    assert_eq!(world.ingest("t", IfTable::Replace, "a", 3).await.unwrap(), 3);
    assert_eq!(world.ingest("t", IfTable::Replace, "a", 3).await.unwrap(), 3, "it was made under this label");
    assert_eq!(world.tables(), [named("t", 3)]);
    assert_eq!(world.ingest("t", IfTable::Replace, "b", 2).await.unwrap(), 2);
    let replaced = world.table("t").id;
    assert_eq!(world.ingest("t", IfTable::Replace, "b", 2).await.unwrap(), 2);
    assert_eq!(world.tables(), [named("t", 2)]);
    assert_eq!(world.table("t").id, replaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_finishes_a_replacement_that_was_loaded_and_never_put_in_its_place() {
    let world = World::new().await;
    world.ingest("t", IfTable::Replace, "a", 3).await.unwrap();
    world.ingest(&hidden("t"), IfTable::Fail, "b", 5).await.unwrap();
    assert_eq!(world.ingest("t", IfTable::Replace, "b", 5).await.unwrap(), 5);
    assert_eq!(world.tables(), [named("t", 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_of_another_tables_load_replaces_and_makes_nothing() {
    let world = World::new().await;
    world.ingest("t", IfTable::Replace, "a", 3).await.unwrap();
    world.ingest("u", IfTable::Fail, "b", 1).await.unwrap();
    for table in ["t", "w"] {
        let error = world.ingest(table, IfTable::Replace, "b", 3).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}");
        assert!(error.message.contains("label `b`"), "{error}");
        assert_eq!(world.tables(), [named("t", 3), named("u", 1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_load_drops_its_own_table_and_no_other_of_the_name() {
    let world = World::new().await;
    let schema = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap().schema();
    let failure = || EngineError { kind: ErrorKind::Invalid, message: "the source failed".to_owned() };
    let fails = stream::iter([Err(failure())]).boxed();
    world.one.session.ingest(request("t", IfTable::Fail, "a"), schema.clone(), fails).await.unwrap_err();
    assert!(world.tables().is_empty());

    let session = world.one.session.clone();
    let meanwhile = stream::once(async move {
        session.execute("drop table t", None).await?;
        session.execute("create table t (mine int)", None).await?;
        Err(failure())
    });
    world.one.session.ingest(request("t", IfTable::Fail, "a"), schema, meanwhile.boxed()).await.unwrap_err();
    assert_eq!(world.tables(), [named("t", 0)]);
    assert_eq!(world.table("t").schema.columns[0].name, "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_tables_go_when_nothing_can_bring_them_to_their_place() {
    let world = World::new().await;
    let (left, loaded) = (hidden("t"), hidden("t"));
    world.run(&format!("create table `{left}` (a int)")).await;
    world.run("create table `__tarn_replacing_t` (a int)").await;
    world.ingest(&loaded, IfTable::Fail, "a", 1).await.unwrap();
    let catalog = world.one.catalog.catalog();
    let made = world.table(&left).created_ms;
    assert!(abandoned(&catalog, made + MINUTE_MS).is_empty(), "its load may be about to begin");
    let names: Vec<_> = abandoned(&catalog, made + 60 * MINUTE_MS).iter().map(|t| t.name.clone()).collect();
    assert_eq!(names, [left]);
}
