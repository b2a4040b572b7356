//! Statements that are refused, and where.

use super::*;

#[test]
fn names_columns_and_keys_are_checked_with_their_place() {
    let cases = [
        ("create table t (a int, A int)", "column `A` is there twice at line 1, column 24"),
        ("create table t (a int) duplicate key(b)", "column `b` does not exist at line 1, column 38"),
        ("create table t (a int) duplicate key(a, a)", "key column `a` is there twice at line 1, column 41"),
        (
            "create table t (a int, b int) duplicate key(b)",
            "key columns are the table's first columns in their order: `b` stands where column `a` is at line 1, column 45",
        ),
        (
            "create table t (a double) duplicate key(a)",
            "column `a` is of type double, which cannot be a key column at line 1, column 41",
        ),
        ("create table t (a int, b json) order by (b)", "column `b` is of type json, which cannot be a sort key"),
        ("create table t (a int)\n distributed by hash(z)", "column `z` does not exist at line 2, column 22"),
        ("create table t (a float) distributed by hash(a)", "cannot be a bucket column"),
        ("create table t (a int) distributed by hash(a) buckets 5000", "BUCKETS must be 1 to 4096, not 5000"),
        ("create table t (a int) engine=mysql", "engine `mysql` is not available"),
    ];
    for (sql, expected) in cases {
        let message = refused(sql);
        assert!(message.contains(expected), "{sql}\n {message}\n {expected}");
    }
}

#[test]
fn what_is_not_there_yet_is_said_so() {
    let cases = [
        (
            "create table t (a int, b string hll_union) aggregate key(a)",
            "the aggregation HLL_UNION and its type HLL are not available yet",
        ),
        ("create table t (a int, index i (a) using gin)", "GIN indexes are not available yet"),
        (
            "create table t (a int) partition by list(a) (partition p values in (\"1\"), partition q values in (\"1\"))",
            "partition `q` lists (1), which partition `p` has",
        ),
        (
            "create table t (a int) properties(\"replication_num\"=\"3\")",
            "replication num should be less than or equal to the number of available storage nodes",
        ),
        ("create table t (a int) properties(\"replication_num\"=\"9\")", "Replication num should be between 1 and 5"),
        (
            "create table t (a int) properties(\"dynamic_partition.enable\"=\"true\")",
            "dynamic partitions are for tables partitioned by range",
        ),
        (
            "create table t (a int) properties(\"partition_live_number\"=\"2\")",
            "`partition_live_number` is for tables partitioned by time",
        ),
        (
            "create table t (d date) partition by list(d) (partition p values in ('2024-01-01') ('partition_live_number'='2'))",
            "is one of a table, not of a single partition",
        ),
    ];
    for (sql, expected) in cases {
        let message = refused(sql);
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{sql}\n {message}");
    }
}

#[test]
fn defaults_must_be_values_of_their_columns() {
    let cases = [
        ("create table t (a tinyint default \"300\")", "`300` is no tinyint"),
        ("create table t (a date default \"2023-02-29\")", "`2023-02-29` is no date"),
        ("create table t (a varchar(2) default \"abc\")", "`abc` is longer than 2 bytes"),
        ("create table t (a int not null default null)", "NULL, but the column is NOT NULL"),
        ("create table t (a date default current_timestamp)", "CURRENT_TIMESTAMP is for DATETIME"),
        ("create table t (a array<int> default \"[]\")", "can have no default but NULL"),
    ];
    for (sql, expected) in cases {
        let message = refused(sql);
        assert!(message.contains(expected), "{sql}\n {message}");
    }
}

#[test]
fn unknown_properties_are_refused_with_the_nearest_known_one() {
    let message = refused("create table t (a int) properties(\"replicaton_num\"=\"1\")");
    assert!(message.contains("unknown property `replicaton_num`: did you mean `replication_num`?"), "{message}");
}
