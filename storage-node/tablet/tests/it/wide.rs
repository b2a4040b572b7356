//! A table of 500 columns is merged in the memory of some segments, whatever its size.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tarn_proto::storage::LoadSpec;
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, TxnId};
use tarn_tablet::{Engine, Options, Stop};

use crate::fixture::{TABLET, manifest, publish};

const COLUMNS: u32 = 500;
const LOADS: u64 = 8;
const ROWS: u64 = 4000;
const SEGMENT_BYTES: u64 = 4 << 20;

fn schema() -> TableSchema {
    let columns = (0..COLUMNS).map(|id| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type: DataType::BigInt,
        nullable: false,
        aggregation: None,
        initial: None,
    });
    TableSchema {
        version: SchemaVersion(1),
        model: TableModel::Duplicate,
        columns: columns.collect(),
        keys: Vec::new(),
        sort_key: vec![ColumnId(0)],
        indexes: Vec::new(),
    }
}

/// Numbers that compress badly; rows of all loads lie between each other.
fn rows(schema: &TableSchema, load: u64) -> RecordBatch {
    let mut state = load;
    let columns = (0..COLUMNS).map(|_| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 29)) as i64
        })))
    });
    RecordBatch::try_new(schema.to_arrow(), columns.collect()).unwrap()
}

/// Bytes of memory by this name, of this process.
fn memory(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The peak is the process's: each test has one of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes on a busy machine: cargo nextest run -p tarn-tablet --run-ignored all wide"]
async fn a_table_of_many_columns_is_merged_in_the_memory_of_some_segments() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options { segment_bytes: SEGMENT_BYTES, ..Options::new(data.path()) }).unwrap();
    let schema = schema();
    engine.create_tablets(&schema, &[TABLET]).unwrap();
    for version in 2..LOADS + 2 {
        let mut writer = engine.begin(TxnId(version), "only", &LoadSpec::rows(schema.clone())).await.unwrap();
        writer.write(TABLET, rows(&schema, version)).await.unwrap();
        writer.finish().await.unwrap();
        publish(&engine, version, TABLET, version).unwrap();
    }
    let stored = engine.usage().bytes;
    let before = memory("VmRSS");
    // Forgets the peak of the loads.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    assert!(engine.compact(TABLET, &Stop::default()).unwrap().is_some());
    let peak = memory("VmHWM").saturating_sub(before);
    println!("{} MiB were merged in {} MiB", stored >> 20, peak >> 20);
    assert!(engine.compactions()[0].by_column_groups);
    assert!(stored > 16 * SEGMENT_BYTES, "{stored}");
    assert!(peak < stored / 2, "{} MiB of {} MiB", peak >> 20, stored >> 20);
    let merged = manifest(&engine, TABLET, LOADS + 1).unwrap();
    assert_eq!(merged.rowsets.len(), 1);
    assert_eq!(merged.rowsets[0].segments.iter().map(|s| s.rows).sum::<u64>(), LOADS * ROWS);
}
