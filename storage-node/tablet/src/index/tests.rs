use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use tarn_proto::index::{FIRST_READ_BYTES, Tail, bitmap};
use tarn_proto::storage::{FileKey, IndexFileKey, IndexKey, LoadSpec, PublishTablet, SegmentKey};
use tarn_proto::{
    Column, ColumnId, DataType, Index, IndexKind, RowsetId, SchemaVersion, TableModel, TableSchema, TabletId, TxnId,
    Version, wire,
};

use super::make::difference;
use crate::record::{IndexFile, IndexRecord, SegmentRecord};
use crate::{Engine, Error, IndexWork, Options, Stop};

const TABLET: TabletId = TabletId(5);
const NAMES: IndexKey = IndexKey { column: ColumnId(2), kind: IndexKind::Bitmap };
const FILTERS: IndexKey = IndexKey { column: ColumnId(1), kind: IndexKind::Bloom };

fn schema(version: u32, indexes: &[IndexKey]) -> TableSchema {
    let column = |id: u32, name: &str, data_type| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable: true,
        aggregation: None,
        initial: None,
    };
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(version),
        columns: vec![column(1, "k", DataType::BigInt), column(2, "name", DataType::String)],
        sort_key: vec![ColumnId(1)],
        indexes: indexes
            .iter()
            .map(|key| Index { name: "i".to_owned(), column: key.column, kind: key.kind, comment: String::new() })
            .collect(),
    }
}

/// Loads rows `keys` and publishes them as a version.
async fn load(engine: &Arc<Engine>, schema: &TableSchema, version: u64, keys: std::ops::Range<i64>) {
    let txn = TxnId(100 + version);
    let mut writer = engine.begin(txn, "a", &LoadSpec::rows(schema.clone())).await.unwrap();
    let names: StringViewArray = keys.clone().map(|k| (k % 5 != 0).then(|| format!("n{}", k % 5))).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(keys)), Arc::new(names)];
    writer.write(TABLET, RecordBatch::try_new(schema.to_arrow(), columns).unwrap()).await.unwrap();
    writer.finish().await.unwrap();
    let publish = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
    assert!(engine.publish(txn, &[publish]).unwrap().is_empty());
}

fn manifest(engine: &Engine, version: u64) -> wire::Manifest {
    engine.manifests(&[(TABLET, Version(version))]).unwrap().remove(0)
}

/// What the indexes of the names of a version's segments say together.
fn names(engine: &Engine, version: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for rowset in manifest(engine, version).rowsets {
        for segment in rowset.segments {
            let key = SegmentKey { tablet: TABLET, rowset: RowsetId(rowset.id), segment: segment.number };
            let key = FileKey { segment: key, checksum: segment.checksum };
            let told = segment.indexes.iter().find(|i| i.column == 2).expect("a segment has its index");
            assert!(told.bytes <= FIRST_READ_BYTES);
            let index = IndexFileKey { index: NAMES, checksum: told.checksum };
            let file = engine.read_index(key, index, std::slice::from_ref(&(0..told.bytes))).unwrap().remove(0);
            assert_eq!(crc32c::crc32c(&file), told.checksum);
            let Tail::Complete(directory) = bitmap::Directory::decode(&file, told.bytes).unwrap() else { panic!() };
            for number in 0..directory.blocks.len() {
                let place = directory.blocks[number].place.range();
                let entries = &file[place.start as usize..place.end as usize];
                for entry in directory.decode_block(number, entries).unwrap() {
                    *counts.entry(String::from_utf8(entry.value).unwrap()).or_default() += u64::from(entry.rows);
                }
            }
            *counts.entry("NULL".to_owned()).or_default() += u64::from(directory.null_rows);
        }
    }
    counts
}

fn expected(rows: u64) -> BTreeMap<String, u64> {
    ["NULL", "n1", "n2", "n3", "n4"].map(|name| (name.to_owned(), rows / 5)).into()
}

fn index_files(folder: &std::path::Path) -> usize {
    let tablet = folder.join("tablets").join(TABLET.get().to_string());
    let names = std::fs::read_dir(tablet).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("index")).count()
}

