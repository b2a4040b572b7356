//! Indexes save reading and change no answer.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use tarn_proto::storage::StorePool;
use tarn_proto::*;
use tarn_scan::{CacheConfig, Pruned, ScanContext, TabletRead, TabletScan};
use tokio::runtime::Runtime;

use crate::filters::predicate;
use crate::fixture::{FakeStore, Fixture, NODE, Table, VERSION, answer, assert_same, replicas};

/// Every column that can have an index.
const INDEXED: &[&str] = &["id", "kind", "n", "day", "at", "price", "flag", "big"];

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// With bitmap indexes that are always used, with bloom filters, with both.
fn fixtures() -> &'static [Fixture; 3] {
    static FIXTURES: OnceLock<[Fixture; 3]> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let kinds: [(&[&str], &[&str]); 3] = [(INDEXED, &[]), (&[], INDEXED), (INDEXED, INDEXED)];
        kinds.map(|(bitmaps, blooms)| {
            let mut fixture = runtime().block_on(Fixture::indexed(bitmaps, blooms));
            fixture.spec.bitmap_max_filter_ratio = 1000;
            fixture
        })
    })
}

fn session(fixture: &Fixture) -> SessionContext {
    fixture.session(SessionConfig::new().with_target_partitions(2))
}

/// What the scans of a query counted, by the name of the counter.
async fn counted(fixture: &Fixture, sql: &str) -> BTreeMap<String, usize> {
    let session = session(fixture);
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    collect(plan.clone(), session.task_ctx()).await.unwrap();
    let mut counts = BTreeMap::new();
    let mut plans: Vec<Arc<dyn ExecutionPlan>> = vec![plan];
    while let Some(plan) = plans.pop() {
        plans.extend(plan.children().into_iter().cloned());
        for metric in plan.metrics().iter().flat_map(|set| set.iter().cloned().collect::<Vec<_>>()) {
            if let MetricValue::Count { name, count } = metric.value() {
                *counts.entry(name.to_string()).or_default() += count.value();
            }
        }
    }
    counts
}

/// Bytes of segments that a query reads from the storage node.
fn bytes_of(fixture: &Fixture, sql: &str) -> u64 {
    let before = fixture.store.bytes_read.load(Ordering::Relaxed);
    runtime().block_on(assert_same(&session(fixture), sql));
    fixture.store.bytes_read.load(Ordering::Relaxed) - before
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn indexes_change_no_answer(predicate in predicate(), which in 0usize..3) {
        let session = session(&fixtures()[which]);
        runtime().block_on(assert_same(&session, &format!("select id, n, kind from {{t}} where {predicate}")));
        runtime().block_on(assert_same(&session, &format!("select count(*) from {{t}} where {predicate}")));
    }

    #[test]
    fn conditions_of_several_columns_and_lists_change_no_answer(
        kinds in prop::collection::vec(0usize..10, 1..4),
        numbers in prop::collection::vec(-1100i64..1100, 1..9),
        low in -1100i64..1100,
        width in 0i64..300,
        flag in any::<bool>(),
        which in 0usize..3,
    ) {
        let names = ["apple", "banana", "cherry", "", "date_palm", "100%", "ünïcode", "a\\b", "Apple", "zebra"];
        let kinds: Vec<String> = kinds.into_iter().map(|kind| format!("'{}'", names[kind])).collect();
        let list = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let session = session(&fixtures()[which]);
        for filter in [
            format!("kind in ({}) and flag = {flag}", kinds.join(", ")),
            format!("kind not in ({}) and n between {low} and {}", kinds.join(", "), low + width),
            format!("n in ({list}) and kind is not null"),
            format!("n not in ({list}) and n > {low} and n < {}", low + width),
            format!("(n in ({list}) or n is null) and {} flag", if flag { "" } else { "not" }),
            format!("n in ({list}, null) and day is null"),
            format!("n not in ({list}, null)"),
            format!("n is null and n in ({list})"),
            format!("n = {low} and big = cast('{}000000000000000000000000000000' as decimal(38,0))", width % 12),
        ] {
            runtime().block_on(assert_same(&session, &format!("select id, n, kind, flag from {{t}} where {filter}")));
        }
    }
}

