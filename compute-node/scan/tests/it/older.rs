//! Segments that were written under another schema give the rows that they would have had under the present one.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::*;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use tarn_proto::storage::StorePool;
use tarn_proto::*;
use tarn_scan::{CacheConfig, Failure, Pruned, ScanContext, TabletRead, TabletScan};
use tokio::runtime::Runtime;

use crate::fixture::{FakeStore, NODE, Table, VERSION, answer, assert_same, explain, replicas};

/// Rows of each segment: several zones.
const ROWS: i64 = 20_000;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

fn column(id: u32, name: &str, data_type: DataType, nullable: bool, initial: Option<&str>) -> Column {
    let initial = initial.map(str::to_owned);
    Column { id: ColumnId(id), name: name.to_owned(), data_type, nullable, aggregation: None, initial }
}

fn table(version: u32, columns: Vec<Column>) -> TableSchema {
    TableSchema {
        version: SchemaVersion(version),
        model: TableModel::Duplicate,
        columns,
        keys: vec![ColumnId(1)],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    }
}

fn before() -> TableSchema {
    table(
        1,
        vec![
            column(1, "id", DataType::BigInt, false, None),
            column(2, "a", DataType::TinyInt, false, None),
            column(3, "b", DataType::Int, true, None),
            column(4, "d", DataType::Decimal(5, 2), true, None),
            column(5, "f", DataType::Float, true, None),
            column(6, "t", DataType::Varchar(3), true, None),
            column(7, "gone", DataType::Int, true, None),
        ],
    )
}

/// `a` is renamed, wider and may be NULL; `b`, `d`, `f` and `t` are wider; `n`, `day` and `nothing` are new; `gone` is
/// dropped.
fn after() -> TableSchema {
    table(
        2,
        vec![
            column(1, "id", DataType::BigInt, false, None),
            column(8, "n", DataType::Int, false, Some("7")),
            column(2, "alpha", DataType::Int, true, None),
            column(3, "b", DataType::LargeInt, true, None),
            column(4, "d", DataType::Decimal(20, 2), true, None),
            column(9, "day", DataType::Date, true, Some("2024-02-29")),
            column(5, "f", DataType::Double, true, None),
            column(6, "t", DataType::String, true, None),
            column(10, "nothing", DataType::Varchar(9), true, None),
        ],
    )
}

fn mix(id: i64, salt: u64) -> u64 {
    (id as u64 ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn some(id: i64, salt: u64) -> Option<u64> {
    (!mix(id, salt ^ 0xABCD).is_multiple_of(11)).then(|| mix(id, salt))
}

fn narrow_a(id: i64) -> i8 {
    mix(id, 1) as u8 as i8
}

fn narrow_b(id: i64) -> Option<i32> {
    some(id, 2).map(|v| (v % 2000) as i32 - 1000)
}

fn narrow_d(id: i64) -> Option<i128> {
    some(id, 3).map(|v| i128::from(v % 199_999) - 99_999)
}

fn narrow_f(id: i64) -> Option<f32> {
    some(id, 4).map(|v| if v % 40 == 0 { f32::NAN } else { (v % 500) as f32 / 10.0 })
}

fn text(id: i64) -> Option<&'static str> {
    some(id, 5).map(|v| ["", "a", "ab", "abc", "zz", "ü"][v as usize % 6])
}

fn decimals(values: impl Iterator<Item = Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    let array: Decimal128Array = values.collect();
    Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
}

/// Rows as a load under the schema [`before`] wrote them.
fn old_rows(ids: Range<i64>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int8Array::from_iter_values(ids.clone().map(narrow_a))),
        Arc::new(ids.clone().map(narrow_b).collect::<Int32Array>()),
        decimals(ids.clone().map(narrow_d), 5, 2),
        Arc::new(ids.clone().map(narrow_f).collect::<Float32Array>()),
        Arc::new(ids.clone().map(text).collect::<StringViewArray>()),
        Arc::new(Int32Array::from_iter_values(ids.map(|id| id as i32))),
    ];
    RecordBatch::try_new(before().to_arrow(), columns).unwrap()
}

/// The same rows under the schema [`after`], value by value.
fn old_rows_today(ids: Range<i64>) -> RecordBatch {
    let rows = (ids.end - ids.start) as usize;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int32Array::from(vec![7; rows])),
        Arc::new(ids.clone().map(|id| Some(i32::from(narrow_a(id)))).collect::<Int32Array>()),
        decimals(ids.clone().map(|id| narrow_b(id).map(i128::from)), 38, 0),
        decimals(ids.clone().map(narrow_d), 20, 2),
        Arc::new(Date32Array::from(vec![19_782; rows])),
        Arc::new(ids.clone().map(|id| narrow_f(id).map(f64::from)).collect::<Float64Array>()),
        Arc::new(ids.map(text).collect::<StringViewArray>()),
        Arc::new(StringViewArray::from_iter(vec![None::<&str>; rows])),
    ];
    RecordBatch::try_new(after().to_arrow(), columns).unwrap()
}

