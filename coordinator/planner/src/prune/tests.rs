//! Pruning against brute force: no row that a predicate is true for lies in a partition or bucket that was left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use imbl::OrdMap;
use proptest::prelude::*;
use tarn_catalog::model::value::Value;
use tarn_catalog::{Bounds, Distribution, Partition, PartitionExpr, Partitioning, SchemaHistory, Table, Tablet};
use tarn_ingest::route::{Routing, RowRouter};
use tarn_proto::time::{DAY_MICROS, TimeUnit};
use tarn_proto::{
    Column, ColumnId, DataType, DatabaseId, NodeId, PartitionId, SchemaVersion, TableId, TableModel, TableSchema,
    TabletId, Version,
};

use super::Pruner;

type Row = (Option<i32>, Option<String>, Option<i64>);

const DAYS: i64 = 100;

/// `k int, s string, t datetime`.
fn table(partitioning: Partitioning, bounds: Vec<Bounds>, hashed: Vec<ColumnId>, buckets: u32) -> Table {
    let column = |id: u32, name: &str, data_type| Column {
        id: ColumnId(id),
        name: name.into(),
        data_type,
        nullable: true,
        aggregation: None,
        initial: None,
    };
    let mut table = Table {
        id: TableId(1),
        database: DatabaseId(1),
        name: "t".into(),
        schema: TableSchema {
            model: TableModel::Duplicate,
            keys: vec![ColumnId(1)],
            version: SchemaVersion(1),
            columns: vec![
                column(1, "k", DataType::Int),
                column(2, "s", DataType::String),
                column(3, "t", DataType::DateTime),
            ],
            sort_key: vec![ColumnId(1)],
            indexes: Vec::new(),
        },
        columns: BTreeMap::new(),
        explicit_sort_key: false,
        partitioning,
        distribution: Distribution { columns: hashed, buckets, hash_version: 1 },
        replication: 1,
        colocation: None,
        volume: None,
        properties: BTreeMap::new(),
        comment: String::new(),
        partitions: OrdMap::new(),
        temporary: OrdMap::new(),
        shadows: OrdMap::new(),
        created_ms: 0,
        history: SchemaHistory::default(),
        job: None,
        swapped: None,
    };
    for bounds in bounds {
        add(&mut table, bounds);
    }
    table
}

fn add(table: &mut Table, bounds: Bounds) {
    let id = PartitionId(100 * (table.partitions.len() as u64 + 1));
    let tablets = (0..table.distribution.buckets)
        .map(|b| Tablet { rows: 1, bytes: 1, ..Tablet::new(TabletId(id.get() + u64::from(b)), [NodeId(1)]) })
        .collect();
    let partition = Partition {
        id,
        name: format!("p{id}"),
        bounds,
        tablets,
        visible_version: Version::FIRST,
        committed_version: Version::FIRST,
        rows: 0,
        bytes: 0,
        visible_ms: 0,
        inexact_rows: false,
    };
    table.partitions.insert(id, Arc::new(partition));
}

fn batch(table: &Table, rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|r| r.1.as_deref()))),
        Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|r| r.2))),
    ];
    RecordBatch::try_new(table.schema.to_arrow(), columns).unwrap()
}

/// The tablet of each row that has a partition; those of expressions are created.
fn place(table: &mut Table, rows: &[Row]) -> Vec<Option<TabletId>> {
    rows.iter()
        .map(|row| {
            let one = batch(table, std::slice::from_ref(row));
            loop {
                let mut router = RowRouter::new(Arc::new(table.clone()));
                match router.route(&one, 1) {
                    Ok(Routing::Done(routed)) => return Some(routed[0].0),
                    Ok(Routing::Missing(bounds)) => bounds.into_iter().for_each(|bounds| add(table, bounds)),
                    Ok(Routing::Unprepared(_)) => panic!("nothing is overwritten"),
                    Err(_) => return None,
                }
            }
        })
        .collect()
}

fn predicate(table: &Table, expr: &Expr) -> Arc<dyn PhysicalExpr> {
    let schema = DFSchema::try_from(table.schema.to_arrow()).unwrap();
    create_physical_expr(expr, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default()).unwrap()
}

