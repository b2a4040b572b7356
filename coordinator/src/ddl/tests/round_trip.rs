//! `SHOW CREATE TABLE` makes the same table again.

use tarn_catalog::DefaultValue;
use tarn_proto::ColumnId;

use super::*;
use crate::ddl::table::spec_like;
use crate::show::create_table_statement;

const TABLES: &[&str] = &[
    "create table t (a int)",
    "create table t (a double, b json comment 'it''s \"quoted\"') comment 'a\\nb'",
    "create table t (a int not null default \"7\", b varchar(10) default 'x\"y', c datetime default current_timestamp,
        d date default '20240229', e decimal(10,2) default '1.50', f boolean default 'true')
     duplicate key(a, b) distributed by hash(b, a) buckets 7 order by (c, a)",
    "create table `select` (`from` bigint, k2 largeint, a array<int>, m map<int, string>, s struct<x int, y string>)
     distributed by random buckets 3 properties(\"compression\" = \"zstd\")",
    "create table t (d date, k int) partition by range(d) (
        partition p1 values less than ('2024-01-01'), start ('2024-01-01') end ('2024-02-01') every (interval 1 week),
        partition p9 values less than maxvalue)",
    "create table t (d datetime, k int) partition by range(d, k) (
        partition p1 values less than ('2024-01-01 10:00:00.5', '-3'), partition p2 values [('2025-01-01', '1'), ('2026-01-01', '2')))",
    "create table t (t datetime, c varchar(9)) partition by date_trunc('month', t), c",
    "create table t (t datetime) partition by time_slice(t, interval 7 day)",
    "create table t (c varchar(9), d date) partition by list(c) (
        partition p1 values in ('a', 'b\"c', NULL), partition p2 values in ('')) distributed by hash(d) buckets 2",
    "create table t (c varchar(9), d date, b boolean) partition by list(c, d, b) (
        partition p1 values in (('a', '2024-02-29', 'true'), ('b', '20240301', 0)), partition p2 values in (('x', NULL, 1)))",
    "create table t (k int) partition by list(k) ()",
    "create table t (a int, b int) partition by (a, b) distributed by hash(a) buckets 1",
    "create table t (a int, d date not null, s bigint sum default '0', m varchar(9) max comment 'greatest', n double min,
        r json replace, o array<int> replace_if_not_null)
     aggregate key(a, d) partition by date_trunc('month', d) distributed by hash(a) buckets 2 order by (d, a)",
    "create table t (a int, b int sum)",
    "create table t (a varchar(9), id bigint not null auto_increment comment 'c', b bigint default '3') primary key(a)",
    "create table t (a int, b int) unique key(a)",
    "create table t (a int, b decimal(9,2), c json) unique key(a, b) distributed by hash(b) buckets 3 order by (b, a)",
    "create table t (a int, b varchar(9), c double, d map<int, string> not null) primary key(a, b)
     partition by range(a) (partition p values less than ('10')) distributed by hash(b) buckets 3 order by (b)",
];

#[test]
fn the_statement_shown_makes_the_same_table() {
    for sql in TABLES {
        let table = created(lowered(sql).unwrap());
        let shown = create_table_statement(&table).to_string();
        let again = created(lowered(&shown).unwrap_or_else(|e| panic!("{shown}\n{e}")));
        assert_eq!(table, again, "{shown}");
    }
}

#[test]
fn a_table_like_another_differs_in_its_name_alone() {
    for sql in TABLES {
        let table = created(lowered(sql).unwrap());
        let like = created(spec_like(&table, "copy"));
        let expected = create_table_statement(&table).to_string();
        let found = create_table_statement(&like).to_string();
        assert_eq!(found.replacen("`copy`", &tarn_sql::quote_ident(&table.name), 1), expected);
    }
}

#[test]
fn clauses_that_are_left_out_get_the_defaults_of_starrocks() {
    let three = StorageNodes { registered: 3, alive: vec![NodeId(1001), NodeId(1002)], ..StorageNodes::default() };
    let spec = create::lower(&parsed("create table t (a bigint, b date, c varchar(9), d int)"), &three).unwrap();
    assert_eq!(spec.schema.keys, [ColumnId(1), ColumnId(2), ColumnId(3)]);
    assert_eq!(spec.schema.sort_key, spec.schema.keys);
    assert!(!spec.explicit_sort_key && spec.schema.columns.iter().all(|c| c.nullable));
    assert_eq!((spec.distribution.columns.len(), spec.distribution.buckets), (0, 6));
    assert_eq!((spec.replication, spec.properties.len()), (2, 0));
    let keys = |sql: &str| lowered(sql).unwrap().schema.keys;
    assert_eq!(keys("create table t (a varchar(9), b int)"), [ColumnId(1)]);
    assert_eq!(keys("create table t (a int, b double, c int)"), [ColumnId(1)]);
    assert_eq!(keys("create table t (a float, b int)"), []);
    assert_eq!(keys("create table t (a largeint, b largeint, c largeint)"), [ColumnId(1), ColumnId(2)]);
}

#[test]
fn an_explicit_sort_key_leaves_the_keys_alone() {
    let spec = lowered("create table t (a int, b int, c int) duplicate key(a) order by (c, b)").unwrap();
    assert_eq!((spec.schema.keys, spec.schema.sort_key), (vec![ColumnId(1)], vec![ColumnId(3), ColumnId(2)]));
    assert!(spec.explicit_sort_key);
}

#[test]
fn defaults_are_kept_in_one_form() {
    let spec = lowered("create table t (a date default '20240229', b datetime default now())").unwrap();
    let default = |id| spec.columns.get(&ColumnId(id)).and_then(|info| info.default.clone());
    assert_eq!(default(1), Some(DefaultValue::Constant("2024-02-29".into())));
    assert_eq!(default(2), Some(DefaultValue::CurrentTimestamp));
}
