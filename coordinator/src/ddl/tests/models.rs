//! The four table models: what they take, and what they refuse and where.

use tarn_catalog::DefaultValue;
use tarn_proto::{Aggregation, ColumnId, TableModel};

use super::*;

fn keys(ids: &[u32]) -> Vec<ColumnId> {
    ids.iter().copied().map(ColumnId).collect()
}

fn aggregations(spec: &TableSpec) -> Vec<Option<Aggregation>> {
    spec.schema.columns.iter().map(|c| c.aggregation).collect()
}

#[test]
fn value_columns_of_aggregate_tables_have_the_aggregation_they_declare() {
    let spec = lowered(
        "create table t (a int, b largeint sum, c decimal(9,2) sum, d double sum, e date min, f string max, \
         g boolean replace, h struct<x int> replace_if_not_null) aggregate key(a)",
    )
    .unwrap();
    assert_eq!((spec.schema.model, &spec.schema.keys), (TableModel::Aggregate, &keys(&[1])));
    assert_eq!((&spec.schema.sort_key, &spec.distribution.columns), (&keys(&[1]), &keys(&[1])));
    let (sum, min, max) = (Some(Aggregation::Sum), Some(Aggregation::Min), Some(Aggregation::Max));
    let (replace, not_null) = (Some(Aggregation::Replace), Some(Aggregation::ReplaceIfNotNull));
    assert_eq!(aggregations(&spec), [None, sum, sum, sum, min, max, replace, not_null]);
    assert!(spec.schema.columns.iter().all(|c| c.nullable), "keys too may be NULL");
}

#[test]
fn a_table_without_key_clause_that_aggregates_has_all_other_columns_for_keys() {
    for sql in ["create table t (a int, b date, c bigint sum)", "create table t (a int key, b date, c bigint sum)"] {
        let spec = lowered(sql).unwrap();
        assert_eq!((spec.schema.model, &spec.schema.keys), (TableModel::Aggregate, &keys(&[1, 2])), "{sql}");
        assert_eq!(spec.distribution.columns, keys(&[1, 2]));
    }
}

#[test]
fn every_value_column_of_a_unique_table_is_replaced() {
    let spec = lowered("create table t (a int, b decimal(9,2), c int, d json not null) unique key(a, b)").unwrap();
    assert_eq!((spec.schema.model, &spec.schema.keys), (TableModel::Unique, &keys(&[1, 2])));
    assert_eq!(aggregations(&spec), [None, None, Some(Aggregation::Replace), Some(Aggregation::Replace)]);
    assert_eq!(spec.distribution.columns, keys(&[1, 2]));
}