/// The tablets that are left.
fn kept(table: &Table, predicate: &Arc<dyn PhysicalExpr>) -> Vec<TabletId> {
    let pruner = Pruner::new(table, predicate).unwrap();
    let mut kept = Vec::new();
    for (index, partition) in table.partitions.values().enumerate() {
        for (bucket, tablet) in partition.tablets.iter().enumerate() {
            if pruner.keeps_partition(index) && pruner.keeps_bucket(bucket as u32, partition.tablets.len() as u32) {
                kept.push(tablet.id);
            }
        }
    }
    kept
}

fn time(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), None))
}

fn text(s: &str) -> Expr {
    lit(ScalarValue::Utf8View(Some(s.to_owned())))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.9, -5i32..25),
        prop::option::weighted(0.9, "[a-c]{1,2}"),
        prop::option::weighted(0.9, 0i64..DAYS * DAY_MICROS),
    );
    prop::collection::vec(row, 1..40)
}

fn predicates() -> impl Strategy<Value = Expr> {
    // Half of the times are on a day's edge, where off-by-one errors are.
    let when = || prop_oneof![(0..DAYS).prop_map(|d| d * DAY_MICROS), 0..DAYS * DAY_MICROS];
    let atom = prop_oneof![
        (-5i32..25).prop_map(|k| col("k").eq(lit(k))),
        (-5i32..25).prop_map(|k| col("k").lt(lit(k))),
        (-5i32..25).prop_map(|k| col("k").gt_eq(lit(k))),
        prop::collection::vec(-5i32..25, 1..4)
            .prop_map(|ks| col("k").in_list(ks.into_iter().map(lit).collect(), false)),
        prop::collection::vec(-5i32..25, 1..4).prop_map(|ks| col("k").in_list(ks.into_iter().map(lit).collect(), true)),
        "[a-c]{1,2}".prop_map(|s| col("s").eq(text(&s))),
        "[a-c]{1,2}".prop_map(|s| col("s").not_eq(text(&s))),
        prop::collection::vec("[a-c]{1,2}", 1..4)
            .prop_map(|s| col("s").in_list(s.iter().map(|s| text(s)).collect(), false)),
        when().prop_map(|t| col("t").lt(time(t))),
        when().prop_map(|t| col("t").gt_eq(time(t))),
        when().prop_map(|t| col("t").eq(time(t))),
        Just(col("t").is_null()),
        Just(col("s").is_null()),
        Just(col("k").is_not_null()),
    ];
    atom.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
            inner.prop_map(|a| !a),
        ]
    })
}

