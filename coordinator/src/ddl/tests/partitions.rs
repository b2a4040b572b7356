//! Partitions as declared.

use tarn_catalog::{Bounds, Partitioning, Value};
use tarn_proto::DataType;
use tarn_proto::time::{DAY_MICROS, TimeUnit};
use tarn_sql::Position;

use super::*;
use crate::ddl::lifetime::{self, Dynamic, Lifetime};
use crate::ddl::{partition, partition_specs};

const DAY: i32 = 19_723; // 2024-01-01

fn bounds(lower: Option<i32>, upper: Option<i32>) -> Bounds {
    let date = |day: Option<i32>| day.map(|day| vec![Value::Date(day)]);
    Bounds::Range { lower: date(lower), upper: date(upper) }
}

fn partitions(sql: &str) -> Vec<(String, Bounds)> {
    lowered(sql).unwrap().partitions.into_iter().map(|p| (p.name, p.bounds)).collect()
}

#[test]
fn less_than_begins_where_the_partition_below_ends() {
    let sql = "create table t (d date) partition by range(d) (
        partition p1 values less than (\"2024-01-01\"), partition p2 values less than (\"2024-01-03\"),
        partition p3 values [(\"2024-01-05\"), (\"2024-01-06\")), partition p4 values less than maxvalue)";
    let expected = [
        ("p1".to_owned(), bounds(None, Some(DAY))),
        ("p2".to_owned(), bounds(Some(DAY), Some(DAY + 2))),
        ("p3".to_owned(), bounds(Some(DAY + 4), Some(DAY + 5))),
        ("p4".to_owned(), bounds(Some(DAY + 5), None)),
    ];
    assert_eq!(partitions(sql), expected);
}

#[test]
fn every_makes_named_steps() {
    let sql = "create table t (d date) partition by range(d) (start (\"2024-01-01\") end (\"2024-01-04\") every (interval 1 day))";
    let names: Vec<String> = partitions(sql).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["p20240101", "p20240102", "p20240103"]);
    let sql = "create table t (k int) partition by range(k) (start (\"1\") end (\"10\") every (4))";
    let expected = [(1, 5), (5, 9), (9, 10)].map(|(a, b)| {
        let bounds = Bounds::Range { lower: Some(vec![Value::Int(a)]), upper: Some(vec![Value::Int(b)]) };
        (format!("p{a}"), bounds)
    });
    assert_eq!(partitions(sql), expected);
}

#[test]
fn wrong_partitions_are_refused_with_their_place() {
    let cases = [
        ("(partition p values less than (\"x\"))", "bound of partition column `d`: `x` is no date at line 1"),
        (
            "(partition p values less than (\"2024-01-02\"), partition P values less than (\"2024-01-03\"))",
            "partition `P` exists already",
        ),
        (
            "(partition p values less than (\"2024-01-02\"), partition q values less than (\"2024-01-01\"))",
            "partition `q` overlaps partition `p`",
        ),
        ("(partition p values [(\"2024-01-02\"), (\"2024-01-02\")))", "partition `p` is empty"),
        ("(partition p values less than (\"2024-01-02\", \"2\"))", "2 values in a bound, for 1 partition columns"),
        (
            "(start (\"2024-01-02\") end (\"2024-01-02\") every (interval 1 day))",
            "END (\"2024-01-02\") is not above START",
        ),
        ("(start (\"2024-01-02\") end (\"2024-01-03\") every (1))", "EVERY takes an interval"),
        (
            "(start (\"2024-01-02\") end (\"2024-01-03\") every (interval 1 hour))",
            "EVERY takes an interval of days or more",
        ),
        ("(start (\"1000-01-01\") end (\"2024-01-03\") every (interval 1 day))", "more than 4096 partitions"),
    ];
    for (clause, expected) in cases {
        let message = refused(&format!("create table t (d date) partition by range(d) {clause}"));
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{clause}\n {message}");
    }
    let message = refused("create table t (d varchar(9)) partition by range(d) ()");
    assert!(message.contains("range partition columns are integers, DATE or DATETIME"), "{message}");
}

#[test]
fn expressions_are_checked() {
    let table =
        |by: &str| lowered(&format!("create table t (d date, t datetime, c varchar(9), j json) partition by {by}"));
    for good in [
        "date_trunc('day', d)",
        "date_trunc('hour', t)",
        "time_slice(t, interval 15 minute)",
        "c",
        "d, c",
        "date_trunc('month', t), c",
        "time_slice(d, interval 7 day, floor)",
    ] {
        let spec = table(good).expect(good);
        assert!(matches!(spec.partitioning, Partitioning::Expression(_)) && spec.partitions.is_empty(), "{good}");
    }
    let cases = [
        ("date_trunc('week', d)", "not `week`"),
        ("date_trunc('hour', d)", "column `d` is a DATE, which has no hours"),
        ("date_trunc('day', c)", "wanted is DATE or DATETIME"),
        ("time_slice(t, interval 1 day, ceil)", "floor of a time_slice"),
        ("year(d)", "`year` cannot partition a table"),
        ("j", "which cannot partition"),
        ("c, c", "twice"),
    ];
    for (by, expected) in cases {
        let message = table(by).expect_err(by).to_string();
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{by}\n {message}");
    }
}

fn added(table: &str, alter: &str) -> Result<Vec<String>, String> {
    let table = created(lowered(table).unwrap());
    let Ok(Statement::AddPartitions { partitions, .. }) = parse_one(alter) else { panic!("{alter}") };
    let at = Position { line: 1, column: 1 };
    let specs = partition::lower(&table, &partitions, partition_specs(&table), at).map_err(|e| e.to_string())?;
    Ok(specs.into_iter().map(|p| format!("{} {:?}", p.name, p.bounds)).collect())
}

#[test]
fn partitions_are_added_beside_those_that_exist() {
    let ranges = "create table t (k int) partition by range(k) (partition a values less than (\"10\"))";
    let found = added(ranges, "alter table t add partition b values less than (\"20\")");
    assert_eq!(found, Ok(vec!["b Range { lower: Some([Int(10)]), upper: Some([Int(20)]) }".to_owned()]));
    assert_eq!(added(ranges, "alter table t add partition if not exists a values less than (\"20\")"), Ok(vec![]));
    let message = added(ranges, "alter table t add partitions start (\"9\") end (\"12\") every (1)").unwrap_err();
    assert!(message.contains("partition `p9` overlaps partition `a`"), "{message}");
    let message =
        added("create table t (k int)", "alter table t add partition b values less than (\"20\")").unwrap_err();
    assert!(message.contains("table `t` is not partitioned"), "{message}");
    let message =
        added("create table t (k int) partition by k", "alter table t add partition b values less than (\"20\")");
    assert!(message.unwrap_err().contains("made by loads"));
}

/// A table by ranges of `d`, or of the time `t`, with these properties.
fn with_properties(column: &str, properties: &str) -> Result<Lifetime, String> {
    let sql =
        format!("create table t (d date, t datetime, k int) partition by range({column}) () properties({properties})");
    let spec = lowered(&sql).map_err(|e| e.to_string())?;
    lifetime::lifetime(&spec.properties, &spec.partitioning, &spec.schema, &spec.distribution)
        .map_err(|wrong| wrong.message)
}

#[test]
fn dynamic_partitions_have_the_defaults_of_starrocks() {
    let rule = with_properties("d", "'dynamic_partition.time_unit'='day', 'dynamic_partition.end'='3'").unwrap();
    let expected = Dynamic {
        unit: TimeUnit::Day,
        zone: "UTC".to_owned(),
        start: None,
        end: 3,
        prefix: "p".to_owned(),
        buckets: None,
        history: 0,
        first_of_week: 1,
        first_of_month: 1,
        data_type: DataType::Date,
    };
    assert_eq!(rule, Lifetime::Dynamic(expected));
    let off = "'dynamic_partition.enable'='false', 'dynamic_partition.time_unit'='day', 'dynamic_partition.end'='3'";
    assert_eq!(with_properties("d", off), Ok(Lifetime::Forever));
    let latest = Lifetime::Latest { count: 2, data_type: DataType::DateTime };
    assert_eq!(with_properties("t", "'partition_live_number'='2'"), Ok(latest));
    assert_eq!(with_properties("t", "'partition_live_number'='-1'"), Ok(Lifetime::Forever));
}

#[test]
fn rules_that_cannot_be_followed_are_refused() {
    let day = "'dynamic_partition.time_unit'='day', 'dynamic_partition.end'='3'";
    let cases = [
        ("d", "'dynamic_partition.end'='3'".to_owned(), "need `dynamic_partition.time_unit`"),
        ("d", "'dynamic_partition.time_unit'='day'".to_owned(), "need `dynamic_partition.end`"),
        ("d", "'dynamic_partition.time_unit'='hour', 'dynamic_partition.end'='3'".to_owned(), "HOUR needs a DATETIME"),
        (
            "d",
            "'dynamic_partition.time_unit'='decade', 'dynamic_partition.end'='3'".to_owned(),
            "unsupported time unit",
        ),
        ("d", "'dynamic_partition.time_unit'='day', 'dynamic_partition.end'='0'".to_owned(), "greater than 0, not `0`"),
        ("d", format!("{day}, 'dynamic_partition.start'='0'"), "must be a whole number less than 0, not `0`"),
        ("d", format!("{day}, 'dynamic_partition.start_day_of_month'='29'"), "must be 1 to 28, not `29`"),
        ("d", format!("{day}, 'dynamic_partition.start_day_of_week'='8'"), "must be 1 (Monday) to 7 (Sunday)"),
        ("d", format!("{day}, 'dynamic_partition.buckets'='0'"), "must be a whole number from 1 to 4096"),
        ("d", format!("{day}, 'dynamic_partition.enable'='perhaps'"), "takes true or false"),
        ("d", format!("{day}, 'dynamic_partition.prefix'='a b'"), "made of letters, digits and _"),
        ("d", format!("{day}, 'dynamic_partition.time_zone'='Nowhere/Else'"), "unknown time zone `Nowhere/Else`"),
        ("d", format!("{day}, 'dynamic_partition.history_partition_num'='500'"), "too many dynamic partitions"),
        (
            "d",
            format!("{day}, 'dynamic_partition.history_partition_num'='400', 'dynamic_partition.buckets'='300'"),
            "have 121200 tablets",
        ),
        ("d", format!("{day}, 'dynamic_partition.finish'='1'"), "unknown property `dynamic_partition.finish`"),
        ("d", format!("{day}, 'partition_live_number'='1'"), "has one rule"),
        ("k", day.to_owned(), "partition column `k` is of type int: wanted is DATE or DATETIME"),
        ("d, k", day.to_owned(), "with one partition column"),
        ("d", "'partition_live_number'='0'".to_owned(), "must be a whole number, at least 1, or -1"),
        ("k", "'partition_live_number'='1'".to_owned(), "wanted is DATE or DATETIME"),
    ];
    for (column, properties, expected) in cases {
        let message = with_properties(column, &properties).expect_err(&properties);
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{properties}\n {message}");
    }
}

#[test]
fn the_wall_clock_is_that_of_the_time_zone() {
    let noon = 19_723 * DAY_MICROS + 12 * 3_600_000_000 + 7;
    assert_eq!(lifetime::local(noon, "UTC"), Some(noon));
    assert_eq!(lifetime::local(noon, "+08:00"), Some(noon + 8 * 3_600_000_000));
    assert_eq!(lifetime::local(noon, "Asia/Shanghai"), Some(noon + 8 * 3_600_000_000));
    assert_eq!(lifetime::local(-noon, "-05:30"), Some(-noon - 11 * 1_800_000_000));
    assert_eq!(lifetime::local(noon, "Nowhere/Else"), None);
}
