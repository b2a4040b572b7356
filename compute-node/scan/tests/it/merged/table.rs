//! A small table whose rows are made by tests, stored in rowsets and merged row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType as ArrowType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{MemTable, TableType};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use tarn_proto::storage::StorePool;
use tarn_proto::*;
use tarn_scan::{CacheConfig, Preaggregation, Pruned, ScanContext, TabletRead, TabletScan, TabletSource};

use crate::fixture::{FakeStore, NODE, Table, VERSION, replicas};

/// A row of the table. One number makes several values.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub k1: Option<i32>,
    pub k2: Option<String>,
    pub s: Option<i64>,
    pub n: Option<i32>,
    pub r: Option<String>,
}

/// Tablets of rowsets of segments of rows, the oldest rowset first.
pub type Tablets = Vec<Vec<Vec<Vec<Row>>>>;

pub fn rows() -> impl Strategy<Value = Row> {
    // Texts that differ only beyond what a short key holds, and in less.
    let text = prop::sample::select(vec!["", "a", "ab", "b", "x", "y"]).prop_map(|text| match text {
        "x" => format!("{}1", "x".repeat(60)),
        "y" => format!("{}2", "x".repeat(60)),
        other => other.to_owned(),
    });
    let keys = (prop::option::weighted(0.9, -3i32..8), prop::option::weighted(0.9, text));
    let values = (prop::option::of(-50i64..50), prop::option::of(-50i32..50), prop::option::of("[ab]{0,2}"));
    (keys, values).prop_map(|((k1, k2), (s, n, r))| Row { k1, k2, s, n, r })
}

pub fn schema(model: TableModel, sorted_by_second: bool) -> TableSchema {
    use tarn_proto::Aggregation::*;
    let map = DataType::Map(Box::new(DataType::Int), Box::new(DataType::DateTime));
    let columns = [
        ("k1", DataType::Int, None),
        ("s", DataType::BigInt, Some(Sum)),
        ("k2", DataType::Varchar(100), None),
        ("mn", DataType::Int, Some(Min)),
        ("mx", DataType::Date, Some(Max)),
        ("r", DataType::String, Some(Replace)),
        ("rn", DataType::Double, Some(ReplaceIfNotNull)),
        ("dec", DataType::Decimal(12, 2), Some(Sum)),
        ("at", DataType::DateTime, Some(Max)),
        ("m", map, Some(Replace)),
    ];
    let columns = columns.into_iter().zip(1..).map(|((name, data_type, aggregation), id)| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable: true,
        aggregation: aggregation.map(|a| if model == TableModel::Unique { Replace } else { a }),
        initial: None,
    });
    let keys = vec![ColumnId(1), ColumnId(3)];
    TableSchema {
        version: SchemaVersion(1),
        model,
        columns: columns.collect(),
        sort_key: if sorted_by_second { vec![ColumnId(3), ColumnId(1)] } else { keys.clone() },
        keys,
        indexes: Vec::new(),
    }
}

pub fn batch(schema: &TableSchema, rows: &[Row]) -> RecordBatch {
    let numbers = || rows.iter().map(|r| r.n);
    let declared = schema.to_arrow();
    let dec: Decimal128Array = numbers().map(|n| n.map(|n| i128::from(n) * 100)).collect();
    let at: TimestampMicrosecondArray = numbers().map(|n| n.map(|n| i64::from(n) * 1_000_000)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.k1).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.s).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.k2.clone()).collect::<StringViewArray>()),
        Arc::new(numbers().collect::<Int32Array>()),
        Arc::new(numbers().collect::<Date32Array>()),
        Arc::new(rows.iter().map(|r| r.r.clone()).collect::<StringViewArray>()),
        Arc::new(numbers().map(|n| n.map(f64::from)).collect::<Float64Array>()),
        Arc::new(dec.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(at),
        Arc::new(maps(numbers(), declared.field(9).data_type())),
    ];
    RecordBatch::try_new(declared, columns).unwrap()
}

/// Maps of one entry, or NULL.
fn maps(numbers: impl Iterator<Item = Option<i32>>, declared: &ArrowType) -> MapArray {
    let ArrowType::Map(entries, _) = declared else { panic!("not a map") };
    let ArrowType::Struct(fields) = entries.data_type() else { panic!("entries are structs") };
    let numbers: Vec<Option<i32>> = numbers.collect();
    let keys: Int32Array = numbers.iter().flatten().copied().map(Some).collect();
    let values: TimestampMicrosecondArray =
        numbers.iter().flatten().map(|n| (n % 2 == 0).then_some(i64::from(*n))).collect();
    let held = StructArray::new(fields.clone(), vec![Arc::new(keys), Arc::new(values)], None);
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(numbers.iter().map(|n| usize::from(n.is_some())));
    let valid: Vec<bool> = numbers.iter().map(Option::is_some).collect();
    MapArray::new(entries.clone(), offsets, held, Some(valid.into()), false)
}

