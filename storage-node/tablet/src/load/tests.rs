//! A writer that leaves while its load ends, and the schema that a tablet keeps.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tarn_proto::storage::{LoadSpec, PublishTablet};
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, Version};

use super::*;
use crate::engine::Options;

const TABLET: TabletId = TabletId(5);

/// An engine whose one tablet got rows under transaction 9, as segments that are not sealed yet.
async fn flushed() -> (tempfile::TempDir, Arc<Engine>, LoadWriter) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    let key = Column {
        id: ColumnId(1),
        name: "k".into(),
        data_type: DataType::BigInt,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    let schema = TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: vec![key],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    };
    engine.create_tablets(&schema, &[TABLET]).unwrap();
    let mut writer = engine.begin(TxnId(9), "a", &LoadSpec::rows(schema.clone())).await.unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    writer.write(TABLET, RecordBatch::try_new(schema.to_arrow(), vec![keys]).unwrap()).await.unwrap();
    writer.load.start_flush(TABLET);
    let in_flight = writer.load.state.lock().in_flight;
    if in_flight > 0 {
        writer.load.flushed.notified().await;
    }
    (folder, engine, writer)
}

#[tokio::test]
async fn a_seal_that_waits_for_its_turn_when_its_writer_leaves_keeps_nothing() {
    let (_folder, engine, writer) = flushed().await;
    let load = writer.load.clone();
    let finished = load.start_seal();
    assert_eq!(finished[&TABLET].2.len(), 1);
    drop(writer);
    assert!(matches!(load.seal(finished), Err(Error::Replaced { .. })));
    assert_eq!((engine.usage().bytes, engine.usage().loads), (0, 0));
}

#[tokio::test]
async fn what_was_sealed_while_its_writer_left_is_taken_back() {
    let (_folder, engine, writer) = flushed().await;
    let load = writer.load.clone();
    let finished = load.start_seal();
    engine.seal(&load.attempt, &load.shape, None, finished).unwrap();
    assert!(engine.usage().bytes > 0);
    drop(writer);
    engine.take_back(&load.attempt).unwrap();
    assert_eq!((engine.usage().bytes, engine.usage().loads), (0, 0));
}

#[tokio::test]
async fn what_is_finished_stays_until_it_is_aborted() {
    let (_folder, engine, writer) = flushed().await;
    assert_eq!(writer.finish().await.unwrap()[0].rows, 100);
    assert!(engine.usage().bytes > 0 && engine.usage().loads == 0);
    engine.abort(TxnId(9)).unwrap();
    assert_eq!(engine.usage().bytes, 0);
}

fn key_table(version: u32, columns: &[u32]) -> TableSchema {
    let column = |id: &u32| Column {
        id: ColumnId(*id),
        name: format!("k{id}"),
        data_type: DataType::BigInt,
        nullable: false,
        aggregation: None,
        initial: Some("7".to_owned()),
    };
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(version),
        columns: columns.iter().map(column).collect(),
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    }
}

/// Loads a row under a schema and publishes it.
async fn load_under(engine: &Arc<Engine>, schema: &TableSchema, version: u64) {
    let txn = TxnId(100 + version);
    let mut writer = engine.begin(txn, "a", &LoadSpec::rows(schema.clone())).await.unwrap();
    let columns = schema.columns.iter().map(|_| Arc::new(Int64Array::from(vec![5])) as ArrayRef).collect();
    writer.write(TABLET, RecordBatch::try_new(schema.to_arrow(), columns).unwrap()).await.unwrap();
    writer.finish().await.unwrap();
    let publish = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
    engine.publish(txn, &[publish]).unwrap();
}

#[tokio::test]
async fn a_tablet_keeps_the_newest_schema_that_a_load_had() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, third) = (key_table(1, &[1]), key_table(2, &[2, 1]), key_table(3, &[1, 3]));
    {
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        engine.create_tablets(&first, &[TABLET]).unwrap();
        load_under(&engine, &second, 2).await;
        assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, second);
        // Planned before the change and committed after it: its rows are what it planned, the tablet stays ahead.
        load_under(&engine, &first, 3).await;
        assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, second);
    }
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, second);
    load_under(&engine, &third, 4).await;
    let manifest = engine.manifests(&[(TABLET, Version(4))]).unwrap().remove(0);
    let versions: Vec<u32> = manifest.rowsets.iter().map(|rowset| rowset.schema_version).collect();
    assert_eq!(versions, [2, 1, 3]);
    // What is aborted has been seen all the same.
    let fourth = key_table(4, &[1]);
    let mut writer = engine.begin(TxnId(900), "a", &LoadSpec::rows(fourth.clone())).await.unwrap();
    let key: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    writer.write(TABLET, RecordBatch::try_new(fourth.to_arrow(), vec![key]).unwrap()).await.unwrap();
    writer.finish().await.unwrap();
    engine.abort(TxnId(900)).unwrap();
    assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, fourth);
}
