//! How fast keys are upserted into a large tablet. Prints; asserts nothing but that the rows are there.

use std::time::Instant;

use arrow::array::{Date32Array, Float64Array, Int32Array};

use super::*;

/// Rows before.
const ROWS: i64 = 20_000_000;
/// Rows of a load.
const LOAD: i64 = 1_000_000;
const LOADS: i64 = 8;
const BATCH: i64 = 65_536;
/// Not a divisor of [`LOAD`]: multiples of it reach every row of a load, in no order.
const STRIDE: i64 = 7919;

/// The table `o (id bigint, day date, state int, price double, who varchar)` with PRIMARY KEY (id).
fn orders() -> TableSchema {
    let types =
        [DataType::BigInt, DataType::Date, DataType::Int, DataType::Double, DataType::Varchar(20)].into_iter().zip(1..);
    let columns = types.map(|(data_type, id)| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type,
        nullable: false,
        aggregation: None,
        initial: None,
    });
    let keys = vec![ColumnId(1)];
    TableSchema {
        version: SchemaVersion(1),
        model: TableModel::PrimaryKey,
        columns: columns.collect(),
        sort_key: keys.clone(),
        keys,
        indexes: Vec::new(),
    }
}

fn some(schema: &TableSchema, keys: &[i64], version: u64) -> RecordBatch {
    let numbers = || keys.iter().map(|key| (key.wrapping_mul(2_654_435_761) >> 7) ^ version as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(keys.iter().copied())),
        Arc::new(Date32Array::from_iter_values(numbers().map(|n| 18_000 + (n % 2000) as i32))),
        Arc::new(Int32Array::from_iter_values(numbers().map(|n| (n % 5) as i32))),
        Arc::new(Float64Array::from_iter_values(numbers().map(|n| (n % 1_000_000) as f64 / 100.0))),
        Arc::new(StringViewArray::from_iter_values(numbers().map(|n| format!("customer {}", n % 100_000)))),
    ];
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

/// Loads keys; returns the seconds that writing and publishing took.
async fn upsert(engine: &Arc<Engine>, schema: &TableSchema, version: u64, keys: &[i64]) -> (f64, f64) {
    let batches: Vec<RecordBatch> = keys.chunks(BATCH as usize).map(|keys| some(schema, keys, version)).collect();
    let started = Instant::now();
    let mut writer = engine.begin(TxnId(version), "a", &LoadSpec::rows(schema.clone())).await.unwrap();
    for batch in batches {
        writer.write(TABLET, batch).await.unwrap();
    }
    writer.finish().await.unwrap();
    let written = started.elapsed().as_secs_f64();
    publish(engine, version, TABLET, version).unwrap();
    (written, started.elapsed().as_secs_f64() - written)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run it alone with --run-ignored all --no-capture"]
async fn upserted_rows_per_second() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::new(data.path())).unwrap();
    let schema = orders();
    engine.create_tablets(&schema, &[TABLET]).unwrap();
    let (mut version, mut seconds) = (1, 0.0);
    for first in (0..ROWS).step_by(LOAD as usize) {
        version += 1;
        let (written, published) = upsert(&engine, &schema, version, &(first..first + LOAD).collect::<Vec<_>>()).await;
        seconds += written + published;
    }
    println!("{ROWS} new rows in {seconds:.1} s, {:.0} rows/s", ROWS as f64 / seconds);
    let mut seconds = 0.0;
    for load in 0..LOADS {
        version += 1;
        // Keys from all over the table in no order, no two alike in a load.
        let places = (0..LOAD).map(|i| i * STRIDE % LOAD);
        let spread = ROWS / LOAD;
        let keys: Vec<i64> = places.map(|i| (i * spread + i * 31 % spread + load * 7) % ROWS).collect();
        let (written, published) = upsert(&engine, &schema, version, &keys).await;
        println!("{LOAD} rows: written in {written:.2} s, published in {published:.2} s");
        seconds += written + published;
    }
    let upserted = LOADS * LOAD;
    println!("{upserted} upserted rows in {seconds:.1} s, {:.0} rows/s", upserted as f64 / seconds);
    assert_eq!(engine.reports()[0].rows, ROWS as u64);
}
