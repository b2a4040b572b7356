//! Partitions as declared.

use tarn_catalog::{Bounds, Partitioning, Value};
use tarn_sql::Position;

use super::*;
use crate::ddl::partition;

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
    let specs = partition::lower(&table, &partitions, at).map_err(|e| e.to_string())?;
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
