//! Errors: what they say and where they point.

use super::err;
use crate::parse;

#[test]
fn errors_point_at_line_and_column() {
    for (sql, message) in [
        (
            "",
            "expected a statement (SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, SHOW, ..), found end of input at line 1, column 1",
        ),
        (
            "FROB x",
            "expected a statement (SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, SHOW, ..), found FROB at line 1, column 1",
        ),
        ("SELECT 1 FROM", "expected identifier, found end of input at line 1, column 14"),
        ("SELECT 1\nFROM t\nWHERE a = )", "expected an expression, found ) at line 3, column 11"),
        ("USE a b", "expected end of statement, found b at line 1, column 7"),
        ("CREATE", "expected DATABASE, INDEX, STORAGE VOLUME, TABLE or VIEW, found end of input at line 1, column 7"),
        ("CREATE TABLE", "expected a table's name, found end of input at line 1, column 13"),
        ("CREATE TABLE t", "expected ( and columns, LIKE or AS and a query, found end of input at line 1, column 15"),
        ("CREATE TABLE t (\n  a FOO\n)", "unknown type `FOO` at line 2, column 5"),
        ("CREATE TABLE t (a BITMAP)", "type BITMAP is not available yet at line 1, column 19"),
        ("CREATE TABLE t (a INT b INT)", "expected , or ) after a column, found b at line 1, column 23"),
        (
            "CREATE TABLE t (a DECIMAL(39, 2))",
            "DECIMAL(39) is not possible: the precision is 1 to 38 at line 1, column 27",
        ),
        ("CREATE TABLE t (a DECIMAL(5, 6))", "DECIMAL(5,6) is not possible: the scale is 0 to 5 at line 1, column 30"),
        (
            "CREATE TABLE t (a CHAR(256))",
            "CHAR(256) is not possible: the length is 1 to 255 bytes at line 1, column 24",
        ),
        (
            "CREATE TABLE t (a VARCHAR(0))",
            "VARCHAR(0) is not possible: the length is 1 to 1048576 bytes at line 1, column 27",
        ),
        ("CREATE TABLE t (a ARRAY<INT)", "expected >, found ) at line 1, column 28"),
        ("CREATE TABLE t (a ARRAY<INT>>)", "expected a type, found one closing > too many at line 1, column 28"),
        ("CREATE TABLE t (a STRUCT<x INT, X INT>)", "field `X` is declared twice at line 1, column 33"),
        ("CREATE TABLE t (a INT NOT NULL NULL)", "NULL or NOT NULL is given twice at line 1, column 32"),
        (
            "CREATE TABLE t (a INT) DUPLICATE KEY(a) UNIQUE KEY(a)",
            "the table model is given twice at line 1, column 41",
        ),
        (
            "CREATE TABLE t (a INT) DISTRIBUTED BY HASH(a) BUCKETS 0",
            "expected the number of buckets, at least 1, found 0 at line 1, column 55",
        ),
        ("CREATE TABLE t (a INT) DISTRIBUTED BY a", "expected HASH or RANDOM, found a at line 1, column 39"),
        (
            "CREATE TABLE t (a INT) PROPERTIES ('x'='1', \"X\"='2')",
            "property \"X\" is given twice at line 1, column 45",
        ),
        (
            "CREATE TABLE t (a INT) PARTITION BY RANGE(a) (PARTITION p VALUES [('1'), ('2')])",
            "expected ) that leaves the upper bound out, found ] at line 1, column 79",
        ),
        (
            "CREATE TABLE t (a INT) PARTITION BY RANGE(a) (START ('1') END ('2') EVERY (INTERVAL 1 FORTNIGHT))",
            "expected a unit (SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER or YEAR), found FORTNIGHT at line 1, column 87",
        ),
        ("DROP TABLE a.b.c.d", "a name has three parts at most: catalog.database.name at line 1, column 18"),
        ("DROP TABLE ``", "a name cannot be empty at line 1, column 12"),
        ("INSERT t VALUES (1)", "expected INTO or OVERWRITE, found t at line 1, column 8"),
        ("INSERT INTO t (a) 5", "expected VALUES or a query, found 5 at line 1, column 19"),
        (
            "INSERT INTO FILES('path'='x') SELECT 1",
            "INSERT INTO FILES is not available yet: only tables can be loaded at line 1, column 13",
        ),
        (
            "INSERT INTO t TEMPORARY (p) SELECT 1",
            "expected PARTITION and names of partitions, found ( at line 1, column 25",
        ),
        (
            "ALTER TABLE t ADD c INT",
            "expected ADD, DROP, MODIFY or RENAME COLUMN, ADD or DROP INDEX, ADD, DROP or REPLACE PARTITION, COMMENT, COMPACT, ORDER BY, RENAME, SET or SWAP WITH, found ADD at line 1, column 15",
        ),
        ("ALTER TABLE t ADD COLUMN c", "expected a type, found end of input at line 1, column 27"),
        (
            "ALTER TABLE t DROP COLUMN c, DROP PARTITION p",
            "expected ADD COLUMN, DROP COLUMN, MODIFY COLUMN, RENAME COLUMN, ADD INDEX, DROP INDEX, ORDER BY or COMMENT, found DROP at line 1, column 30",
        ),
        ("ALTER TABLE t ADD COLUMN c INT TO r", "rollups are not available yet at line 1, column 32"),
        (
            "ALTER TABLE t DROP COLUMN c PROPERTIES (\"timout\" = \"1\")",
            "unknown property `timout` of ALTER TABLE: the only one is \"timeout\" at line 1, column 41",
        ),
        ("CANCEL LOAD", "CANCEL is available for ALTER TABLE COLUMN and DECOMMISSION alone yet at line 1, column 1"),
        ("SHOW ALTER TABLE ROLLUP", "only SHOW ALTER TABLE COLUMN is available yet at line 1, column 18"),
        ("MERGE INTO t", "MERGE is not available yet at line 1, column 1"),
        ("DELETE t WHERE a = 1", "expected FROM, found t at line 1, column 8"),
        ("DELETE FROM t x", "expected end of statement, found x at line 1, column 15"),
        ("DELETE FROM t WHERE", "expected an expression, found end of input at line 1, column 20"),
        ("UPDATE t a = 1", "expected SET, found a at line 1, column 10"),
        ("UPDATE t SET", "expected a column's name, found end of input at line 1, column 13"),
        ("UPDATE t SET t.a = 1", "expected =, found . at line 1, column 15"),
        ("UPDATE t SET a = 1 b = 2", "expected end of statement, found b at line 1, column 20"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW is not available yet at line 1, column 8"),
        (
            "EXPLAIN DROP TABLE t",
            "expected a query, INSERT, UPDATE or DELETE to explain, found DROP at line 1, column 9",
        ),
        ("SET x 1", "expected =, found 1 at line 1, column 7"),
        (
            "SHOW NONSENSE",
            "expected ALTER TABLE COLUMN, CATALOGS, COLOCATION GROUPS, COLUMNS, COMPACTIONS, COMPUTE NODES, COORDINATORS, CREATE, DATABASES, INDEX, PARTITIONS, PROCESSLIST, STORAGE NODES, STORAGE VOLUMES, TABLES, TABLETS, TEMPORARY PARTITIONS, VARIABLES or WARNINGS, found NONSENSE at line 1, column 6",
        ),
        (
            "SELECT 1 INTERSECT ALL SELECT 1",
            "INTERSECT ALL is not available: without ALL it gives every row once at line 1, column 20",
        ),
        (
            "SELECT 1 EXCEPT\nALL SELECT 1",
            "EXCEPT ALL is not available: without ALL it gives every row once at line 2, column 1",
        ),
        ("SELECT 'abc", "Unterminated string literal at line 1, column 8"),
        (
            "SELECT CAST(1 AS DECIMAL(50, 1))",
            "DECIMAL(50) is not possible: the precision is 1 to 38 at line 1, column 26",
        ),
    ] {
        assert_eq!(err(sql), message, "{sql}");
    }
}

#[test]
fn an_error_in_a_later_statement_has_its_own_line() {
    assert_eq!(
        parse("USE a;\n\nDROP x;").unwrap_err().to_string(),
        "expected DATABASE, INDEX, STORAGE VOLUME, TABLE or VIEW, found x at line 3, column 6"
    );
}

#[test]
fn deep_nesting_is_refused_not_a_crash() {
    let deep = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(20)).is_ok());
    assert!(parse(&deep(10_000)).unwrap_err().message.contains("nested too deeply"));
    let types = format!("CREATE TABLE t (a {}INT{})", "ARRAY<".repeat(500), ">".repeat(500));
    assert!(parse(&types).unwrap_err().message.contains("nested 16 deep"));
    let calls = format!("CREATE TABLE t (a INT) PARTITION BY {}a{}", "f(".repeat(500), ")".repeat(500));
    assert!(parse(&calls).unwrap_err().message.contains("nested 8 deep"));
}