#[test]
fn a_bitmap_index_answers_without_the_rows() {
    // With nothing in their caches.
    let plain = || runtime().block_on(Fixture::new());
    let indexed = || {
        let mut fixture = runtime().block_on(Fixture::indexed(&["day", "kind"], &[]));
        fixture.spec.bitmap_max_filter_ratio = 1000;
        fixture
    };
    let filter = "day = date '2022-03-01'";
    let sql = &format!("select count(*) from {{t}} where {filter} and kind = 'apple'");
    assert!(bytes_of(&plain(), sql) > 0);
    assert_eq!(bytes_of(&indexed(), sql), 0, "the answer is in the indexes");
    // Only what is asked for is read of the rows, not what they are filtered by.
    let sql = &format!("select big from {{t}} where {filter}");
    let (with, without) = (bytes_of(&indexed(), sql), bytes_of(&plain(), sql));
    let (plain, indexed) = (plain(), indexed());
    assert!(with > 0 && with < without, "{with} of {without} bytes");
    let counts = runtime().block_on(counted(&indexed, &format!("select big from things where {filter}")));
    let live: usize = plain.rows.iter().map(RecordBatch::num_rows).sum();
    let left = runtime().block_on(answer(&session(&plain), &format!("select big from expected where {filter}")));
    let left = left.unwrap().len();
    assert!(left > 0);
    let total = 70_000 + 30_000 + 1_500;
    assert!(counts["BitmapIndexFilterRows"] <= total - left);
    assert_eq!(total - counts["BitmapIndexFilterRows"] - counts["DelVecFilterRows"], left, "{counts:?} of {live}");
}

#[test]
fn a_bitmap_index_is_used_only_where_few_of_the_values_pass() {
    let mut indexed = runtime().block_on(Fixture::indexed(&["n", "kind"], &[]));
    let used = |indexed: &Fixture, filter: &str| {
        let sql = format!("select id from things where {filter}");
        runtime().block_on(counted(indexed, &sql))["BitmapIndexFilterRows"] > 0
    };
    // Of 2000 numbers and 9 kinds.
    assert!(used(&indexed, "n = 37"));
    assert!(!used(&indexed, "n between 37 and 42"));
    assert!(!used(&indexed, "kind = 'apple'"));
    assert!(used(&indexed, "kind = 'apple' and n between 37 and 42"), "together they leave few");
    assert!(used(&indexed, "kind = 'nobody'"), "what is nowhere leaves nothing");
    indexed.spec.bitmap_max_filter_ratio = 200;
    assert!(used(&indexed, "kind = 'apple'") && used(&indexed, "n between 37 and 42"));
    assert!(!used(&indexed, "kind <> 'apple'"));
}

#[test]
fn bloom_filters_leave_out_what_is_nowhere() {
    let plain = runtime().block_on(Fixture::new());
    let indexed = runtime().block_on(Fixture::indexed(&[], &["price", "kind"]));
    let sql =
        "select id from {t} where price = cast(12345.67 as decimal(12,2)) or price = cast(12345.68 as decimal(12,2))";
    let absent = "select id from {t} where kind = 'nobody'";
    assert!(bytes_of(&plain, sql) > 0 && bytes_of(&plain, absent) > 0);
    assert_eq!(bytes_of(&indexed, absent), 0);
    assert_eq!(bytes_of(&indexed, sql), 0);
    let counts = runtime().block_on(counted(&indexed, "select id from things where kind = 'nobody'"));
    assert_eq!((counts["BloomFilterFilterRows"], counts["BitmapIndexFilterRows"]), (101_500, 0));
}

#[test]
fn conditions_on_the_sort_key_and_on_what_goes_with_it_read_few_pages() {
    const ROWS: i64 = 2_000_000;
    let column = |id: u32, name: &str| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type: DataType::BigInt,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    let schema = TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: vec![column(1, "k"), column(2, "v"), column(3, "w")],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    };
    // Keys and what goes with them have no rule that would make their pages small.
    let mix = |i: i64| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let numbers = |number: fn(i64, u64) -> i64| {
        Arc::new((0..ROWS).map(|i| number(i, mix(i))).collect::<Int64Array>()) as ArrayRef
    };
    let columns = vec![
        numbers(|i, noise| i * 1000 + (noise % 1000) as i64),
        numbers(|i, noise| i * 7000 - (noise % 7000) as i64),
        numbers(|_, noise| noise as i64),
    ];
    let key = columns[0].as_primitive::<Int64Type>().value(321_000);
    let rows = RecordBatch::try_new(schema.to_arrow(), columns).unwrap();
    let ranges_of = |query: &str| {
        runtime().block_on(async {
            let store = Arc::new(FakeStore::default());
            store.write(&schema, 1, 1, 0, &rows, &[]).await;
            let cache = CacheConfig { memory_bytes: 16 << 20, ..CacheConfig::default() };
            let context = ScanContext::new(StorePool::with_local(NODE, store.clone()), cache).await.unwrap();
            let spec = spec_of(schema.clone(), ROWS as u64);
            let session = SessionContext::new();
            session.register_table("things", Arc::new(Table { context, spec })).unwrap();
            let memory = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).unwrap();
            session.register_table("expected", Arc::new(memory)).unwrap();
            assert_same(&session, query).await;
            store.ranges_read.load(Ordering::Relaxed)
        })
    };
    let all = ranges_of("select sum(k), sum(w) from {t}");
    let of_key = |filter: String| ranges_of(&format!("select k, w from {{t}} where {filter}"));
    let (lookup, short) = (of_key(format!("k = {key}")), of_key(format!("k between {key} and {}", key + 9000)));
    // The footer; of each column its zones and one page, or two where they meet.
    assert!(lookup <= 1 + 2 * 3 && short <= 1 + 2 * 3, "{lookup} and {short} of {all}");
    // Zone maps of a column that is not sorted by, but goes with what is.
    let zones = ranges_of("select w from {t} where v between 2100000000 and 2100700000");
    assert!(zones <= 1 + 2 * 3, "{zones} of {all}");
    assert!(all > 3 * zones, "{zones} of {all}");
}

