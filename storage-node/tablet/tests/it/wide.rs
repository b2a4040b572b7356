//! A table of 500 columns is merged by groups of columns: in the memory that it is given, and each file opened once.
//!
//! The peak is that of the whole process: each test needs one of its own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use tarn_proto::storage::LoadSpec;
use tarn_proto::wire::CompactionReport;
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, TxnId};
use tarn_tablet::{Engine, Options, Stop};

use crate::allocated::peak_of;
use crate::fixture::{TABLET, close, manifest, publish, verify};

const COLUMNS: u32 = 500;
/// One column of so many is text.
const TEXTS: u32 = 10;
const LOADS: u64 = 8;
const ROWS: u64 = 600;
const SEGMENT_BYTES: u64 = 2 << 20;
/// A third of the rows.
const MEMORY: u64 = 8 << 20;
/// What else a merge takes, whatever its inputs are: for each column of the segment that is written what the format counts for
/// its statistics, about 75 KiB; rows that the segment buffers, and the same compressed.
const BESIDE: u64 = COLUMNS as u64 * (96 << 10) + 4 * SEGMENT_BYTES;

fn schema() -> TableSchema {
    let columns = (0..COLUMNS).map(|id| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type: if id % TEXTS == 1 { DataType::String } else { DataType::BigInt },
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

/// Rows that compress badly; those of all loads lie between each other.
fn rows(schema: &TableSchema, load: u64) -> RecordBatch {
    let mut state = load;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ (state >> 29)
    };
    let columns = schema.columns.iter().map(|column| -> ArrayRef {
        match column.data_type {
            DataType::String => {
                Arc::new(StringViewArray::from_iter_values((0..ROWS).map(|_| format!("{:016x}", random()))))
            }
            _ => Arc::new(Int64Array::from_iter_values((0..ROWS).map(|_| random() as i64))),
        }
    });
    RecordBatch::try_new(schema.to_arrow(), columns.collect()).unwrap()
}

/// What a merge took, and what was allocated for it.
struct Merged {
    report: CompactionReport,
    allocated: u64,
}

/// An engine of small segments.
fn open(options: Options) -> Arc<Engine> {
    Engine::open(Options { segment_bytes: SEGMENT_BYTES, ..options }).unwrap()
}

async fn load(data: &Path) {
    let engine = open(Options::new(data));
    let schema = schema();
    engine.create_tablets(&schema, &[TABLET]).unwrap();
    for version in 2..LOADS + 2 {
        let mut writer = engine.begin(TxnId(version), "only", &LoadSpec::rows(schema.clone())).await.unwrap();
        writer.write(TABLET, rows(&schema, version)).await.unwrap();
        writer.finish().await.unwrap();
        publish(&engine, version, TABLET, version).unwrap();
    }
    close(engine);
}

/// Merges all that was loaded.
fn merge(options: Options) -> Merged {
    let engine = open(options);
    let (merged, allocated) = peak_of(|| engine.compact(TABLET, &Stop::default()).unwrap());
    assert_eq!(merged.unwrap().rowsets as u64, LOADS);
    let report = engine.compactions().remove(0);
    let manifest = manifest(&engine, TABLET, LOADS + 1).unwrap();
    assert_eq!(manifest.rowsets.len(), 1);
    assert_eq!(verify(&engine, &manifest).unwrap(), LOADS * ROWS);
    println!(
        "{} groups: {} KiB merged in {} KiB, rows in {} KiB; {} KiB read",
        report.column_groups,
        report.bytes >> 10,
        allocated >> 10,
        report.peak_memory >> 10,
        report.bytes_read >> 10
    );
    Merged { report, allocated }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_many_columns_is_merged_in_the_memory_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (data, same) = (folder.path().join("data"), folder.path().join("same"));
    load(&data).await;
    copy(&data, &same);
    let groups = merge(Options { compaction_memory_bytes: MEMORY, ..Options::new(&data) });
    assert!(groups.report.column_groups > 30, "{:?}", groups.report);
    assert!(groups.report.peak_memory <= MEMORY, "{:?}", groups.report);
    assert!(groups.allocated <= MEMORY + BESIDE, "{} KiB", groups.allocated >> 10);

    // What the bound is worth: rows that are merged whole, as much as the memory that is given by default allows.
    let whole = merge(Options { vertical_columns: COLUMNS as usize, ..Options::new(&same) });
    assert_eq!(whole.report.column_groups, 0);
    assert!(whole.report.peak_memory > MEMORY, "{:?}", whole.report);
    assert!(whole.allocated > MEMORY + BESIDE, "{} KiB", whole.allocated >> 10);
}