/// What a column's values of one key become, oldest first: by the definition.
fn merged(schema: &TableSchema, column: usize, rows: &[Row]) -> ArrayRef {
    let of = |row: &Row| batch(schema, std::slice::from_ref(row)).column(column).clone();
    let some: Vec<&Row> = rows.iter().filter(|row| of(row).is_valid(0)).collect();
    let chosen = match schema.columns[column].aggregation {
        None | Some(Aggregation::Replace) => rows.last(),
        Some(Aggregation::ReplaceIfNotNull) => some.last().copied().or(rows.last()),
        // Columns but `s` hold a number that grows with `n`.
        Some(Aggregation::Min) => some.iter().copied().min_by_key(|r| r.n).or(rows.last()),
        Some(Aggregation::Max) => some.iter().copied().max_by_key(|r| r.n).or(rows.last()),
        Some(Aggregation::Sum) => {
            let sum = Row {
                s: rows.iter().filter_map(|r| r.s).reduce(|a, b| a + b),
                n: rows.iter().filter_map(|r| r.n).reduce(|a, b| a + b),
                ..Row::default()
            };
            return of(&sum);
        }
    };
    of(chosen.expect("a key has rows"))
}

/// A table in a storage node, and its rows merged.
pub struct World {
    pub store: Arc<FakeStore>,
    context: Arc<ScanContext>,
    spec: TabletScan,
    expected: RecordBatch,
    tablets: Tablets,
}

impl World {
    /// Rows of tablets differ in their first key.
    pub async fn new(model: TableModel, sorted_by_second: bool, tablets: &Tablets) -> Self {
        let schema = schema(model, sorted_by_second);
        let store = Arc::new(FakeStore::default());
        let mut reads = Vec::new();
        let mut merged_rows: BTreeMap<(usize, Option<i32>, Option<String>), Vec<Row>> = BTreeMap::new();
        for (number, rowsets) in tablets.iter().enumerate() {
            let tablet = number as u64 + 1;
            let mut rows = 0;
            for (rowset, segments) in rowsets.iter().enumerate() {
                for (segment, loaded) in segments.iter().enumerate() {
                    // Within a segment a key stands once: here the last of the load.
                    let mut once = BTreeMap::new();
                    for row in loaded {
                        let mut row = row.clone();
                        row.k1 = row.k1.map(|k| k + 100 * number as i32);
                        once.insert((row.k1, row.k2.clone()), row);
                    }
                    let mut sorted: Vec<Row> = once.into_values().collect();
                    if sorted_by_second {
                        sorted.sort_by(|a, b| (&a.k2, a.k1).cmp(&(&b.k2, b.k1)));
                    }
                    rows += sorted.len() as u64;
                    if !sorted.is_empty() {
                        let batch = batch(&schema, &sorted);
                        store.write(&schema, tablet, 10 + rowset as u64, segment as u32, &batch, &[]).await;
                    }
                    for row in sorted {
                        merged_rows.entry((number, row.k1, row.k2.clone())).or_default().push(row);
                    }
                }
            }
            if rows > 0 {
                let (tablet, bytes) = (TabletId(tablet), rows * 10);
                reads.push(TabletRead { tablet, version: VERSION, replicas: replicas(), rows, bytes });
            }
        }
        let rows: Vec<RecordBatch> = merged_rows
            .values()
            .map(|rows| {
                let columns = (0..schema.columns.len()).map(|column| merged(&schema, column, rows)).collect();
                RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
            })
            .collect();
        let expected = arrow::compute::concat_batches(&schema.to_arrow(), &rows).unwrap();
        let cache = CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() };
        let context = ScanContext::new(StorePool::with_local(NODE, store.clone()), cache).await.unwrap();
        let spec = TabletScan {
            table: "db.things".to_owned(),
            projection: (0..schema.columns.len()).collect(),
            schema,
            volume: None,
            partitions: vec![reads],
            filters: Vec::new(),
            limit: None,
            exact_rows: false,
            pruned: Pruned::default(),
            bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
        };
        Self { store, context, spec, expected, tablets: tablets.clone() }
    }

    /// The same table, of which nothing was read.
    pub async fn fresh(&self) -> Self {
        let sorted_by_second = self.spec.schema.sort_key != self.spec.schema.keys;
        Self::new(self.spec.schema.model, sorted_by_second, &self.tablets).await
    }

    /// A session with the table twice: `things` as scanned, `expected` merged.
    pub fn session(&self, config: SessionConfig, preaggregation: Option<Preaggregation>) -> SessionContext {
        self.session_in(config, Arc::default(), preaggregation)
    }

    /// The same with a memory of its own.
    pub fn session_in(
        &self,
        config: SessionConfig,
        runtime: Arc<RuntimeEnv>,
        preaggregation: Option<Preaggregation>,
    ) -> SessionContext {
        let session = SessionContext::new_with_config_rt(config, runtime);
        let things = Table { context: self.context.clone(), spec: self.spec.clone() };
        session.register_table("things", Arc::new(Preaggregated { things, preaggregation })).unwrap();
        let memory = MemTable::try_new(self.expected.schema(), vec![vec![self.expected.clone()]]).unwrap();
        session.register_table("expected", Arc::new(memory)).unwrap();
        session
    }
}

/// A table whose scans are told whether to merge.
#[derive(Debug)]
struct Preaggregated {
    things: Table,
    preaggregation: Option<Preaggregation>,
}

#[async_trait]
impl TableProvider for Preaggregated {
    fn schema(&self) -> SchemaRef {
        self.things.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let plan = self.things.scan(session, projection, filters, limit).await?;
        let Some(preaggregation) = &self.preaggregation else { return Ok(plan) };
        let source = TabletSource::of(plan.as_ref()).unwrap();
        Ok(source.with_preaggregation(preaggregation.clone()))
    }
}