/// Rows of a load under the schema [`after`], with values that no older segment can hold.
fn new_rows(ids: Range<i64>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int32Array::from_iter_values(ids.clone().map(|id| (mix(id, 6) % 20) as i32))),
        Arc::new(ids.clone().map(|id| some(id, 7).map(|v| (v % 1000) as i32 - 500)).collect::<Int32Array>()),
        decimals(
            ids.clone().map(|id| some(id, 8).map(|v| i128::from(v % 5) * 10i128.pow(20) + i128::from(v % 9))),
            38,
            0,
        ),
        decimals(ids.clone().map(|id| some(id, 9).map(|v| i128::from(v % 1_000_000))), 20, 2),
        Arc::new(ids.clone().map(|id| some(id, 10).map(|v| 19_700 + (v % 200) as i32)).collect::<Date32Array>()),
        Arc::new(ids.clone().map(|id| some(id, 11).map(|v| (v % 700) as f64 / 10.0)).collect::<Float64Array>()),
        Arc::new(ids.clone().map(|id| text(id).map(|t| t.repeat(3))).collect::<StringViewArray>()),
        Arc::new(ids.map(|id| some(id, 12).map(|_| "some")).collect::<StringViewArray>()),
    ];
    RecordBatch::try_new(after().to_arrow(), columns).unwrap()
}

async fn context_of(store: &Arc<FakeStore>) -> Arc<ScanContext> {
    let cache = CacheConfig { memory_bytes: 64 << 20, ..CacheConfig::default() };
    ScanContext::new(StorePool::with_local(NODE, store.clone()), cache).await.unwrap()
}

/// `things` are the tablet's rows under a schema.
fn register(session: &SessionContext, context: Arc<ScanContext>, schema: TableSchema, rows: u64) {
    let tablet = TabletRead { tablet: TabletId(1), version: VERSION, replicas: replicas(), rows, bytes: 1 << 20 };
    let spec = TabletScan {
        table: "db.things".to_owned(),
        projection: (0..schema.columns.len()).collect(),
        schema,
        volume: None,
        partitions: vec![vec![tablet]],
        filters: Vec::new(),
        limit: None,
        exact_rows: false,
        pruned: Pruned::default(),
        bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
    };
    session.register_table("things", Arc::new(Table { context, spec })).unwrap();
}

/// Both kinds of rows in one tablet, some of the old ones deleted, and the same in memory.
fn session() -> &'static SessionContext {
    static SESSION: OnceLock<SessionContext> = OnceLock::new();
    SESSION.get_or_init(|| {
        runtime().block_on(async {
            let store = Arc::new(FakeStore::default());
            let deleted: Vec<u32> = (0..ROWS as u32).filter(|row| row % 13 == 5).collect();
            store.write(&before(), 1, 10, 0, &old_rows(0..ROWS), &deleted).await;
            store.write(&after(), 1, 11, 0, &new_rows(ROWS..2 * ROWS), &[]).await;
            let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
            register(&session, context_of(&store).await, after(), 2 * ROWS as u64);
            let live: BooleanArray = (0..ROWS as u32).map(|row| Some(deleted.binary_search(&row).is_err())).collect();
            let old = arrow::compute::filter_record_batch(&old_rows_today(0..ROWS), &live).unwrap();
            let rows = vec![vec![old, new_rows(ROWS..2 * ROWS)]];
            let memory = MemTable::try_new(after().to_arrow(), rows).unwrap();
            session.register_table("expected", Arc::new(memory)).unwrap();
            session
        })
    })
}

#[test]
fn every_column_reads_as_if_it_had_always_been_so() {
    let session = session();
    runtime().block_on(async {
        assert_same(session, "select * from {t}").await;
        for column in ["n", "alpha", "b", "d", "day", "f", "t", "nothing"] {
            assert_same(session, &format!("select {column} from {{t}}")).await;
        }
        assert_same(session, "select n, n as m, id, n as o from {t} where id < 10").await;
        assert_same(session, "select count(*) from {t}").await;
    });
}