#[test]
fn primary_keys_are_never_null_and_their_sort_key_is_free() {
    let spec = lowered("create table t (a int, b string not null, c double, d date) primary key(a, b) order by (d, a)")
        .unwrap();
    assert_eq!((spec.schema.model, &spec.schema.keys), (TableModel::PrimaryKey, &keys(&[1, 2])));
    assert_eq!((&spec.schema.sort_key, &spec.distribution.columns), (&keys(&[4, 1]), &keys(&[1, 2])));
    assert_eq!(spec.schema.columns.iter().map(|c| c.nullable).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(aggregations(&spec), [None; 4]);
}

#[test]
fn keys_and_values_of_the_models_are_checked_with_their_place() {
    let cases = [
        (
            "create table t (a int, b int) aggregate key(a)",
            "column `b` is no key column of the AGGREGATE KEY table and has no aggregation: write SUM, MIN, MAX, \
             REPLACE or REPLACE_IF_NOT_NULL after its type, or name it in AGGREGATE KEY at line 1, column 24",
        ),
        (
            "create table t (a int sum, b int sum) aggregate key(a)",
            "key column `a` cannot have an aggregation: leave SUM out at line 1, column 17",
        ),
        (
            "create table t (a int key sum, b int sum)",
            "key column `a` cannot have an aggregation: leave SUM out at line 1, column 17",
        ),
        (
            "create table t (a int sum)",
            "table `t` has no key column: every column has an aggregation, leave out that of the keys",
        ),
        (
            "create table t (a int sum, b int)",
            "key columns are the table's first columns in their order: `b` stands where column `a` is at line 1, column 28",
        ),
        (
            "create table t (a int, b int sum) duplicate key(a)",
            "column `b` has the aggregation SUM, which is for AGGREGATE KEY tables: leave it out of a DUPLICATE KEY table",
        ),
        (
            "create table t (a int, b int replace) unique key(a)",
            "column `b` has the aggregation REPLACE, which is for AGGREGATE KEY tables: leave it out of a UNIQUE KEY table",
        ),
        (
            "create table t (a int, b int max) primary key(a)",
            "column `b` has the aggregation MAX, which is for AGGREGATE KEY tables: leave it out of a PRIMARY KEY table",
        ),
        (
            "create table t (a int, b varchar(3) sum) aggregate key(a)",
            "column `b` is of type varchar(3): SUM takes a number at line 1, column 26",
        ),
        (
            "create table t (a int, b boolean sum) aggregate key(a)",
            "column `b` is of type boolean: SUM takes a number at line 1, column 26",
        ),
        (
            "create table t (a int, b json min) aggregate key(a)",
            "column `b` is of type json: MIN takes a number, DATE, DATETIME or text at line 1, column 26",
        ),
        (
            "create table t (a int, b array<int> max) aggregate key(a)",
            "column `b` is of type array<int>: MAX takes a number, DATE, DATETIME or text at line 1, column 26",
        ),
        (
            "create table t (a int, b int) unique key(b)",
            "key columns are the table's first columns in their order: `b` stands where column `a` is",
        ),
        ("create table t (a int, b int) primary key(z)", "column `z` does not exist at line 1, column 43"),
        (
            "create table t (a int key, b int key) primary key(a)",
            "column `b` is marked KEY but is not among those of PRIMARY KEY at line 1, column 28",
        ),
        (
            "create table t (a double, b int) unique key(a)",
            "column `a` is of type double, which cannot be a key column at line 1, column 45",
        ),
        (
            "create table t (a json, b int sum) aggregate key(a)",
            "column `a` is of type json, which cannot be a key column at line 1, column 50",
        ),
        (
            "create table t (a decimal(9,2), b int) primary key(a)",
            "column `a` is of type decimal(9,2), which cannot be a primary key column at line 1, column 52",
        ),
        (
            "create table t (a int null) primary key(a)",
            "primary key column `a` cannot be NULL: write NOT NULL, or leave NULL out at line 1, column 17",
        ),
        ("create table t (a int, __OP tinyint)", "the name `__OP` is reserved: by it loads say which keys they delete"),
    ];
    for (sql, expected) in cases {
        let message = refused(sql);
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{sql}\n {message}\n {expected}");
    }
}

#[test]
fn partitions_buckets_and_sort_key_of_the_models_are_checked_with_their_place() {
    let table = "create table t (k date, l int, v int)";
    let cases = [
        (
            "unique key(k) distributed by hash(v)",
            "bucket column `v` is no key column: rows of one key in a UNIQUE KEY table must lie together at line 1, column 73",
        ),
        ("primary key(k) distributed by hash(z)", "column `z` does not exist at line 1, column 74"),
        (
            "unique key(l) partition by (l)",
            "key columns are the table's first columns in their order: `l` stands where column `k` is",
        ),
        (
            "unique key(k) partition by l",
            "partition column `l` is no key column: rows of one key in a UNIQUE KEY table must lie together",
        ),
        ("primary key(k) partition by range(l) ()", "partition column `l` is no key column"),
        ("primary key(k) partition by date_trunc('day', v)", "partition column `v` is no key column"),
        (
            "primary key(k, l) distributed by random buckets 3",
            "DISTRIBUTED BY RANDOM is for DUPLICATE KEY tables: write DISTRIBUTED BY HASH (`k`, `l`) at line 1, column 57",
        ),
        (
            "unique key(k) order by (v)",
            "sort key column `v` is no key column: ORDER BY of a UNIQUE KEY table names its key columns, each once, in \
             any order at line 1, column 63",
        ),
        ("unique key(k, l) order by (l)", "the sort key leaves out key column `k`: ORDER BY of a UNIQUE KEY table"),
        ("primary key(k) order by (v, v)", "sort key `v` is there twice"),
    ];
    for (clauses, expected) in cases {
        let message = refused(&format!("{table} {clauses}"));
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{clauses}\n {message}");
    }
    for clauses in
        ["primary key(k) order by (v, l)", "unique key(k, l) order by (l, k)", "primary key(k) partition by k"]
    {
        let spec = lowered(&format!("{table} {clauses}"));
        assert!(spec.is_ok(), "{clauses}: {spec:?}");
    }
}

#[test]
fn one_bigint_column_of_a_table_may_be_numbered_by_it() {
    let spec = lowered("create table t (k string, id bigint auto_increment comment 'x') primary key(k)").unwrap();
    assert_eq!(spec.columns[&ColumnId(2)].default, Some(DefaultValue::AutoIncrement));
    assert!(!spec.schema.columns[1].nullable);
    let cases = [
        ("id int auto_increment", "AUTO_INCREMENT column `id` is of type int: its type is BIGINT at line 1, column 28"),
        ("id bigint null auto_increment", "AUTO_INCREMENT column `id` cannot be NULL"),
        ("id bigint auto_increment default '1'", "AUTO_INCREMENT column `id` has a DEFAULT, which it would never take"),
        ("id bigint sum auto_increment", "AUTO_INCREMENT column `id` has an aggregation"),
        (
            "id bigint auto_increment, b bigint auto_increment",
            "column `b` is the second AUTO_INCREMENT column: a table has one at line 1, column 51",
        ),
    ];
    for (columns, expected) in cases {
        let message = refused(&format!("create table t (kk int, {columns})"));
        assert!(message.contains(expected) && message.contains("at line 1, column"), "{columns}\n {message}");
    }
}
