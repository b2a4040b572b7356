//! Tablets that several output partitions merge, in ranges of the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use tarn_proto::storage::StorePool;
use tarn_proto::*;
use tarn_scan::{CacheConfig, Pruned, ScanContext, TabletRead, TabletScan};

use super::config;
use crate::fixture::{FakeStore, NODE, Table, VERSION, assert_same, replicas};

const ROWSETS: i64 = 3;
const ROWS: i64 = 220_000;

/// A UNIQUE table `(k text or number, l bigint) -> v bigint` whose rowsets overlap.
async fn session(key: DataType, text: impl Fn(i64) -> Option<String>) -> SessionContext {
    let is_text = key.is_text();
    let column = |id, name: &str, data_type, aggregation| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable: true,
        aggregation,
        initial: None,
    };
    let schema = TableSchema {
        version: SchemaVersion(1),
        model: TableModel::Unique,
        columns: vec![
            column(1, "k", key, None),
            column(2, "l", DataType::BigInt, None),
            column(3, "v", DataType::BigInt, Some(Aggregation::Replace)),
        ],
        keys: vec![ColumnId(1), ColumnId(2)],
        sort_key: vec![ColumnId(1), ColumnId(2)],
        indexes: Vec::new(),
    };
    let batch = |rows: &BTreeMap<(Option<String>, i64), i64>| {
        let keys: ArrayRef = if is_text {
            Arc::new(rows.keys().map(|(text, _)| text.clone()).collect::<StringViewArray>())
        } else {
            Arc::new(rows.keys().map(|(_, l)| Some(*l)).collect::<Int64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            keys,
            Arc::new(rows.keys().map(|(_, l)| Some(*l)).collect::<Int64Array>()),
            Arc::new(rows.values().map(|v| Some(*v)).collect::<Int64Array>()),
        ];
        RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
    };
    let store = Arc::new(FakeStore::default());
    let mut merged = BTreeMap::new();
    for rowset in 0..ROWSETS {
        // Every third, every second and every row of ranges that overlap.
        let rows = (0..ROWS).map(|i| i * (ROWSETS - rowset) + rowset * 50_000);
        let rows: BTreeMap<_, _> = rows.map(|l| ((if is_text { text(l) } else { None }, l), l * 10 + rowset)).collect();
        store.write(&schema, 1, 10 + rowset as u64, 0, &batch(&rows), &[]).await;
        merged.extend(rows);
    }
    let cache = CacheConfig { memory_bytes: 64 << 20, ..CacheConfig::default() };
    let context = ScanContext::new(StorePool::with_local(NODE, store), cache).await.unwrap();
    let rows = (ROWS * ROWSETS) as u64;
    let read = TabletRead { tablet: TabletId(1), version: VERSION, replicas: replicas(), rows, bytes: rows * 20 };
    let expected = batch(&merged);
    let spec = TabletScan {
        table: "db.things".to_owned(),
        schema,
        volume: None,
        partitions: vec![vec![read]],
        projection: vec![0, 1, 2],
        filters: Vec::new(),
        limit: None,
        exact_rows: false,
        pruned: Pruned::default(),
        bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
    };
    let session = SessionContext::new_with_config(config(3, 8192, true));
    session.register_table("things", Arc::new(Table { context, spec })).unwrap();
    let memory = MemTable::try_new(expected.schema(), vec![vec![expected]]).unwrap();
    session.register_table("expected", Arc::new(memory)).unwrap();
    session
}

const QUERIES: [&str; 5] = [
    "select count(*), count(k), sum(l), sum(v), min(v), max(v) from {t}",
    "select l % 7, sum(v), count(*) from {t} where l > 123456 group by l % 7",
    "select v from {t} where l between 99990 and 100010",
    "select count(*) from {t} where v % 10 = 1",
    "select count(*) from (select l from {t} limit 400000)",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tablet_is_merged_in_ranges_of_its_key() {
    let session = session(DataType::BigInt, |_| None).await;
    for sql in QUERIES {
        assert_same(&session, sql).await;
    }
    assert_same(&session, "select k, v from {t} where k = 150000 or k in (1, 2, 3)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_short_key_stay_together() {
    // A few texts, which are alike as far as a short key goes, and NULL.
    let text =
        |l: i64| (l % 100_000 != 5).then(|| format!("{}{}", "t".repeat((l / 150_000) as usize * 20), l / 100_000));
    let session = session(DataType::Varchar(200), text).await;
    for sql in QUERIES {
        assert_same(&session, sql).await;
    }
    assert_same(&session, "select k, count(*), sum(v) from {t} group by k").await;
}
