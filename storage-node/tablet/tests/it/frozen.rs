//! What earlier builds wrote is read by this one: a data directory of each format version, as it was, in `frozen/`.
//!
//! A version is frozen when a format of the tablet engine changes (segments, sidecars, key files, index files, records, or
//! what Vortex writes): run `TARN_FREEZE=v2 cargo nextest run -p tarn-tablet frozen`, which writes `frozen/v2`, and commit
//! it. Versions that are there are never written again; a build that cannot read one must not be released.

mod long;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringViewArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType as ArrowType, Date32Type};
use roaring::RoaringBitmap;
use tarn_proto::segment::{from_storage, storage_schema};
use tarn_proto::storage::{CompactionScope, LoadSpec};
use tarn_proto::{
    Aggregation, Column, ColumnId, DataType, Index, IndexKind, SchemaVersion, TableModel, TableSchema, TabletId, TxnId,
};
use tarn_tablet::{Engine, Options, Stop, inspect};
use vortex::VortexSessionDefault;
use vortex::file::OpenOptionsSessionExt;
use vortex::io::runtime::BlockingRuntime;
use vortex::io::runtime::current::CurrentThreadRuntime;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;

use crate::fixture::{close, manifest, publish, read_all};

const LOADS: i64 = 3;
const ROWS: i64 = 40;
const MODELS: [TableModel; 4] =
    [TableModel::Duplicate, TableModel::Aggregate, TableModel::Unique, TableModel::PrimaryKey];

/// Every type, for the table of each model. What is there is never changed: new types get new columns in a new version.
fn types() -> Vec<DataType> {
    use DataType::{
        Array, BigInt, Boolean, Char, Date, DateTime, Decimal, Double, Float, Int, Json, LargeInt, Map, SmallInt,
        String, Struct, TinyInt, Varbinary, Varchar,
    };
    vec![
        BigInt,
        Varchar(20),
        Boolean,
        TinyInt,
        SmallInt,
        Int,
        LargeInt,
        Float,
        Double,
        Decimal(20, 4),
        Char(5),
        String,
        Varbinary,
        Date,
        DateTime,
        Json,
        Array(Box::new(Int)),
        Map(Box::new(Int), Box::new(Int)),
        Struct(vec![("x".into(), Int), ("y".into(), Double)]),
    ]
}

/// Columns `c0` and up, the first two of which are the key.
fn table(model: TableModel) -> TableSchema {
    let aggregation = |id: u32| (id > 1 && model.merges_on_read()).then_some(Aggregation::Replace);
    let columns = types().into_iter().zip(0..).map(|(data_type, id)| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type,
        nullable: id > 1,
        aggregation: aggregation(id),
        initial: None,
    });
    let index =
        |column, kind, name: &str| Index { name: name.into(), column: ColumnId(column), kind, comment: String::new() };
    TableSchema {
        version: SchemaVersion(1),
        model,
        columns: columns.collect(),
        keys: if model == TableModel::Duplicate { Vec::new() } else { vec![ColumnId(0), ColumnId(1)] },
        sort_key: vec![ColumnId(0), ColumnId(1)],
        indexes: vec![index(0, IndexKind::Bitmap, "i"), index(1, IndexKind::Bloom, "")],
    }
}

