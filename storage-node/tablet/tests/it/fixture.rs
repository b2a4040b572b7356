//! An engine in a folder, a table and rows of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use bytes::Bytes;
use tarn_proto::storage::{FileKey, LoadSpec, PublishTablet, SegmentKey};
use tarn_proto::{
    Column, ColumnId, DataType, RowsetId, SchemaVersion, TableModel, TableSchema, TabletId, TxnId, Version, wire,
};
use tarn_tablet::{Engine, Error, Options, Result};

pub const TABLET: TabletId = TabletId(5);

/// The table `t (k bigint, s string)`, sorted by `k`.
pub fn table() -> TableSchema {
    let column = |id, name: &str, data_type| Column {
        id: ColumnId(id),
        name: name.into(),
        data_type,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: vec![column(1, "k", DataType::BigInt), column(2, "s", DataType::String)],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    }
}

/// `rows` rows that compress badly.
pub fn rows(seed: u64, rows: usize) -> RecordBatch {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) ^ (state << 21)
    };
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random() as i64)));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..rows).map(|_| format!("{:016x}", random()))));
    RecordBatch::try_new(table().to_arrow(), vec![keys, texts]).unwrap()
}

pub fn open(data: &Path) -> Arc<Engine> {
    // Segments of a few hundred kilobytes, so that a load has several of several blocks.
    Engine::open(Options { segment_bytes: 400 << 10, ..Options::new(data) }).unwrap()
}

pub async fn write(engine: &Arc<Engine>, txn: u64, attempt: &str, tablets: &[TabletId], batches: usize) -> Result<u64> {
    let mut writer = engine.begin(TxnId(txn), attempt, &LoadSpec::rows(table())).await?;
    for number in 0..batches {
        for tablet in tablets {
            writer.write(*tablet, rows(txn * 1000 + number as u64, 5000)).await?;
        }
    }
    Ok(writer.finish().await?.iter().map(|s| s.rows).sum())
}

/// Publishes a load; a tablet that does not take it is an error.
pub fn publish(engine: &Engine, txn: u64, tablet: TabletId, version: u64) -> Result<()> {
    let version = Version(version);
    let unpublished = engine.publish(TxnId(txn), &[PublishTablet { tablet, version, has_rowset: true }])?;
    match unpublished.into_iter().find(|unpublished| !unpublished.damaged) {
        Some(unpublished) => Err(Error::Behind { tablet, version, reason: unpublished.reason }),
        None => Ok(()),
    }
}

pub fn manifest(engine: &Engine, tablet: TabletId, version: u64) -> Result<wire::Manifest> {
    Ok(engine.manifests(&[(tablet, Version(version))])?.remove(0))
}

/// A segment's file, as its manifest names it.
pub fn file_of(tablet: TabletId, rowset: &wire::Rowset, segment: &wire::Segment) -> FileKey {
    let key = SegmentKey { tablet, rowset: RowsetId(rowset.id), segment: segment.number };
    FileKey { segment: key, checksum: segment.checksum }
}

/// All bytes of a segment, verified.
pub fn read_all(engine: &Engine, tablet: TabletId, rowset: &wire::Rowset, segment: &wire::Segment) -> Result<Bytes> {
    let whole = 0..segment.bytes;
    Ok(engine.read_ranges(file_of(tablet, rowset, segment), std::slice::from_ref(&whole))?.remove(0))
}

/// Reads every byte of every segment, and so verifies it; returns the rows.
pub fn verify(engine: &Engine, manifest: &wire::Manifest) -> std::result::Result<u64, Error> {
    let mut count = 0;
    for rowset in &manifest.rowsets {
        for segment in &rowset.segments {
            let read = read_all(engine, TabletId(manifest.tablet_id), rowset, segment)?;
            assert_eq!(read.len() as u64, segment.bytes);
            count += segment.rows;
        }
    }
    Ok(count)
}

pub fn folder(data: &Path, tablet: TabletId) -> PathBuf {
    data.join("tablets").join(tablet.get().to_string())
}

/// Names of the files in a tablet's folder.
pub fn files(data: &Path, tablet: TabletId) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder(data, tablet)) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Changes one bit of a file.
pub fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Closes an engine, so that another can open its directory: tasks of a load that has ended may still hold it.
pub fn close(engine: Arc<Engine>) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while Arc::strong_count(&engine) > 1 {
        assert!(std::time::Instant::now() < deadline, "the engine stays open");
        std::thread::yield_now();
    }
}
