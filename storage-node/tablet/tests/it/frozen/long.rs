//! A table with a segment long enough that its keys and times are written as differences: from the second version on.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use tarn_proto::storage::LoadSpec;
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, TabletId, TxnId};
use tarn_tablet::{Engine, inspect};

use super::read;
use crate::fixture::publish;

const TABLET: TabletId = TabletId(5);
const ROWS: i64 = 9000;
const TXN: u64 = 10;
const VERSION: u64 = 2;

fn table() -> TableSchema {
    let column = |id: u32, name: &str, data_type| Column {
        id: ColumnId(id),
        name: name.into(),
        data_type,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    TableSchema {
        version: SchemaVersion(1),
        model: TableModel::Duplicate,
        columns: vec![
            column(0, "key", DataType::BigInt),
            column(1, "at", DataType::DateTime),
            column(2, "text", DataType::String),
        ],
        keys: Vec::new(),
        sort_key: vec![ColumnId(0)],
        indexes: Vec::new(),
    }
}

fn rows() -> RecordBatch {
    let apart = |row: i64| row * 7919 % 1000;
    let keys = (0..ROWS).map(|row| 1_000_000 + row * 5 + apart(row) % 5);
    let times = (0..ROWS).map(|row| 1_700_000_000_000_000 + row * 4_000_000 + apart(row) * 1000);
    let texts = (0..ROWS).map(|row| format!("text {}", apart(row) * 977 + row));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(keys)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        Arc::new(StringViewArray::from_iter_values(texts)),
    ];
    RecordBatch::try_new(table().to_arrow(), columns).unwrap()
}

pub(super) async fn write(engine: &Arc<Engine>) {
    engine.create_tablets(&table(), &[TABLET]).unwrap();
    let mut writer = engine.begin(TxnId(TXN), "only", &LoadSpec::rows(table())).await.unwrap();
    writer.write(TABLET, rows()).await.unwrap();
    writer.finish().await.unwrap();
    publish(engine, TXN, TABLET, VERSION).unwrap();
}

/// Checks the table if the data directory has it.
pub(super) fn check(engine: &Engine, data: &Path) {
    let folder = data.join("tablets").join(TABLET.get().to_string());
    if !folder.exists() {
        return;
    }
    assert_eq!(read(engine, TABLET, VERSION, &table()), rows());
    for segment in inspect::inspect(&folder).unwrap().segments {
        for column in &segment.columns[..2] {
            let differences = column.encodings.iter().any(|piece| piece.encoding.contains("vortex.pco"));
            assert!(differences, "{column:?}");
        }
    }
}