/// One tablet of a table, whose bitmap indexes are always used.
fn spec_of(schema: TableSchema, rows: u64) -> TabletScan {
    let read = TabletRead { tablet: TabletId(1), version: VERSION, replicas: replicas(), rows, bytes: 1 << 14 };
    TabletScan {
        table: "db.t".to_owned(),
        projection: (0..schema.columns.len()).collect(),
        schema,
        volume: None,
        partitions: vec![vec![read]],
        filters: Vec::new(),
        limit: None,
        exact_rows: false,
        pruned: Pruned::default(),
        bitmap_max_filter_ratio: 1000,
    }
}

#[test]
fn lost_and_damaged_indexes_change_no_answer() {
    let filters = ["n = 37", "kind in ('apple', 'Apple') and n < -900", "at is null and flag", "id = 70123"];
    type Files = BTreeMap<(u64, u64, u32, storage::IndexKey), Bytes>;
    let damages: [fn(&mut Files); 3] = [
        |files| files.clear(),
        |files| {
            for (number, file) in files.values_mut().enumerate() {
                let mut bytes = file.to_vec();
                let at = (number * 7919) % bytes.len();
                bytes[at] ^= 1;
                *file = bytes.into();
            }
        },
        |files| files.values_mut().for_each(|file| *file = file.slice(..file.len() / 2)),
    ];
    for damage in damages {
        let mut fixture = runtime().block_on(Fixture::indexed(INDEXED, INDEXED));
        fixture.spec.bitmap_max_filter_ratio = 1000;
        damage(&mut fixture.store.indexes.lock());
        for filter in filters {
            runtime().block_on(assert_same(&session(&fixture), &format!("select id, n from {{t}} where {filter}")));
        }
    }
}

#[test]
fn an_index_of_a_column_that_has_another_type_since_is_not_misread() {
    let column = |data_type: DataType| Column {
        id: ColumnId(3),
        name: "k".to_owned(),
        data_type,
        nullable: true,
        aggregation: None,
        initial: None,
    };
    let indexes =
        IndexKind::ALL.map(|kind| Index { name: String::new(), column: ColumnId(3), kind, comment: String::new() });
    let schema = |version: u32, data_type: DataType| TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(version),
        columns: vec![column(data_type)],
        sort_key: Vec::new(),
        indexes: indexes.to_vec(),
    };
    let values: ArrayRef = Arc::new((0..3000).map(|i| (i % 7 != 0).then_some(i % 50 - 20)).collect::<Int32Array>());
    let rows = RecordBatch::try_new(schema(1, DataType::Int).to_arrow(), vec![values]).unwrap();
    runtime().block_on(async {
        let store = Arc::new(FakeStore::default());
        store.write(&schema(1, DataType::Int), 1, 1, 0, &rows, &[]).await;
        let cache = CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() };
        let context = ScanContext::new(StorePool::with_local(NODE, store), cache).await.unwrap();
        for data_type in [DataType::Int, DataType::BigInt, DataType::LargeInt] {
            let schema = schema(2, data_type);
            let wider = arrow::compute::cast(rows.column(0), schema.to_arrow().field(0).data_type()).unwrap();
            let expected = RecordBatch::try_new(schema.to_arrow(), vec![wider]).unwrap();
            let spec = spec_of(schema, 3000);
            let session = SessionContext::new();
            session.register_table("things", Arc::new(Table { context: context.clone(), spec })).unwrap();
            let memory = MemTable::try_new(expected.schema(), vec![vec![expected]]).unwrap();
            session.register_table("expected", Arc::new(memory)).unwrap();
            for filter in ["k = 5", "k = -20", "k < -15", "k in (1, 2, 77)", "k is null", "k >= 3 and k <> 4", "k = 77"]
            {
                assert_same(&session, &format!("select k from {{t}} where {filter}")).await;
            }
        }
    });
}
