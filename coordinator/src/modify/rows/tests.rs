use super::*;
use crate::ddl::table_of;

const TABLE: &str = "create table t (k int, l date, v bigint default '7', w varchar(9), m map<int, int> not null, \
                     n double not null) primary key(k, l)";

/// The query that a statement becomes.
fn query(table: &str, sql: &str) -> std::result::Result<String, String> {
    let table = table_of(table);
    let found = match parse_one(sql) {
        Ok(Statement::Delete(delete)) => deleted(&delete, "d", &table),
        Ok(Statement::Update(update)) => updated(&update, "d", &table, UpdateMode::Row).map(|(query, _)| query),
        other => panic!("{sql}: {other:?}"),
    };
    found.map(|query| query.to_string()).map_err(|e| e.to_string())
}

#[test]
fn a_delete_reads_keys_alone() {
    assert_eq!(
        query(TABLE, "delete from t where v > ?"),
        Ok("SELECT `d`.`t`.`k`, `d`.`t`.`l` FROM `d`.`t` WHERE v > ?".to_owned())
    );
}

#[test]
fn a_row_that_is_joined_to_several_is_deleted_once() {
    let text =
        query(TABLE, "with o as (select 1 as k) delete from t using o, u join x on u.a = x.a where t.k = o.k").unwrap();
    assert_eq!(
        text,
        "WITH o AS (SELECT 1 AS k) SELECT DISTINCT `d`.`t`.`k`, `d`.`t`.`l` \
         FROM `d`.`t`, o, u JOIN x ON u.a = x.a WHERE t.k = o.k"
    );
}

#[test]
fn an_update_reads_keys_and_new_values() {
    let text = query(TABLE, "update t set W = concat(w, 'x'), v = default where k = 1").unwrap();
    assert_eq!(
        text,
        "SELECT `d`.`t`.`k` AS `k`, `d`.`t`.`l` AS `l`, '7' AS `v`, concat(w, 'x') AS `w` FROM `d`.`t` WHERE k = 1"
    );
}

#[test]
fn an_update_changes_what_it_assigns_of_rows_that_are_there() {
    let table = table_of(TABLE);
    let Ok(Statement::Update(update)) = parse_one("update t set n = 1, v = 2 where k = 1") else { panic!() };
    let (_, written) = updated(&update, "d", &table, UpdateMode::Column).unwrap();
    let ids = ["k", "l", "v", "n"].map(|name| table.schema.column(name).unwrap().id);
    assert_eq!(written.columns, ids);
    assert!(written.only_existing && written.condition.is_none() && written.mode == UpdateMode::Column);
}

#[test]
fn of_the_rows_that_a_join_gives_for_one_key_the_least_is_taken() {
    let table = "create table t (k int, v bigint, w int) primary key(k)";
    let text =
        query(table, "with s as (select 1 as k, 2 as x) update t set w = 1, v = s.x from s where t.k = s.k").unwrap();
    assert_eq!(
        text,
        "WITH s AS (SELECT 1 AS k, 2 AS x) SELECT `k`, `v`, `w` FROM (SELECT `k`, `v`, `w`, \
         row_number() OVER (PARTITION BY `k` ORDER BY `v`, `w`) AS __tarn_match FROM (SELECT `d`.`t`.`k` AS `k`, \
         s.x AS `v`, 1 AS `w` FROM `d`.`t`, s WHERE t.k = s.k) AS found) AS numbered WHERE __tarn_match = 1"
    );
}

#[test]
fn statements_that_are_refused_name_the_object_the_remedy_and_the_place() {
    let unique = "create table t (k int, v int) unique key(k)";
    let cases = [
        (
            unique,
            "update t set v = 1 where k = 1",
            "UPDATE is for PRIMARY KEY tables, and `t` is a UNIQUE KEY table: create the table with PRIMARY KEY, or \
             load the rows anew at line 1, column 8",
        ),
        (
            "create table t (k int, v int)",
            "update t set v = 1 where k = 1",
            "UPDATE is for PRIMARY KEY tables, and `t` is a DUPLICATE KEY table: create the table with PRIMARY KEY, or \
             load the rows anew at line 1, column 8",
        ),
        (
            TABLE,
            "delete from t",
            "DELETE without WHERE would empty table `t`: use TRUNCATE TABLE, or write WHERE true at line 1, column 13",
        ),
        (
            TABLE,
            "delete from t partition (p) where k = 1",
            "DELETE from chosen partitions is not available for PRIMARY KEY tables: write a condition on the partition \
             columns at line 1, column 26",
        ),
        (
            TABLE,
            "update t set v = 1",
            "UPDATE without WHERE would change every row of table `t`: write WHERE true at line 1, column 8",
        ),
        (
            TABLE,
            "update t set K = 1 where true",
            "column `k` is of the primary key, which cannot be updated: delete the row and insert it anew at line 1, column 14",
        ),
        (TABLE, "update t set z = 1 where true", "table `t` has no column `z` at line 1, column 14"),
        (TABLE, "update t set v = 1, V = 2 where true", "column `v` is assigned twice at line 1, column 21"),
        (
            TABLE,
            "update t set n = default where true",
            "column `n` is NOT NULL and has no default: the load must give it a value at line 1, column 14",
        ),
    ];
    for (table, sql, expected) in cases {
        assert_eq!(query(table, sql), Err(expected.to_owned()), "{sql}");
    }
}
