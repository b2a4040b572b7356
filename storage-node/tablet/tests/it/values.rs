//! Tables of six numbers for each model, and their rows as they come back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use tarn_proto::segment::storage_schema;
use tarn_proto::storage::LoadSpec;
use tarn_proto::{
    Aggregation, Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, TabletId, TxnId, wire,
};
use tarn_tablet::{Engine, Result};
use vortex::VortexSessionDefault;
use vortex::file::OpenOptionsSessionExt;
use vortex::io::runtime::BlockingRuntime;
use vortex::io::runtime::current::CurrentThreadRuntime;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;

use crate::fixture::{TABLET, manifest, read_all};

/// The key and five values.
pub type Row = [Option<i64>; 6];

/// A table `k, a .. e`; AGGREGATE: sum, min, max, replace, replace_if_not_null.
pub fn schema(model: TableModel) -> TableSchema {
    let of = |id: u32| match (model, id) {
        (TableModel::Duplicate | TableModel::PrimaryKey, _) | (_, 0) => None,
        (TableModel::Unique, _) => Some(Aggregation::Replace),
        (TableModel::Aggregate, id) => {
            [Aggregation::Sum, Aggregation::Min, Aggregation::Max, Aggregation::Replace, Aggregation::ReplaceIfNotNull]
                .get(id as usize - 1)
                .copied()
        }
    };
    let columns = (0..6).map(|id| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type: DataType::BigInt,
        nullable: true,
        aggregation: of(id),
        initial: None,
    });
    TableSchema {
        version: SchemaVersion(1),
        model,
        columns: columns.collect(),
        keys: vec![ColumnId(0)],
        sort_key: vec![ColumnId(0)],
        indexes: Vec::new(),
    }
}

fn batch(schema: &TableSchema, rows: &[Row]) -> RecordBatch {
    let column = |i: usize| Arc::new(Int64Array::from_iter(rows.iter().map(|row| row[i]))) as ArrayRef;
    RecordBatch::try_new(schema.to_arrow(), (0..6).map(column).collect()).unwrap()
}

/// Writes batches as transaction `txn`, which is pending then.
pub async fn load(engine: &Arc<Engine>, schema: &TableSchema, txn: u64, batches: &[Vec<Row>]) -> Result<()> {
    let mut writer = engine.begin(TxnId(txn), "only", &LoadSpec::rows(schema.clone())).await?;
    for rows in batches {
        writer.write(TABLET, batch(schema, rows)).await?;
    }
    assert_eq!(writer.finish().await?.len(), 1);
    Ok(())
}

/// The report of the tablet.
pub fn newest(engine: &Engine) -> wire::TabletReport {
    engine.reports().into_iter().find(|report| TabletId(report.tablet_id) == TABLET).unwrap()
}

/// All stored rows at a version, in merge order. Checks that segments are sorted, and that those of models that merge, and
/// what a compaction wrote, hold each key once.
pub fn read(engine: &Engine, schema: &TableSchema, version: u64) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for rowset in &manifest(engine, TABLET, version)?.rowsets {
        let first = all.len();
        for segment in &rowset.segments {
            let rows = decode(schema, read_all(engine, TABLET, rowset, segment)?);
            assert_eq!(rows.len() as u64, segment.rows);
            check_order(schema, &rows);
            all.extend(rows);
        }
        if rowset.id >> 63 == 1 {
            check_order(schema, &all[first..]);
        }
    }
    Ok(all)
}

fn check_order(schema: &TableSchema, rows: &[Row]) {
    let in_order = |a: &Row, b: &Row| if schema.model.merges_on_read() { a[0] < b[0] } else { a[0] <= b[0] };
    assert!(rows.is_sorted_by(in_order), "{rows:?}");
}

fn decode(schema: &TableSchema, bytes: bytes::Bytes) -> Vec<Row> {
    let runtime = CurrentThreadRuntime::new();
    let session = VortexSession::default().with_handle(runtime.handle());
    let file = session.open_options().open_buffer(bytes).unwrap();
    let batches = file.scan().unwrap().into_record_batch_reader(storage_schema(&schema.columns), &runtime).unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let columns: Vec<_> = batch.columns().iter().map(|c| c.as_primitive::<Int64Type>().clone()).collect();
        let value = |column: &Int64Array, row: usize| {
            use arrow::array::Array;
            column.is_valid(row).then(|| column.value(row))
        };
        rows.extend((0..batch.num_rows()).map(|row| std::array::from_fn(|i| value(&columns[i], row))));
    }
    rows
}