fn tables() -> impl Strategy<Value = Table> {
    let (k, s, t) = (ColumnId(1), ColumnId(2), ColumnId(3));
    let days = prop::collection::btree_set(1..DAYS, 1..6);
    let ranges = (days, any::<bool>(), any::<bool>()).prop_map(move |(days, below, above)| {
        let edges: Vec<Value> = days.into_iter().map(|d| Value::DateTime(d * DAY_MICROS)).collect();
        let range = |lower: Option<&Value>, upper: Option<&Value>| Bounds::Range {
            lower: lower.map(|v| vec![v.clone()]),
            upper: upper.map(|v| vec![v.clone()]),
        };
        let mut bounds: Vec<Bounds> = edges.windows(2).map(|w| range(Some(&w[0]), Some(&w[1]))).collect();
        if below {
            bounds.push(range(None, edges.first()));
        }
        if above {
            bounds.push(range(edges.last(), None));
        }
        (Partitioning::Range(vec![t]), bounds)
    });
    let pairs = prop::collection::btree_set((-5i32..25, "[a-c]{1,2}"), 1..5).prop_map(move |edges| {
        let edges: Vec<Vec<Value>> =
            edges.into_iter().map(|(k, s)| vec![Value::Int(k.into()), Value::Text(s)]).collect();
        let mut bounds: Vec<Bounds> =
            edges.windows(2).map(|w| Bounds::Range { lower: Some(w[0].clone()), upper: Some(w[1].clone()) }).collect();
        bounds.push(Bounds::Range { lower: None, upper: edges.first().cloned() });
        bounds.push(Bounds::Range { lower: edges.last().cloned(), upper: None });
        (Partitioning::Range(vec![k, s]), bounds)
    });
    let expressions = prop_oneof![
        Just(vec![PartitionExpr::DateTrunc(TimeUnit::Month, t)]),
        Just(vec![PartitionExpr::TimeSlice(10, TimeUnit::Day, t)]),
        Just(vec![PartitionExpr::Column(s)]),
        Just(vec![PartitionExpr::Column(s), PartitionExpr::DateTrunc(TimeUnit::Week, t)]),
        Just(vec![PartitionExpr::TimeSlice(36, TimeUnit::Hour, t), PartitionExpr::Column(k)]),
    ]
    .prop_map(|exprs| (Partitioning::Expression(exprs), vec![]));
    // Keys with and without NULL, several to a partition.
    let some = |value: Option<Value>| value.unwrap_or(Value::Null);
    let key = (prop::option::of(-5i32..25), prop::option::of("[a-c]{1,2}"));
    let lists = (prop::collection::btree_map(key, 0usize..3, 1..12), any::<bool>()).prop_map(move |(keys, both)| {
        let mut lists: Vec<BTreeSet<Vec<Value>>> = vec![BTreeSet::new(); 3];
        for ((number, name), list) in keys {
            let (number, name) = (some(number.map(|k| Value::Int(k.into()))), some(name.map(Value::Text)));
            if both {
                lists[list].insert(vec![number, name]);
            } else if !lists.iter().any(|list| list.contains(&[name.clone()][..])) {
                lists[list].insert(vec![name]);
            }
        }
        let bounds = lists.into_iter().filter(|list| !list.is_empty()).map(|l| Bounds::List(l.into_iter().collect()));
        (Partitioning::List(if both { vec![k, s] } else { vec![s] }), bounds.collect())
    });
    let one = Just((Partitioning::None, vec![Bounds::All]));
    let hashed = prop_oneof![Just(vec![k]), Just(vec![k, s]), Just(vec![]), Just(vec![t])];
    (prop_oneof![ranges, pairs, expressions, lists, one], hashed, 1u32..6)
        .prop_map(|((partitioning, bounds), hashed, buckets)| table(partitioning, bounds, hashed, buckets))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_matching_row_is_left_out(mut table in tables(), rows in rows(), expr in predicates()) {
        let tablets = place(&mut table, &rows);
        let predicate = predicate(&table, &expr);
        let kept = kept(&table, &predicate);
        let holds = predicate.evaluate(&batch(&table, &rows)).unwrap().into_array(rows.len()).unwrap();
        let holds = holds.as_boolean();
        for (row, tablet) in tablets.iter().enumerate() {
            if let Some(tablet) = tablet && holds.is_valid(row) && holds.value(row) {
                prop_assert!(kept.contains(tablet), "{:?} is in {tablet}, which {expr} leaves out", rows[row]);
            }
        }
    }
}

#[test]
fn what_cannot_match_is_left_out() {
    let day = |d: i64| Value::DateTime(d * DAY_MICROS);
    let range = |from, to| Bounds::Range { lower: Some(vec![day(from)]), upper: Some(vec![day(to)]) };
    let bounds = vec![range(0, 10), range(10, 20), range(20, 30)];
    let table = table(Partitioning::Range(vec![ColumnId(3)]), bounds, vec![ColumnId(1)], 4);
    let left = |expr: Expr| kept(&table, &predicate(&table, &expr)).len();
    assert_eq!(left(col("t").lt(time(10 * DAY_MICROS))), 4);
    assert_eq!(left(col("t").gt_eq(time(10 * DAY_MICROS))), 8);
    assert_eq!(left(col("k").eq(lit(7))), 3);
    assert_eq!(left(col("t").eq(time(10 * DAY_MICROS)).and(col("k").eq(lit(7)))), 1);
    assert_eq!(left(col("t").is_null()), 0);
    assert_eq!(left(col("s").eq(text("a"))), 12);
}
