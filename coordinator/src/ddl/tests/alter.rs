//! `ALTER TABLE` lowered: what is told, and where; and what a table is afterwards.

use tarn_catalog::command::Alteration;
use tarn_sql::Alteration as Declared;

use super::*;
use crate::ddl::alter::lower;
use crate::show::create_table_statement;

/// 2024-02-29 12:00:00
const NOW: i64 = 1_709_208_000_000_000;

const TABLE: &str = "create table t (k bigint not null, s varchar(5) default \"x\" comment 'c', n int not null default \"3\") \
     duplicate key(k) distributed by hash(k) buckets 1";
const SUMS: &str =
    "create table t (k int, total bigint sum default \"0\") aggregate key(k) distributed by hash(k) buckets 1";
const LATEST: &str = "create table t (k int, v int) unique key(k) distributed by hash(k) buckets 1";

fn declared(sql: &str) -> Vec<Declared> {
    match parse_one(sql) {
        Ok(Statement::AlterTable { alterations, .. }) => alterations,
        other => panic!("{sql}: {other:?}"),
    }
}

fn altered(table: &str, sql: &str) -> Result<Table, Error> {
    let table = created(lowered(table)?);
    let alterations: Vec<Alteration> = lower(&table, &declared(sql), NOW)?;
    let mut altered = Table::clone(&table);
    for alteration in &alterations {
        altered.alter(alteration).expect("it was tried on a copy");
    }
    Ok(altered)
}

/// The columns as `SHOW CREATE TABLE` writes them.
fn columns(table: &str, sql: &str) -> Vec<String> {
    let text = create_table_statement(&altered(table, sql).unwrap_or_else(|e| panic!("{sql}: {e}"))).to_string();
    let lines = text.lines().skip(1).take_while(|line| line.starts_with(' '));
    lines.map(|line| line.trim().trim_end_matches(',').to_owned()).collect()
}

#[test]
fn columns_are_added_with_what_older_rows_read() {
    let sql = "alter table t add column (d datetime not null default current_timestamp, f decimal(5, 2) default \"1.5\", \
               x string) after k, add column y int";
    let table = altered(TABLE, sql).unwrap();
    let initial: Vec<_> = table.schema.columns.iter().map(|c| (c.name.as_str(), c.initial.as_deref())).collect();
    assert_eq!(
        initial,
        [
            ("k", None),
            ("d", Some("2024-02-29 12:00:00")),
            ("f", Some("1.5")),
            ("x", None),
            ("s", None),
            ("n", None),
            ("y", None),
        ]
    );
    let sums = altered(SUMS, "alter table t add column m int min").unwrap();
    assert_eq!(sums.schema.columns[2].aggregation, Some(tarn_proto::Aggregation::Min));
    let latest = altered(LATEST, "alter table t add column w int").unwrap();
    assert_eq!(latest.schema.columns[2].aggregation, Some(tarn_proto::Aggregation::Replace));
}

#[test]
fn what_a_new_definition_does_not_say_stays() {
    let one = |sql: &str, at: usize| columns(TABLE, sql).swap_remove(at);
    assert_eq!(one("alter table t modify column n bigint", 2), "`n` bigint NOT NULL DEFAULT \"3\"");
    assert_eq!(one("alter table t modify column n bigint null default \"4\"", 2), "`n` bigint NULL DEFAULT \"4\"");
    assert_eq!(one("alter table t modify column s string", 1), "`s` string NULL DEFAULT \"x\" COMMENT \"c\"",);
    assert_eq!(
        one("alter table t modify column s varchar(5) default null comment 'd'", 1),
        "`s` varchar(5) NULL COMMENT \"d\""
    );
    assert_eq!(one("alter table t modify column s comment 'e'", 1), "`s` varchar(5) NULL DEFAULT \"x\" COMMENT \"e\"");
    assert_eq!(
        one("alter table t modify column k bigint key not null comment 'f'", 0),
        "`k` bigint NOT NULL COMMENT \"f\""
    );
    assert_eq!(one("alter table t modify column n int after k", 1), "`n` int NOT NULL DEFAULT \"3\"");
    assert_eq!(
        columns(SUMS, "alter table t modify column total largeint sum")[1],
        "`total` largeint SUM NULL DEFAULT \"0\""
    );
    assert_eq!(columns(LATEST, "alter table t modify column v bigint")[1], "`v` bigint NULL");
}