#[tokio::test]
async fn indexes_are_made_with_segments_and_for_those_that_lack_them() {
    let folder = tempfile::tempdir().unwrap();
    let (without, with) = (schema(1, &[]), schema(2, &[NAMES, FILTERS]));
    let mut work = IndexWork::default();
    {
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        engine.create_tablets(&without, &[TABLET]).unwrap();
        load(&engine, &without, 2, 0..100).await;
        assert_eq!(index_files(folder.path()), 0);
        // The load brings the schema that has the index.
        load(&engine, &with, 3, 100..200).await;
        assert_eq!((index_files(folder.path()), engine.reports()[0].indexes_missing), (2, 1));
        assert_eq!(engine.make_indexes(&mut work, Instant::now(), &Stop::default()), 2);
        assert_eq!((index_files(folder.path()), engine.reports()[0].indexes_missing), (4, 0));
        assert_eq!(engine.make_indexes(&mut work, Instant::now(), &Stop::default()), 0);
        assert_eq!(names(&engine, 3), expected(200));
    }
    // They are there after a restart, and a file that nobody names is not.
    let stray = folder.path().join("tablets/5/999_0.c2.bitmap.index");
    std::fs::write(&stray, b"stray").unwrap();
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    assert!(!stray.exists());
    assert_eq!((index_files(folder.path()), engine.reports()[0].indexes_missing), (4, 0));
    assert_eq!(names(&engine, 3), expected(200));
    // A compaction makes its own; those of what it replaced go with it.
    while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {}
    engine.remove_superseded(Instant::now()).unwrap();
    engine.remove_superseded(Instant::now() + Duration::from_secs(100_000)).unwrap();
    assert_eq!(names(&engine, 3), expected(200));
    assert_eq!(index_files(folder.path()), 2 * manifest(&engine, 3).rowsets.len());
}

#[tokio::test]
async fn a_lost_file_is_made_again_and_a_dropped_index_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    let with = schema(1, &[NAMES]);
    engine.create_tablets(&with, &[TABLET]).unwrap();
    load(&engine, &with, 2, 0..50).await;
    let file = folder.path().join("tablets/5/102_0.c2.bitmap.index");
    std::fs::remove_file(&file).unwrap();
    let segment = manifest(&engine, 2).rowsets[0].segments[0].clone();
    let key = SegmentKey { tablet: TABLET, rowset: RowsetId(102), segment: 0 };
    let key = FileKey { segment: key, checksum: segment.checksum };
    let index = IndexFileKey { index: NAMES, checksum: segment.indexes[0].checksum };
    let read = |key, index| engine.read_index(key, index, std::slice::from_ref(&(0..4)));
    assert_eq!(read(key, index).unwrap_err().kind(), tarn_proto::ErrorKind::NotFound);
    let mut work = IndexWork::default();
    assert_eq!(engine.make_indexes(&mut work, Instant::now(), &Stop::default()), 1);
    assert_eq!(names(&engine, 2), expected(50));
    read(key, index).unwrap();
    // Of another file, or of another segment file.
    let other = IndexFileKey { checksum: !index.checksum, ..index };
    assert!(matches!(read(key, other), Err(Error::UnknownIndex { .. })));
    let other = FileKey { checksum: !key.checksum, ..key };
    assert!(matches!(read(other, index), Err(Error::OtherFile { .. })));
    // A load under a schema without the index takes it away.
    load(&engine, &schema(2, &[]), 3, 50..100).await;
    engine.make_indexes(&mut work, Instant::now(), &Stop::default());
    assert!(!file.exists() && manifest(&engine, 3).rowsets.iter().all(|r| r.segments[0].indexes.is_empty()));
}

#[test]
fn an_index_that_would_not_help_is_not_asked_for_again() {
    let segment = |indexes| SegmentRecord { rows: 1, bytes: 1, checksum: 1, indexes };
    let record = |key: IndexKey, file| IndexRecord { column: key.column, kind: key.kind, file };
    let some = Some(IndexFile { bytes: 1, checksum: 1 });
    let schema = schema(1, &[NAMES, FILTERS]);
    let of = |indexes, there: bool| {
        let found = difference(&schema, &segment(indexes), |_| there);
        (found.lacking, found.unwanted)
    };
    assert_eq!(of(vec![], true), (vec![NAMES, FILTERS], vec![]));
    assert_eq!(of(vec![record(NAMES, None), record(FILTERS, some)], true), (vec![], vec![]));
    assert_eq!(of(vec![record(NAMES, None), record(FILTERS, some)], false), (vec![FILTERS], vec![]));
    let other = IndexKey { column: ColumnId(9), kind: IndexKind::Bitmap };
    assert_eq!(of(vec![record(NAMES, some), record(FILTERS, some), record(other, some)], true), (vec![], vec![other]));
}
