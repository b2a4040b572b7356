//! How fast rows become durable. Prints; asserts nothing but that the rows are there.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, RecordBatch, StringViewArray};
use tarn_proto::storage::LoadSpec;
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema, TabletId, TxnId};
use tarn_tablet::{Engine, Options};

use crate::fixture::verify;

const BATCH_ROWS: usize = 65_536;
const BATCHES: usize = 40;
const TABLETS: u64 = 4;

/// The 17 columns of `lineorder`.
fn lineorder() -> TableSchema {
    let types = [
        ("lo_orderkey", DataType::Int),
        ("lo_linenumber", DataType::Int),
        ("lo_custkey", DataType::Int),
        ("lo_partkey", DataType::Int),
        ("lo_suppkey", DataType::Int),
        ("lo_orderdate", DataType::Date),
        ("lo_orderpriority", DataType::Varchar(16)),
        ("lo_shippriority", DataType::Int),
        ("lo_quantity", DataType::Int),
        ("lo_extendedprice", DataType::Decimal(15, 2)),
        ("lo_ordtotalprice", DataType::Decimal(15, 2)),
        ("lo_discount", DataType::Int),
        ("lo_revenue", DataType::Int),
        ("lo_supplycost", DataType::Int),
        ("lo_tax", DataType::Int),
        ("lo_commitdate", DataType::Date),
        ("lo_shipmode", DataType::Varchar(11)),
    ];
    let columns = types
        .into_iter()
        .zip(1..)
        .map(|((name, data_type), id)| Column {
            id: ColumnId(id),
            name: name.into(),
            data_type,
            nullable: false,
            aggregation: None,
            initial: None,
        })
        .collect();
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns,
        sort_key: vec![ColumnId(6), ColumnId(1)],
        indexes: Vec::new(),
    }
}

fn batch(schema: &TableSchema, number: usize) -> RecordBatch {
    let mut state = number as u64 + 1;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let arrays: Vec<ArrayRef> = schema
        .columns
        .iter()
        .map(|column| -> ArrayRef {
            let range = match column.name.as_str() {
                "lo_orderkey" => 6_000_000,
                "lo_custkey" => 30_000,
                "lo_partkey" => 200_000,
                "lo_suppkey" => 2_000,
                "lo_linenumber" | "lo_discount" | "lo_tax" => 9,
                "lo_quantity" => 50,
                "lo_shippriority" => 1,
                _ => 6_000_000,
            };
            let numbers = 0..BATCH_ROWS;
            match column.data_type {
                DataType::Date => Arc::new(Date32Array::from_iter_values(numbers.map(|_| 8035 + random(2406) as i32))),
                DataType::Decimal(p, s) => {
                    let array = Decimal128Array::from_iter_values(numbers.map(|_| i128::from(random(600_000_000))));
                    Arc::new(array.with_precision_and_scale(p, s as i8).unwrap())
                }
                DataType::Varchar(_) => {
                    let words = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECI", "5-LOW", "REG AIR", "TRUCK"];
                    Arc::new(StringViewArray::from_iter_values(numbers.map(|_| words[random(7) as usize])))
                }
                _ => Arc::new(Int32Array::from_iter_values(numbers.map(|_| random(range) as i32))),
            }
        })
        .collect();
    RecordBatch::try_new(schema.to_arrow(), arrays).unwrap()
}

async fn measure(flush_threads: usize) {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options { flush_threads, ..Options::new(data.path()) }).unwrap();
    let schema = lineorder();
    let tablets: Vec<TabletId> = (1..=TABLETS).map(TabletId).collect();
    engine.create_tablets(&schema, &tablets).unwrap();
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|number| batch(&schema, number)).collect();

    let started = Instant::now();
    let mut writer = engine.begin(TxnId(1), "a", &LoadSpec::rows(schema.clone())).await.unwrap();
    for (number, rows) in batches.into_iter().enumerate() {
        writer.write(tablets[number % tablets.len()], rows).await.unwrap();
    }
    let summaries = writer.finish().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();

    let rows: u64 = summaries.iter().map(|s| s.rows).sum();
    let bytes: u64 = summaries.iter().map(|s| s.bytes).sum();
    assert_eq!(rows, (BATCHES * BATCH_ROWS) as u64);
    let per_second = rows as f64 / seconds;
    println!("{flush_threads} flush threads: {rows} rows in {seconds:.2} s, {per_second:.0} rows/s, {bytes} bytes");
    for tablet in tablets {
        crate::fixture::publish(&engine, 1, tablet, 2).unwrap();
        verify(&engine, &crate::fixture::manifest(&engine, tablet, 2).unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run it alone with --run-ignored all --no-capture"]
async fn lineorder_rows_per_second() {
    measure(1).await;
    measure(2).await;
}
