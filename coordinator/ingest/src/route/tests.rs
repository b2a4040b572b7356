//! Routing against brute force.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int32Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use imbl::OrdMap;
use proptest::prelude::*;
use tarn_catalog::{Distribution, Replacement, SchemaHistory, Tablet};
use tarn_proto::time::{TimeUnit, days_from_civil};
use tarn_proto::{
    Column, ColumnId, DatabaseId, NodeId, PartitionId, SchemaVersion, TableId, TableModel, TableSchema, Version,
};

use super::*;

/// `k int, s string, t datetime`, hashed over `k, s`.
fn table(partitioning: Partitioning, bounds: Vec<Bounds>, buckets: u32) -> Table {
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
        distribution: Distribution { columns: vec![ColumnId(1), ColumnId(2)], buckets, hash_version: 1 },
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
    let tablets =
        (0..table.distribution.buckets).map(|b| Tablet::new(TabletId(id.get() + u64::from(b)), [NodeId(1)])).collect();
    let name = partition_name(&table.partitioning, &bounds, |name| table.partition(name).is_some());
    let partition = Partition {
        id,
        name,
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

type Row = (Option<i32>, Option<String>, Option<i64>);

fn batch(table: &Table, rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|r| r.1.as_deref()))),
        Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|r| r.2))),
    ];
    RecordBatch::try_new(table.schema.to_arrow(), columns).unwrap()
}

/// Every row with the tablet it was routed to, sorted.
fn placed(routed: &Routed) -> Vec<(TabletId, Row)> {
    let mut out = Vec::new();
    for (tablet, batch) in routed {
        let (k, s) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_string_view());
        let t = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for i in 0..batch.num_rows() {
            let row = (k.iter().nth(i).unwrap(), s.iter().nth(i).unwrap().map(str::to_owned), t.iter().nth(i).unwrap());
            out.push((*tablet, row));
        }
    }
    out.sort();
    out
}

/// The tablet of one row, by looking at every partition.
fn brute_force(table: &Table, row: &Row, key: &[Value]) -> TabletId {
    let partition = table.partitions.values().find(|p| p.bounds.contains(key)).unwrap();
    let single = batch(table, std::slice::from_ref(row));
    let hash = hash_rows(&single.columns()[..2], &[DataType::Int, DataType::String], 1).unwrap()[0];
    partition.tablets[(hash % u64::from(table.distribution.buckets)) as usize].id
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.9, -20i32..60),
        prop::option::weighted(0.9, "[a-c]{0,2}"),
        prop::option::weighted(0.9, 0i64..40 * DAY_MICROS),
    );
    prop::collection::vec(row, 1..60)
}

fn int(i: i128) -> Option<Vec<Value>> {
    Some(vec![Value::Int(i)])
}

proptest! {
    #[test]
    fn every_row_reaches_the_tablet_of_its_range_and_hash(rows in rows(), buckets in 1u32..5) {
        let ranges = vec![
            Bounds::Range { lower: None, upper: int(0) },
            Bounds::Range { lower: int(0), upper: int(10) },
            Bounds::Range { lower: int(10), upper: int(11) },
            Bounds::Range { lower: int(11), upper: None },
        ];
        let table = table(Partitioning::Range(vec![ColumnId(1)]), ranges, buckets);
        let mut expected: Vec<_> = rows
            .iter()
            .map(|row| {
                let key = row.0.map_or(Value::Null, |k| Value::Int(k.into()));
                (brute_force(&table, row, &[key]), row.clone())
            })
            .collect();
        expected.sort();
        let mut router = RowRouter::new(Arc::new(table.clone()));
        for _ in 0..2 {
            let Routing::Done(routed) = router.route(&batch(&table, &rows), 1).unwrap() else { panic!("all exist") };
            prop_assert_eq!(placed(&routed), expected.clone());
        }
    }

    #[test]
    fn partitions_asked_for_take_the_rows(rows in rows(), buckets in 1u32..4, list in any::<bool>()) {
        let exprs = match list {
            false => vec![PartitionExpr::DateTrunc(TimeUnit::Week, ColumnId(3))],
            true => vec![PartitionExpr::TimeSlice(5, TimeUnit::Day, ColumnId(3)), PartitionExpr::Column(ColumnId(2))],
        };
        let mut table = table(Partitioning::Expression(exprs), vec![], buckets);
        prop_assume!(!rows.is_empty());
        let batch = batch(&table, &rows);
        let mut router = RowRouter::new(Arc::new(table.clone()));
        let Routing::Missing(missing) = router.route(&batch, 1).unwrap() else { panic!("none exist") };
        for (i, bounds) in missing.iter().enumerate() {
            prop_assert!(missing[..i].iter().all(|other| !other.overlaps(bounds)));
            add(&mut table, bounds.clone());
        }
        router.refresh(Arc::new(table.clone()), None);
        let Routing::Done(routed) = router.route(&batch, 1).unwrap() else { panic!("all exist now") };
        let mut expected: Vec<_> = rows
            .iter()
            .map(|row| {
                let time = |t: i64| Value::DateTime(match list {
                    true => time_slice_days(t, 5),
                    false => t,
                });
                let mut key = vec![row.2.map_or(Value::Null, time)];
                if list {
                    key.push(row.1.clone().map_or(Value::Null, Value::Text));
                }
                (brute_force(&table, row, &key), row.clone())
            })
            .collect();
        expected.sort();
        prop_assert_eq!(placed(&routed), expected);
    }
}

