//! What merging costs. Run it by `cargo nextest run --release -p tarn-scan --run-ignored only merging --no-capture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::prelude::SessionContext;
use tarn_proto::storage::StorePool;
use tarn_proto::*;
use tarn_scan::{CacheConfig, Pruned, ScanContext, TabletRead, TabletScan};

use super::config;
use crate::fixture::{FakeStore, NODE, Table, VERSION, answer, replicas};

const ROWSETS: u64 = 10;
const ROWS: i64 = 400_000;

fn schema(model: TableModel, aggregation: Option<Aggregation>) -> TableSchema {
    let column = |id, name: &str, data_type, aggregation| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable: false,
        aggregation,
        initial: None,
    };
    TableSchema {
        version: SchemaVersion(1),
        model,
        columns: vec![
            column(1, "k", DataType::BigInt, None),
            column(2, "a", DataType::BigInt, aggregation),
            column(3, "b", DataType::BigInt, aggregation),
            column(4, "s", DataType::Varchar(20), aggregation.map(|_| Aggregation::Replace)),
        ],
        keys: vec![ColumnId(1)],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    }
}

/// Every rowset has a quarter of the keys, others than the rowset before.
fn rowset(number: u64, schema: &TableSchema) -> RecordBatch {
    let mix = |id: i64| (id as u64 ^ (number << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let keys: Vec<i64> = (0..ROWS).map(|i| i * 4 + (mix(i) % 4) as i64).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(keys)),
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|i| (mix(i) % 1000) as i64))),
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|i| mix(i) as i64))),
        Arc::new(StringViewArray::from_iter_values((0..ROWS).map(|i| format!("text {}", mix(i) % 5000)))),
    ];
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

async fn session(schema: TableSchema) -> SessionContext {
    let store = Arc::new(FakeStore::default());
    for number in 0..ROWSETS {
        store.write(&schema, 1, 10 + number, 0, &rowset(number, &schema), &[]).await;
    }
    let cache = CacheConfig { memory_bytes: 1 << 30, ..CacheConfig::default() };
    let context = ScanContext::new(StorePool::with_local(NODE, store), cache).await.unwrap();
    let rows = ROWS as u64 * ROWSETS;
    let (tablet, bytes) = (TabletId(1), rows * 20);
    let read = TabletRead { tablet, version: VERSION, replicas: replicas(), rows, bytes };
    let spec = TabletScan {
        table: "db.things".to_owned(),
        schema,
        volume: None,
        partitions: vec![vec![read]],
        projection: vec![0, 1, 2, 3],
        filters: Vec::new(),
        limit: None,
        exact_rows: false,
        pruned: Pruned::default(),
        bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
    };
    let session = SessionContext::new_with_config(config(2, 8192, true));
    session.register_table("things", Arc::new(Table { context, spec })).unwrap();
    session
}

async fn best(session: &SessionContext, sql: &str) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..4 {
        let started = Instant::now();
        answer(session, sql).await.unwrap();
        best = best.min(started.elapsed());
    }
    best
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn merging_ten_rowsets_against_reading_them() {
    let tables = [
        ("duplicate", schema(TableModel::Duplicate, None)),
        ("unique", schema(TableModel::Unique, Some(Aggregation::Replace))),
        ("aggregate", schema(TableModel::Aggregate, Some(Aggregation::Sum))),
    ];
    for (name, schema) in tables {
        let session = session(schema).await;
        for sql in ["select sum(a), sum(b) from things", "select sum(a), sum(b), max(s) from things"] {
            println!("{name}: {:?} {sql}", best(&session, sql).await);
        }
    }
}
