//! Queries and expressions: what comes out of the parser, written by its own `Display`.

use sqlparser::ast::{Expr, SelectItem, SetExpr, TableFactor};
use tarn_proto::DataType;

use super::{err, ok};
use crate::{Statement, column_type, files_properties};

fn query(sql: &str) -> Box<crate::ast::Query> {
    match ok(sql) {
        Statement::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn select(sql: &str) -> crate::ast::Select {
    match *query(sql).body {
        SetExpr::Select(select) => *select,
        other => panic!("{other:?}"),
    }
}

fn expr(text: &str) -> Expr {
    match select(&format!("SELECT {text}")).projection.remove(0) {
        SelectItem::UnnamedExpr(expr) => expr,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn expressions_of_every_kind_parse() {
    for (text, expected) in [
        (r#""a string""#, "'a string'"),
        (r#""it's""#, "'it''s'"),
        (r"'a\'b\\n'", r"'a''b\n'"),
        ("'50\\%'", "'50\\%'"),
        ("`a``b`.`c`", "`a``b`.`c`"),
        ("date '1998-12-01' - interval '90' day", "DATE '1998-12-01' - INTERVAL '90' DAY"),
        ("a + INTERVAL 1 DAY", "a + INTERVAL 1 DAY"),
        ("a - INTERVAL '1 month 2 days'", "a - INTERVAL '1 month 2 days'"),
        ("extract(year from d)", "EXTRACT(YEAR FROM d)"),
        ("substring(x from 1 for 2)", "SUBSTRING(x FROM 1 FOR 2)"),
        ("x::BIGINT + 1", "x::BIGINT + 1"),
        ("CAST(x AS STRING)", "CAST(x AS STRING)"),
        ("CAST(a AS ARRAY<ARRAY<INT>>)", "CAST(a AS ARRAY<ARRAY<INT>>)"),
        ("a::INT[]", "a::ARRAY<INT>"),
        ("TRY_CAST(x AS DATETIME)", "TRY_CAST(x AS TIMESTAMP(6))"),
        ("CAST(x AS TIMESTAMP WITH TIME ZONE)", "CAST(x AS TIMESTAMP WITH TIME ZONE)"),
        ("[1, 2, 3]", "[1, 2, 3]"),
        ("a[1]", "a[1]"),
        ("MAP {'a': 1}", "MAP {'a': 1}"),
        ("{'a': 1}", "{'a': 1}"),
        ("struct(1, 'a')", "struct(1, 'a')"),
        ("named_struct('a', 1)", "named_struct('a', 1)"),
        ("doc->'$.a.b'", "doc -> '$.a.b'"),
        ("t.doc->\"$.a\"", "t.doc -> '$.a'"),
        ("array_map(x -> x + 1, a)", "array_map(x -> x + 1, a)"),
        ("array_map((x, y) -> x + y, a, b)", "array_map((x, y) -> x + y, a, b)"),
        ("sum(x) FILTER (WHERE y > 0)", "sum(x) FILTER (WHERE y > 0)"),
        ("count(DISTINCT a, b)", "count(DISTINCT a, b)"),
        (
            "sum(x) OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
            "sum(x) OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        ),
        ("group_concat(a ORDER BY b SEPARATOR '; ')", "group_concat(a ORDER BY b SEPARATOR '; ')"),
        ("a DIV 2 + 1", "a DIV 2 + 1"),
        ("!a && b", "!a AND b"),
        ("$1 + ?", "$1 + ?"),
        ("@@session.auto_increment_increment", "@@session.auto_increment_increment"),
        ("CASE WHEN a THEN 1 ELSE 2 END", "CASE WHEN a THEN 1 ELSE 2 END"),
        ("a NOT LIKE 'x%' AND b BETWEEN 1 AND 2", "a NOT LIKE 'x%' AND b BETWEEN 1 AND 2"),
        ("a IS NOT NULL OR b IN (1, 2)", "a IS NOT NULL OR b IN (1, 2)"),
        ("(SELECT max(x) FROM t)", "(SELECT max(x) FROM t)"),
        ("1 --1\n+ 2 # three\n + 3", "1 + 2 + 3"),
    ] {
        assert_eq!(expr(text).to_string(), expected, "{text}");
    }
}

#[test]
fn is_distinct_from_takes_one_operand() {
    let Expr::BinaryOp { left, right, .. } = expr("a IS DISTINCT FROM true AND b > 3") else { panic!() };
    assert_eq!((left.to_string(), right.to_string()), ("a IS DISTINCT FROM true".into(), "b > 3".into()));
    let Expr::BinaryOp { left, .. } = expr("a is not distinct from b + 1 or c") else { panic!() };
    assert_eq!(left.to_string(), "a IS NOT DISTINCT FROM b + 1");
}

#[test]
fn lambdas_are_told_from_paths_into_documents() {
    for text in ["x -> x + 1", "(x) -> x", "(x, y) -> x + y"] {
        assert!(matches!(expr(text), Expr::Lambda(_)), "{text}");
    }
    for text in ["doc -> '$.a'", "(x, y)", "(x)"] {
        assert!(!matches!(expr(text), Expr::Lambda(_)), "{text}");
    }
}

#[test]
fn queries_of_every_kind_parse() {
    for sql in [
        "SELECT a, sum(b) FROM t GROUP BY ROLLUP (a)",
        "SELECT a FROM t GROUP BY GROUPING SETS ((a), ())",
        "SELECT a FROM t EXCEPT SELECT a FROM u INTERSECT SELECT 1",
        "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT * FROM x",
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY c) = 1",
        "SELECT * EXCEPT (a) FROM t",
        "SELECT a AS `b` FROM t AS `u` ORDER BY a DESC NULLS LAST LIMIT 10 OFFSET 5",
        "SELECT * FROM t LEFT OUTER JOIN u USING (a) FULL JOIN v ON t.a = v.a CROSS JOIN w",
        "SELECT * FROM t LEFT SEMI JOIN u ON t.a = u.a LEFT ANTI JOIN v ON t.a = v.a",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (x, y)",
        "SELECT * FROM t PARTITION (p1)",
        "SELECT /*+ SET_VAR(query_timeout=1) */ 1",
        "SELECT sum(x) OVER w FROM t WINDOW w AS (ORDER BY y)",
        "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
        "SELECT 1 AS 'a b', 2 AS \"c d\"",
        "VALUES (1), (2)",
        "SELECT * FROM c.d.t",
        "SELECT a FROM t LIMIT 5, 10",
        "SELECT date, key, value, label FROM t",
        "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
    ] {
        query(sql);
    }
}

#[test]
fn join_hints_are_dropped() {
    assert_eq!(
        query("SELECT * FROM t JOIN [BROADCAST] u ON t.a = u.a LEFT JOIN\n[shuffle] v ON [1] = v.a").to_string(),
        "SELECT * FROM t JOIN u ON t.a = u.a LEFT JOIN v ON [1] = v.a"
    );
}

#[test]
fn unnest_in_from_is_unnesting() {
    let select = select("SELECT * FROM t, LATERAL unnest(t.a) AS u (x), UNNEST([1, 2]) v");
    assert!(matches!(select.from[1].relation, TableFactor::UNNEST { .. }), "{select:?}");
    assert!(matches!(select.from[2].relation, TableFactor::UNNEST { .. }), "{select:?}");
    assert_eq!(select.to_string(), "SELECT * FROM t, UNNEST(t.a) AS u (x), UNNEST([1, 2]) v");
}

#[test]
fn files_is_a_table_function_with_properties() {
    let properties = |sql: &str| files_properties(&select(sql).from[0].relation).map(|r| r.map_err(|e| e.to_string()));
    assert_eq!(
        properties(
            r#"SELECT * FROM FILES("path" = "s3://b/f/*.parquet", "FORMAT" = "parquet", 'x' = 5) AS f WHERE f.a > 1"#
        ),
        Some(Ok(vec![
            ("path".into(), "s3://b/f/*.parquet".into()),
            ("format".into(), "parquet".into()),
            ("x".into(), "5".into())
        ]))
    );
    assert_eq!(properties("SELECT * FROM files"), None);
    assert_eq!(properties("SELECT * FROM other('path' = 'x')"), None);
    assert_eq!(
        properties("SELECT * FROM FILES('path' = 'x', 7)"),
        Some(Err("expected \"name\" = \"value\" as argument of FILES, found 7 at line 1, column 35".into()))
    );
    assert_eq!(
        properties("SELECT * FROM FILES('path' = 'x',\n 'PATH' = 'y')"),
        Some(Err("property \"path\" of FILES is given twice at line 2, column 2".into()))
    );
}

#[test]
fn cast_targets_are_column_types() {
    for (text, expected) in [
        ("DATETIME", Some(DataType::DateTime)),
        ("LARGEINT", Some(DataType::Decimal(38, 0))),
        (
            "MAP<STRING, STRUCT<a: INT>>",
            Some(DataType::Map(
                Box::new(DataType::String),
                Box::new(DataType::Struct(vec![("a".into(), DataType::Int)])),
            )),
        ),
        ("VARBINARY", Some(DataType::Varbinary)),
        ("DECIMAL(9, 3)", Some(DataType::Decimal(9, 3))),
        ("SIGNED", Some(DataType::BigInt)),
        ("TIME", None),
    ] {
        let Expr::Cast { data_type, .. } = expr(&format!("CAST(x AS {text})")) else { panic!() };
        assert_eq!(column_type(&data_type), expected, "{text}");
    }
    assert_eq!(err("SELECT CAST(1 INT)"), "expected AS, found INT at line 1, column 15");
}