#[test]
fn keys_and_sort_keys_are_lowered_to_what_writes_rows_anew() {
    let sorted = altered(TABLE, "alter table t order by (n, k)").unwrap();
    assert_eq!((sorted.schema.sort_key.len(), sorted.explicit_sort_key), (2, true));
    let keyed =
        altered(TABLE, "alter table t add column a int key default \"1\" first, add column b date key").unwrap();
    let names = |table: &Table| -> Vec<String> { table.schema.columns.iter().map(|c| c.name.clone()).collect() };
    assert_eq!(names(&keyed), ["a", "k", "b", "s", "n"]);
    assert_eq!(keyed.schema.keys, keyed.schema.sort_key);
    // In an AGGREGATE table what has no aggregation is a key.
    let sums = altered(SUMS, "alter table t add column a int default \"1\" after k").unwrap();
    assert_eq!((names(&sums), sums.schema.keys.len()), (vec!["k".to_owned(), "a".to_owned(), "total".to_owned()], 2));
    assert_eq!(
        columns(TABLE, "alter table t modify column s varchar(2) not null default \"y\"")[1],
        "`s` varchar(2) NOT NULL DEFAULT \"y\" COMMENT \"c\""
    );
}

#[test]
fn changes_see_what_those_before_them_did() {
    let sql = "alter table t rename column s to z, add column s int after z, drop column z, order by (k, n, s)";
    let names: Vec<_> = altered(TABLE, sql).unwrap().schema.columns.into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["k", "n", "s"]);
}

#[test]
fn what_cannot_be_done_is_told_at_its_place() {
    let cases = [
        (TABLE, "alter table t add column K int", "table `t` has a column `k` already at line 1, column 26"),
        (TABLE, "alter table t add column (a int, A int)", "column `A` is there twice at line 1, column 34"),
        (TABLE, "alter table t add column a int not null", "is NOT NULL and has no default"),
        (TABLE, "alter table t add column a int default \"x\"", "`x` is no int"),
        (TABLE, "alter table t add column a int sum", "has the aggregation SUM, which is for AGGREGATE KEY tables"),
        (TABLE, "alter table t add column a int first", "key columns stay in front (`k`)"),
        (TABLE, "alter table t add column a float key", "column `a` is of type float, which key and sort key columns"),
        (
            TABLE,
            "alter table t add column a int key after s",
            "key columns stay in front: key column `a` cannot stand behind",
        ),
        (
            TABLE,
            "alter table t add column a int after b",
            "column `b` of table `t` does not exist at line 1, column 38",
        ),
        (
            TABLE,
            "alter table t add column a bigint not null auto_increment",
            "AUTO_INCREMENT columns are made with their table",
        ),
        (
            TABLE,
            "alter table t modify column n bigint auto_increment",
            "AUTO_INCREMENT columns are made with their table",
        ),
        (
            TABLE,
            "alter table t drop column k",
            "column `k` is a bucket column, which cannot be dropped: make a table that is so",
        ),
        (TABLE, "alter table t drop column b", "column `b` of table `t` does not exist at line 1, column 27"),
        (TABLE, "alter table t rename column s to N", "table `t` has a column `n` already at line 1, column 34"),
        (TABLE, "alter table t modify column s int", "default of column `s`: `x` is no int; declare another DEFAULT"),
        (
            TABLE,
            "alter table t modify column s boolean default null",
            "column `s` cannot become boolean: there is no conversion",
        ),
        (TABLE, "alter table t modify column n bigint default null", "NULL, but the column is NOT NULL"),
        (TABLE, "alter table t modify column n int key", "column `n` is no key column and cannot become one"),
        (
            TABLE,
            "alter table t modify column k largeint",
            "column `k` is a bucket column, whose type bigint cannot be changed",
        ),
        (TABLE, "alter table t order by (s, k, n)", "key columns stay in front (`k`)"),
        (SUMS, "alter table t order by (total)", "sort key column `total` is no key column"),
        (SUMS, "alter table t add column a int sum default \"1\"", "would be added once for each row"),
        (
            SUMS,
            "alter table t modify column total bigint max",
            "the aggregation of column `total` is SUM and cannot become MAX",
        ),
    ];
    for (table, sql, expected) in cases {
        let message = altered(table, sql).expect_err(sql).to_string();
        assert!(message.contains(expected), "{sql}\n {message}\n {expected}");
        assert!(message.contains("at line 1, column"), "{sql}: {message}");
    }
}
