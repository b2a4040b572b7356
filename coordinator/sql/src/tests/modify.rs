//! `DELETE` and `UPDATE`.

use super::ok;
use crate::Statement;

/// What a `DELETE` says: its table, partitions, common table expressions, relations and condition.
fn deleted(sql: &str) -> [String; 5] {
    let Statement::Delete(delete) = ok(sql) else { panic!("{sql}") };
    let partitions: Vec<&str> = delete.partitions.iter().map(|p| p.name.as_str()).collect();
    [
        delete.table.to_string(),
        partitions.join(","),
        delete.with.map_or(String::new(), |with| with.to_string()),
        delete.using.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        delete.filter.map_or(String::new(), |filter| filter.to_string()),
    ]
}

/// What an `UPDATE` says: its table, new values, common table expressions, relations and condition.
fn updated(sql: &str) -> [String; 5] {
    let Statement::Update(update) = ok(sql) else { panic!("{sql}") };
    let values: Vec<String> = update.assignments.iter().map(|a| format!("{} = {}", a.column, a.value)).collect();
    [
        update.table.to_string(),
        values.join(", "),
        update.with.map_or(String::new(), |with| with.to_string()),
        update.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        update.filter.map_or(String::new(), |filter| filter.to_string()),
    ]
}

#[test]
fn rows_are_deleted_by_condition_join_and_common_table_expression() {
    assert_eq!(deleted("DELETE FROM t"), ["`t`", "", "", "", ""]);
    assert_eq!(
        deleted("delete from d.t where a = 1 and b in (select c from u)"),
        ["`d`.`t`", "", "", "", "a = 1 AND b IN (SELECT c FROM u)"]
    );
    assert_eq!(deleted("DELETE FROM t PARTITION (p, q) WHERE a > 1"), ["`t`", "p,q", "", "", "a > 1"]);
    assert_eq!(
        deleted("DELETE FROM t USING u AS x JOIN v ON x.a = v.a, w WHERE t.a = x.a;"),
        ["`t`", "", "", "u AS x JOIN v ON x.a = v.a, w", "t.a = x.a"]
    );
    let with = "WITH old AS (SELECT a FROM u), x (b) AS (SELECT 1) DELETE FROM t USING old WHERE t.a = old.a";
    assert_eq!(deleted(with), ["`t`", "", "WITH old AS (SELECT a FROM u), x (b) AS (SELECT 1)", "old", "t.a = old.a"]);
}

#[test]
fn rows_are_updated_by_condition_join_and_common_table_expression() {
    assert_eq!(
        updated("UPDATE d.t SET a = a + 1, `b c` = DEFAULT WHERE k = 'x'"),
        ["`d`.`t`", "`a` = a + 1, `b c` = DEFAULT", "", "", "k = 'x'"]
    );
    assert_eq!(
        updated("with recursive s as (select 1 as k) update t set v = s.k from s where t.k = s.k"),
        ["`t`", "`v` = s.k", "WITH RECURSIVE s AS (SELECT 1 AS k)", "s", "t.k = s.k"]
    );
    assert_eq!(updated("UPDATE t SET v = (SELECT max(x) FROM u)"), ["`t`", "`v` = (SELECT max(x) FROM u)", "", "", ""]);
}

#[test]
fn queries_behind_common_table_expressions_stay_queries() {
    for sql in [
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "WITH `delete` AS (SELECT 1), b AS (SELECT 2) (SELECT * FROM b)",
        "WITH a AS (SELECT 1 AS b) SELECT replace('update', 'a', 'b') AS `update` FROM a",
    ] {
        assert!(matches!(ok(sql), Statement::Query(_)), "{sql}");
    }
    for sql in
        ["EXPLAIN DELETE FROM t WHERE a = 1", "EXPLAIN VERBOSE WITH a AS (SELECT 1) UPDATE t SET a = 1 WHERE true"]
    {
        let Statement::Explain { statement, .. } = ok(sql) else { panic!("{sql}") };
        assert!(matches!(*statement, Statement::Delete(_) | Statement::Update(_)), "{sql}");
    }
}