/// Values of a column for keys; none now and then where the column may have none.
fn values(data_type: &DataType, nullable: bool, keys: &[i64], load: i64) -> ArrayRef {
    let number = |key: &i64| (!nullable || (key + load) % 5 != 0).then_some(key * 7 + load - 40);
    let numbers: Vec<Option<i64>> = keys.iter().map(number).collect();
    let text = || numbers.iter().map(|n| n.map(|n| format!("t{}", n % 1000)));
    let nulls = || Some(arrow::buffer::NullBuffer::from_iter(numbers.iter().map(Option::is_some)));
    let ones = || OffsetBuffer::from_lengths(numbers.iter().map(|n| usize::from(n.is_some())));
    let present = || numbers.iter().flatten().map(|n| *n as i32);
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(numbers.iter().map(|n| n.map(|n| n % 2 == 0)))),
        DataType::TinyInt => Arc::new(Int8Array::from_iter(numbers.iter().map(|n| n.map(|n| (n % 100) as i8)))),
        DataType::SmallInt => Arc::new(Int16Array::from_iter(numbers.iter().map(|n| n.map(|n| n as i16)))),
        DataType::Int => Arc::new(Int32Array::from_iter(numbers.iter().map(|n| n.map(|n| n as i32)))),
        DataType::BigInt if !nullable => Arc::new(Int64Array::from_iter_values(keys.iter().copied())),
        DataType::BigInt => Arc::new(Int64Array::from_iter(numbers)),
        DataType::LargeInt => decimal(&numbers, 38, 0),
        DataType::Decimal(p, s) => decimal(&numbers, *p, *s as i8),
        DataType::Float => Arc::new(Float32Array::from_iter(numbers.iter().map(|n| n.map(|n| n as f32 / 4.0)))),
        DataType::Double => Arc::new(Float64Array::from_iter(numbers.iter().map(|n| n.map(|n| n as f64 / 3.0)))),
        DataType::Varchar(_) if !nullable => {
            Arc::new(StringViewArray::from_iter_values(keys.iter().map(|key| format!("k{}", key % 3))))
        }
        DataType::Json => {
            Arc::new(StringViewArray::from_iter(numbers.iter().map(|n| n.map(|n| format!("{{\"n\":{n}}}")))))
        }
        DataType::Char(_) | DataType::Varchar(_) | DataType::String => Arc::new(StringViewArray::from_iter(text())),
        DataType::Varbinary => {
            Arc::new(BinaryViewArray::from_iter(numbers.iter().map(|n| n.map(|n| n.to_le_bytes().to_vec()))))
        }
        DataType::Date => {
            let days = numbers.iter().map(|n| n.map(|n| n as i32));
            Arc::new(arrow::array::PrimitiveArray::<Date32Type>::from_iter(days))
        }
        DataType::DateTime => {
            let micros = numbers.iter().map(|n| n.map(|n| n * 1_234_567_890));
            Arc::new(TimestampMicrosecondArray::from_iter(micros))
        }
        DataType::Array(_) => {
            let ArrowType::List(item) = data_type.to_arrow() else { unreachable!() };
            let items: ArrayRef = Arc::new(Int32Array::from_iter_values(present()));
            Arc::new(ListArray::new(item, ones(), items, nulls()))
        }
        DataType::Map(..) => {
            let ArrowType::Map(entries, sorted) = data_type.to_arrow() else { unreachable!() };
            let ArrowType::Struct(fields) = entries.data_type().clone() else { unreachable!() };
            let (keys, values) = (Int32Array::from_iter_values(present()), Int32Array::from_iter_values(present()));
            let items = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
            Arc::new(MapArray::new(entries, ones(), items, nulls(), sorted))
        }
        DataType::Struct(_) => {
            let ArrowType::Struct(fields) = data_type.to_arrow() else { unreachable!() };
            let x = Int32Array::from_iter(numbers.iter().map(|n| n.map(|n| n as i32)));
            let y = Float64Array::from_iter(numbers.iter().map(|n| n.map(|n| n as f64)));
            Arc::new(StructArray::new(fields, vec![Arc::new(x), Arc::new(y)], nulls()))
        }
    }
}

fn decimal(numbers: &[Option<i64>], precision: u8, scale: i8) -> ArrayRef {
    let numbers = numbers.iter().map(|n| n.map(|n| i128::from(n) * 10_000_000_007));
    Arc::new(Decimal128Array::from_iter(numbers).with_precision_and_scale(precision, scale).unwrap())
}