fn predicate() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let operand = prop_oneof![
        (-10..2 * ROWS + 10).prop_map(|v| ("id", v.to_string())),
        prop::sample::select(vec![6i64, 7, 8, -1]).prop_map(|v| ("n", v.to_string())),
        (-700i64..700).prop_map(|v| ("alpha", v.to_string())),
        (-1100i64..1100).prop_map(|v| ("b", format!("cast({v} as decimal(38,0))"))),
        (0i64..6).prop_map(|v| ("b", format!("cast('{v}00000000000000000000' as decimal(38,0))"))),
        (-120_000i64..900_000)
            .prop_map(|v| ("d", format!("cast('{}.{:02}' as decimal(20,2))", v / 100, v.abs() % 100))),
        (-3i64..4).prop_map(|v| ("day", format!("date '2024-02-29' + interval '{v} days'"))),
        prop::sample::select(vec!["0.1", "'NaN'::double", "12.3", "55.0"]).prop_map(|v| ("f", v.to_owned())),
        prop::sample::select(vec!["''", "'ab'", "'ababab'", "'ü'"]).prop_map(|v| ("t", v.to_owned())),
        Just(("nothing", "'some'".to_owned())),
    ];
    let column = prop::sample::select(vec!["n", "alpha", "b", "d", "day", "f", "t", "nothing"]);
    let leaf = prop_oneof![
        8 => (operator, operand, any::<bool>()).prop_map(|(operator, (column, literal), swap)| {
            if swap { format!("{literal} {operator} {column}") } else { format!("{column} {operator} {literal}") }
        }),
        1 => column.clone().prop_map(|c| format!("{c} is null")),
        1 => column.prop_map(|c| format!("{c} is not null")),
        1 => prop::collection::vec(-130i64..300, 1..5).prop_map(|values| {
            format!("alpha in ({})", values.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))
        }),
        1 => prop::sample::select(vec!["n in (7, 8)", "n not in (7, 8)", "n in (1, 2)", "n = alpha", "alpha > n", "n + 1 > id"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["t like 'a%'", "t not like '%b'", "nothing like 's%'"]).prop_map(str::to_owned),
        1 => (-200i64..200, 0i64..100).prop_map(|(low, width)| format!("alpha between {low} and {}", low + width)),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn filters_see_what_older_rows_read(predicate in predicate()) {
        let session = session();
        runtime().block_on(assert_same(session, &format!("select id, t from {{t}} where {predicate}")));
        runtime().block_on(assert_same(session, &format!("select count(*) from {{t}} where {predicate}")));
    }
}

#[test]
fn dynamic_filters_and_limits_see_it_too() {
    let session = session();
    runtime().block_on(async {
        session.sql("create table small as select column1 as k from (values (7), (-100), (450))").await.unwrap();
        for sql in [
            "select t.id, t.n from {t} t join small on t.n = small.k",
            "select t.id, t.alpha from {t} t join small on t.alpha = small.k",
            "select id, alpha from {t} order by alpha desc nulls last, id limit 20",
            "select id, n from {t} order by n, id limit 20",
            "select id, b from {t} order by b nulls first, id limit 20",
            "select min(n), max(n), min(alpha), max(alpha), max(b), sum(d), count(day) from {t}",
            "select n, count(*) from {t} group by n",
        ] {
            assert_same(session, sql).await;
        }
        let limited = answer(session, "select id from things where n = 7 and alpha < 300 limit 5").await.unwrap();
        assert_eq!(limited.len(), 5);
    });
}

#[test]
fn a_filter_that_no_older_row_passes_reads_none_of_their_segment() {
    runtime().block_on(async {
        let store = Arc::new(FakeStore::default());
        store.write(&before(), 1, 10, 0, &old_rows(0..ROWS), &[]).await;
        let session = SessionContext::new();
        register(&session, context_of(&store).await, after(), ROWS as u64);
        assert_eq!(answer(&session, "select count(*) from things where n = 7").await.unwrap(), [ROWS.to_string()]);
        let read = store.bytes_read.load(std::sync::atomic::Ordering::Relaxed);
        for filter in ["n = 8", "n is null", "day > date '2024-03-01'", "nothing = 'some'", "n = 8 and t = 'ab'"] {
            let sql = format!("select t, alpha from things where {filter}");
            assert!(answer(&session, &sql).await.unwrap().is_empty(), "{filter}");
            assert!(!explain(&session, &sql).await.contains("FilterExec"), "{filter} is the scan's");
        }
        assert_eq!(store.bytes_read.load(std::sync::atomic::Ordering::Relaxed), read, "columns were read");
    });
}

/// As after a compaction under a schema that the query has not seen yet.
#[test]
fn a_query_under_an_older_schema_reads_newer_segments_or_is_run_again() {
    runtime().block_on(async {
        let store = Arc::new(FakeStore::default());
        store.write(&after(), 1, 10, 0, &old_rows_today(0..ROWS), &[]).await;
        let session = SessionContext::new();
        register(&session, context_of(&store).await, before(), ROWS as u64);
        let kept = old_rows(0..ROWS).project(&[0, 1, 2, 3, 4, 5]).unwrap();
        let memory = MemTable::try_new(kept.schema(), vec![vec![kept]]).unwrap();
        session.register_table("expected", Arc::new(memory)).unwrap();
        for sql in [
            "select id, a, b, d, f, t from {t}",
            "select id from {t} where a > 5 and b < 700",
            "select id from {t} where d = cast('1.50' as decimal(5,2)) or t = 'ab'",
        ] {
            assert_same(&session, sql).await;
        }
        for sql in ["select gone from things", "select id from things where gone > 3"] {
            let error = answer(&session, sql).await.unwrap_err();
            let failure = Failure::of(&error).unwrap();
            assert_eq!(failure.kind, ErrorKind::Unavailable, "{error}");
            assert_eq!(failure.message, "column `gone` was dropped while t1 was read; run the query again");
        }
    });
}