#[test]
fn long_chains_are_refused_not_a_crash() {
    let ors = |n: usize| format!("SELECT * FROM t WHERE a = 0{}", " OR a = 1".repeat(n));
    assert!(parse(&ors(4_000)).is_ok());
    assert_eq!(
        parse(&ors(100_000)).unwrap_err().to_string(),
        "an expression has more than 5000 operators in a row: split it, or use IN at line 1, column 45020"
    );
    assert!(parse(&format!("SELECT 1{}", " IS NULL".repeat(100_000))).unwrap_err().message.contains("in a row"));
    assert!(parse(&format!("SELECT 1{}", "::INT".repeat(100_000))).unwrap_err().message.contains("in a row"));
    let distinct = format!("SELECT 1{}", " IS DISTINCT FROM 1".repeat(100_000));
    assert!(parse(&distinct).unwrap_err().message.contains("in a row"));
    assert!(parse(&format!("SELECT 1{}", " DIV 2".repeat(100_000))).unwrap_err().message.contains("in a row"));
    let unions = |n: usize| format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n));
    assert!(parse(&unions(400)).is_ok());
    assert!(parse(&format!("{};{}", unions(400), unions(400))).is_ok());
    assert_eq!(
        parse(&unions(100_000)).unwrap_err().to_string(),
        "a query has more than 500 set operations (UNION, EXCEPT, INTERSECT): split it at line 1, column 9510"
    );
}
