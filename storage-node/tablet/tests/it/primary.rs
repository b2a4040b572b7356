//! PRIMARY KEY tables against a naive map: loads of upserts and deletes, compactions, and whatever may happen to the index.

mod bench;
mod kill;
mod model;
pub mod updates;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use roaring::RoaringBitmap;
use tarn_proto::segment::{from_storage, storage_schema};
use tarn_proto::storage::LoadSpec;
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, TabletId, TxnId};
use tarn_tablet::{Engine, Options, Result};
use vortex::VortexSessionDefault;
use vortex::file::OpenOptionsSessionExt;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;

use crate::fixture::{TABLET, manifest, publish, read_all};

/// An operation on a key: its new value, or none to delete it.
pub type Operation = (i64, Option<i64>);

/// The table `t (g varchar, k bigint, v bigint)` with PRIMARY KEY (g, k), sorted by `v` or by the key.
pub fn table(by_value: bool) -> TableSchema {
    let column = |id, name: &str, data_type| Column {
        id: ColumnId(id),
        name: name.into(),
        data_type,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    let keys = vec![ColumnId(1), ColumnId(2)];
    TableSchema {
        version: SchemaVersion(1),
        model: TableModel::PrimaryKey,
        columns: vec![
            column(1, "g", DataType::Varchar(100)),
            column(2, "k", DataType::BigInt),
            column(3, "v", DataType::BigInt),
        ],
        sort_key: if by_value { vec![ColumnId(3)] } else { keys.clone() },
        keys,
        indexes: Vec::new(),
    }
}

/// A batch of operations in their order; without `__op` if there is nothing to delete.
pub fn batch(schema: &TableSchema, operations: &[Operation]) -> RecordBatch {
    let groups = operations.iter().map(|(key, _)| "\0".repeat((key % 3) as usize));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(groups)),
        Arc::new(Int64Array::from_iter_values(operations.iter().map(|o| o.0))),
        Arc::new(Int64Array::from_iter_values(operations.iter().map(|o| o.1.unwrap_or(-1)))),
    ];
    if operations.iter().all(|(_, value)| value.is_some()) {
        return RecordBatch::try_new(schema.to_arrow(), columns).unwrap();
    }
    columns.push(Arc::new(Int8Array::from_iter_values(operations.iter().map(|o| i8::from(o.1.is_none())))));
    RecordBatch::try_new(schema.to_arrow_with_op(), columns).unwrap()
}

/// Opens an engine that makes a segment of every batch.
pub fn open(data: &Path) -> Arc<Engine> {
    Engine::open(Options { segment_bytes: 1, ..Options::new(data) }).unwrap()
}

/// Loads batches, a segment each, under transaction and version `version`.
pub async fn load(engine: &Arc<Engine>, schema: &TableSchema, version: u64, batches: &[Vec<Operation>]) -> Result<()> {
    write(engine, schema, version, batches).await?;
    publish(engine, version, TABLET, version)
}

/// The same without publishing.
pub async fn write(engine: &Arc<Engine>, schema: &TableSchema, txn: u64, batches: &[Vec<Operation>]) -> Result<()> {
    let mut writer = engine.begin(TxnId(txn), "a", &LoadSpec::rows(schema.clone())).await?;
    for operations in batches {
        writer.write(TABLET, batch(schema, operations)).await?;
    }
    writer.finish().await.map(drop)
}

/// What the table holds after these operations.
pub fn apply(rows: &mut BTreeMap<i64, i64>, batches: &[Vec<Operation>]) {
    for (key, value) in batches.iter().flatten() {
        match value {
            Some(value) => drop(rows.insert(*key, *value)),
            None => drop(rows.remove(key)),
        }
    }
}

/// The rows of a version, as a scan sees them; a key that stands twice is an error.
pub async fn rows(engine: &Engine, schema: &TableSchema, version: u64) -> Result<BTreeMap<i64, i64>> {
    let mut rows = BTreeMap::new();
    for batch in live_rows(engine, schema, version).await? {
        let keys = batch.column(1).as_primitive::<Int64Type>();
        let values = batch.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let twice = rows.insert(keys.value(row), values.value(row));
            assert_eq!(twice, None, "key {} has two rows in version {version}", keys.value(row));
        }
    }
    Ok(rows)
}

/// The rows of a version, a batch for each segment.
pub async fn live_rows(engine: &Engine, schema: &TableSchema, version: u64) -> Result<Vec<RecordBatch>> {
    let session = VortexSession::default().with_tokio();
    let stored = storage_schema(&schema.columns);
    let mut live = Vec::new();
    for rowset in &manifest(engine, TABLET, version)?.rowsets {
        for segment in &rowset.segments {
            assert!(segment.rows > 0);
            let deleted = match segment.delete_vector.is_empty() {
                true => RoaringBitmap::new(),
                false => RoaringBitmap::deserialize_from(&segment.delete_vector[..]).unwrap(),
            };
            let bytes = read_all(engine, TABLET, rowset, segment)?;
            let file = session.open_options().open_buffer(bytes).unwrap();
            let stream = file.scan().unwrap().into_record_batch_stream(stored.clone()).unwrap();
            let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
            let all = from_storage(&schema.columns, &concat_batches(&stored, &batches).unwrap()).unwrap();
            assert_eq!(all.num_rows() as u64, segment.rows);
            let kept: BooleanArray = (0..segment.rows as u32).map(|row| Some(!deleted.contains(row))).collect();
            live.push(filter_record_batch(&all, &kept).unwrap());
        }
    }
    Ok(live)
}