/// The rows of a load: each has half of the keys of the one before.
fn rows(schema: &TableSchema, load: i64) -> RecordBatch {
    let keys: Vec<i64> = (load * ROWS / 2..load * ROWS / 2 + ROWS).collect();
    let columns = schema.columns.iter().map(|c| values(&c.data_type, c.nullable, &keys, load)).collect();
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

/// What the loads of a table amount to, in order of the key.
fn expected(schema: &TableSchema) -> RecordBatch {
    let merges = schema.model != TableModel::Duplicate;
    let batches = (0..LOADS).map(|load| {
        let rows = rows(schema, load);
        // The next load has the keys from its first on.
        let keys = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>();
        let last = keys.values().iter().map(|k| !merges || load + 1 == LOADS || *k < (load + 1) * ROWS / 2);
        filter_record_batch(&rows, &BooleanArray::from_iter(last.map(Some))).unwrap()
    });
    let all = concat_batches(&schema.to_arrow(), &batches.collect::<Vec<_>>()).unwrap();
    by_key(&all)
}

fn by_key(rows: &RecordBatch) -> RecordBatch {
    let keys: Vec<_> = [0, 15]
        .map(|i| arrow::compute::SortColumn { values: rows.column(i).clone(), options: None })
        .into_iter()
        .collect();
    let order = arrow::compute::lexsort_to_indices(&keys, None).unwrap();
    arrow::compute::take_record_batch(rows, &order).unwrap()
}

fn tablet(model: TableModel) -> TabletId {
    TabletId(1 + MODELS.iter().position(|m| *m == model).unwrap() as u64)
}

async fn write(data: &Path) {
    let engine = Engine::open(Options::new(data)).unwrap();
    for model in MODELS {
        let (schema, tablet) = (table(model), tablet(model));
        engine.create_tablets(&schema, &[tablet]).unwrap();
        for load in 0..LOADS {
            let (txn, version) = (load as u64 + 10, load as u64 + 2);
            let mut writer = engine.begin(TxnId(txn), "only", &LoadSpec::rows(schema.clone())).await.unwrap();
            writer.write(tablet, rows(&schema, load)).await.unwrap();
            writer.finish().await.unwrap();
            publish(&engine, txn, tablet, version).unwrap();
        }
    }
    long::write(&engine).await;
    close(engine);
    // What RocksDB tells of itself.
    for folder in ["meta", "primary"] {
        for entry in fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_name().to_string_lossy().starts_with("LO") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

/// All live rows of a version.
fn read(engine: &Engine, tablet: TabletId, version: u64, schema: &TableSchema) -> RecordBatch {
    let runtime = CurrentThreadRuntime::new();
    let session = VortexSession::default().with_handle(runtime.handle());
    let stored = storage_schema(&schema.columns);
    let mut all = Vec::new();
    for rowset in &manifest(engine, tablet, version).unwrap().rowsets {
        for segment in &rowset.segments {
            let bytes = read_all(engine, tablet, rowset, segment).unwrap();
            let file = session.open_options().open_buffer(bytes).unwrap();
            let batches = file.scan().unwrap().into_record_batch_reader(stored.clone(), &runtime).unwrap();
            let batches: Vec<RecordBatch> = batches.map(|batch| batch.unwrap()).collect();
            let rows = from_storage(&schema.columns, &concat_batches(&stored, &batches).unwrap()).unwrap();
            let deleted = match segment.delete_vector.is_empty() {
                true => RoaringBitmap::new(),
                false => RoaringBitmap::deserialize_from(&segment.delete_vector[..]).unwrap(),
            };
            let live = (0..rows.num_rows() as u32).map(|row| Some(!deleted.contains(row)));
            all.push(filter_record_batch(&rows, &BooleanArray::from_iter(live)).unwrap());
        }
    }
    concat_batches(&schema.to_arrow(), &all).unwrap()
}

/// The last row of each key, as a reader of AGGREGATE and UNIQUE tables merges them.
fn merged(rows: &RecordBatch) -> RecordBatch {
    let keys = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values();
    let last = (0..keys.len()).map(|i| Some(!keys[i + 1..].contains(&keys[i])));
    filter_record_batch(rows, &BooleanArray::from_iter(last)).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/frozen")
}

fn check(data: &Path) {
    let engine = Engine::open(Options::new(data)).unwrap();
    let found = |schema: &TableSchema| {
        let rows = read(&engine, tablet(schema.model), LOADS as u64 + 1, schema);
        by_key(&if schema.model.merges_on_read() { merged(&rows) } else { rows })
    };
    for model in MODELS {
        let schema = table(model);
        assert_eq!(found(&schema), expected(&schema), "{model:?}");
        let seen = inspect::inspect(&data.join("tablets").join(tablet(model).get().to_string())).unwrap();
        let known = seen.tablet.unwrap();
        assert_eq!((known.version, known.rowsets.len()), (LOADS as u64 + 1, LOADS as usize));
        for segment in seen.segments {
            assert_eq!(segment.problems, [""; 0], "{model:?}");
            assert_eq!((segment.rows, segment.columns.len()), (ROWS as u64, types().len()));
            assert_eq!(segment.keys.is_some(), model == TableModel::PrimaryKey);
            assert!(segment.columns.iter().all(|c| c.name.as_ref() == Some(&c.field) && !c.encodings.is_empty()));
            assert!(segment.columns.iter().map(|c| c.bytes + c.zone_map_bytes).sum::<u64>() < segment.bytes);
        }
        // What is read can be written, and read again.
        engine.request_compaction(&[tablet(model)], CompactionScope::All).unwrap();
        while engine.compact(tablet(model), &Stop::default()).unwrap().is_some() {}
        assert_eq!(found(&schema), expected(&schema), "{model:?}, compacted");
    }
    long::check(&engine, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_files_of_every_version_are_read() {
    if let Ok(version) = std::env::var("TARN_FREEZE") {
        let data = folder().join(version);
        assert!(!data.exists(), "{} is frozen", data.display());
        write(&data).await;
    }
    let mut versions = 0;
    for version in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let data = tempfile::tempdir().unwrap();
        copy(&version, data.path());
        check(data.path());
        versions += 1;
    }
    assert!(versions > 0, "nothing is frozen");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_build_writes_would_be_read() {
    let data = tempfile::tempdir().unwrap();
    write(data.path()).await;
    check(data.path());
}