/// Start of the slice of `n` days counted from 0001-01-01, written out.
fn time_slice_days(micros: i64, n: i64) -> i64 {
    let days = micros.div_euclid(DAY_MICROS) - days_from_civil(1, 1, 1);
    (days - days.rem_euclid(n) + days_from_civil(1, 1, 1)) * DAY_MICROS
}

#[test]
fn a_row_without_a_partition_is_named() {
    let range = Bounds::Range { lower: int(0), upper: int(10) };
    let table = table(Partitioning::Range(vec![ColumnId(1)]), vec![range], 1);
    let batch = batch(&table, &[(Some(1), None, None), (Some(10), None, None)]);
    let error = RowRouter::new(Arc::new(table)).route(&batch, 41).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no partition of table `t` takes row 42, whose partition key is (10): add one by ALTER TABLE `t` ADD PARTITION"
    );
}

#[test]
fn a_value_that_no_list_has_is_named_with_the_statement_that_adds_it() {
    let text = |s: &str| Value::Text(s.to_owned());
    let lists = vec![Bounds::List(vec![vec![text("a")], vec![Value::Null]]), Bounds::List(vec![vec![text("b")]])];
    let table = table(Partitioning::List(vec![ColumnId(2)]), lists, 1);
    let rows = |names: &[Option<&str>]| names.iter().map(|s| (Some(1), s.map(str::to_owned), None)).collect::<Vec<_>>();
    let mut router = RowRouter::new(Arc::new(table.clone()));
    let known = batch(&table, &rows(&[Some("a"), None, Some("b"), Some("a")]));
    let Routing::Done(routed) = router.route(&known, 1).unwrap() else { panic!("all exist") };
    let mut counts: Vec<_> = routed.iter().map(|(tablet, rows)| (tablet.get(), rows.num_rows())).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(100, 3), (200, 1)]);
    let error = router.route(&batch(&table, &rows(&[Some("b"), Some("c")])), 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no partition of table `t` takes row 2, whose partition key is (\"c\"): add one by ALTER TABLE `t` ADD PARTITION \
         <name> VALUES IN (\"c\")"
    );
}

#[test]
fn what_is_replaced_is_written_beside_it_once_it_is_prepared() {
    let ranges =
        vec![Bounds::Range { lower: int(0), upper: int(10) }, Bounds::Range { lower: int(10), upper: int(20) }];
    let mut table = table(Partitioning::Range(vec![ColumnId(1)]), ranges, 1);
    let rows = batch(&table, &[(Some(1), None, None), (Some(2), None, None)]);
    let mut overwrite = Overwrite::default();
    let mut router = RowRouter::within(Arc::new(table.clone()), Reach::All, Some(&overwrite));
    let first = PartitionId(100);
    assert!(matches!(router.route(&rows, 1).unwrap(), Routing::Unprepared(missing) if missing == [first]));
    let mut shadow = Partition::clone(&table.partitions[&first]);
    shadow.id = PartitionId(900);
    shadow.tablets[0].id = TabletId(901);
    table.shadows.insert(shadow.id, Arc::new(shadow));
    overwrite.replacements.insert(first, Replacement { with: PartitionId(900), read: None });
    router.refresh(Arc::new(table.clone()), Some(&overwrite));
    let Routing::Done(routed) = router.route(&rows, 1).unwrap() else { panic!("it is prepared") };
    assert_eq!(
        routed.iter().map(|(tablet, rows)| (*tablet, rows.num_rows())).collect::<Vec<_>>(),
        [(TabletId(901), 2)]
    );
}

#[test]
fn null_gets_a_partition_below_all_times() {
    let by = Partitioning::Expression(vec![PartitionExpr::DateTrunc(TimeUnit::Day, ColumnId(3))]);
    let mut table = table(by, vec![], 1);
    let rows = batch(&table, &[(Some(1), None, None), (Some(2), None, Some(days_from_civil(1, 1, 1) * DAY_MICROS))]);
    let mut router = RowRouter::new(Arc::new(table.clone()));
    let Routing::Missing(missing) = router.route(&rows, 1).unwrap() else { panic!("none exist") };
    let [null, first] = &missing[..] else { panic!("{missing:?}") };
    assert!(null.contains(&[Value::Null]) && !null.overlaps(first));
    assert_eq!(partition_name(&table.partitioning, null, |_| false), "pNULL");
    missing.into_iter().for_each(|bounds| add(&mut table, bounds));
    router.refresh(Arc::new(table), None);
    assert!(matches!(router.route(&rows, 1).unwrap(), Routing::Done(routed) if routed.len() == 2));
}

#[test]
fn partitions_are_named_by_their_values() {
    let day = days_from_civil(2024, 2, 29);
    let name = |units: &[Option<TimeUnit>], values: Vec<Value>| {
        let expr = |unit: &Option<TimeUnit>| match unit {
            Some(unit) => PartitionExpr::DateTrunc(*unit, ColumnId(3)),
            None => PartitionExpr::Column(ColumnId(2)),
        };
        let by = Partitioning::Expression(units.iter().map(expr).collect());
        partition_name(&by, &Bounds::List(vec![values]), |n| n == "pa_b")
    };
    let noon = day * DAY_MICROS + 12 * 3_600_000_000;
    assert_eq!(name(&[None, None], vec![Value::Date(day as i32), Value::Text("beijing".into())]), "p20240229_beijing");
    assert_eq!(name(&[Some(TimeUnit::Day)], vec![Value::DateTime(day * DAY_MICROS)]), "p20240229");
    assert_eq!(name(&[Some(TimeUnit::Month)], vec![Value::Date(day as i32)]), "p202402");
    assert_eq!(name(&[Some(TimeUnit::Hour)], vec![Value::DateTime(noon)]), "p2024022912");
    assert_eq!(name(&[None, None], vec![Value::Int(-3), Value::Null]), "p_3_NULL");
    assert_eq!(name(&[None], vec![Value::Text("a b".into())]), "pa_b_1");
}

#[test]
fn without_bucket_columns_batches_take_turns() {
    let mut table = table(Partitioning::None, vec![Bounds::All], 3);
    table.distribution.columns.clear();
    let batch = batch(&table, &[(Some(1), None, None), (Some(2), None, None)]);
    let mut router = RowRouter::new(Arc::new(table));
    let tablets: std::collections::HashSet<_> = (0..3)
        .map(|_| match router.route(&batch, 1).unwrap() {
            Routing::Done(routed) => routed[0].0,
            Routing::Missing(_) | Routing::Unprepared(_) => panic!("all exist"),
        })
        .collect();
    assert_eq!(tablets.len(), 3);
}

#[test]
fn without_bucket_columns_loads_of_one_batch_fill_all_buckets() {
    let mut table = table(Partitioning::None, vec![Bounds::All], 3);
    table.distribution.columns.clear();
    let batch = batch(&table, &[(Some(1), None, None)]);
    let tablets: std::collections::HashSet<_> = (700..703)
        .map(|txn| match RowRouter::new(Arc::new(table.clone())).beginning_at(txn).route(&batch, 1).unwrap() {
            Routing::Done(routed) => routed[0].0,
            Routing::Missing(_) | Routing::Unprepared(_) => panic!("all exist"),
        })
        .collect();
    assert_eq!(tablets.len(), 3);
}
