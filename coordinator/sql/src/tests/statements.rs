//! Each statement but `CREATE TABLE`.

use super::{ids, name, ok};
use crate::{
    Bound, DropPartitions, Ident, IntervalUnit, ListPartition, Literal, PartitionDefs, Property, RangePartition,
    ReplacePartitions, Scope, SetValue, SetVariable, Statement, ViewColumn, parse,
};

fn text(s: &str) -> Option<String> {
    Some(s.to_owned())
}

#[test]
fn semicolons_separate_statements_and_may_repeat() {
    let statements = parse(";; USE a;\n; SHOW TABLES ;; -- the end\n # really\n /* yes */").unwrap();
    assert_eq!(
        statements,
        [
            Statement::Use { catalog: None, database: Some(Ident::new("a")) },
            Statement::ShowTables { full: false, from: None, like: None },
        ]
    );
    assert_eq!(parse("").unwrap(), []);
}

#[test]
fn databases_are_created_dropped_and_renamed() {
    assert_eq!(
        ok("CREATE DATABASE IF NOT EXISTS `a b` PROPERTIES (\"x\" = \"1\")"),
        Statement::CreateDatabase {
            if_not_exists: true,
            name: Ident::new("a b"),
            properties: vec![Property { name: "x".into(), value: "1".into(), at: Default::default() }],
        }
    );
    assert_eq!(
        ok("create schema s"),
        Statement::CreateDatabase { if_not_exists: false, name: Ident::new("s"), properties: vec![] }
    );
    assert_eq!(
        ok("DROP DATABASE IF EXISTS a FORCE"),
        Statement::DropDatabase { if_exists: true, name: Ident::new("a"), force: true }
    );
    assert_eq!(
        ok("ALTER DATABASE a RENAME b"),
        Statement::RenameDatabase { name: Ident::new("a"), to: Ident::new("b") }
    );
}

#[test]
fn tables_are_dropped_truncated_renamed_and_copied() {
    assert_eq!(
        ok("DROP TABLE IF EXISTS c.d.t"),
        Statement::DropTable { if_exists: true, name: name("c.d.t"), force: false }
    );
    assert_eq!(ok("DROP TABLE t FORCE"), Statement::DropTable { if_exists: false, name: name("t"), force: true });
    assert_eq!(ok("TRUNCATE TABLE d.t"), Statement::TruncateTable { name: name("d.t"), partitions: vec![] });
    assert_eq!(
        ok("TRUNCATE TABLE t PARTITION (p1, p2)"),
        Statement::TruncateTable { name: name("t"), partitions: ids(&["p1", "p2"]) }
    );
    assert_eq!(ok("ALTER TABLE d.t RENAME u"), Statement::RenameTable { name: name("d.t"), to: Ident::new("u") });
    assert_eq!(
        ok("CREATE TABLE IF NOT EXISTS d.t LIKE u"),
        Statement::CreateTableLike { if_not_exists: true, name: name("d.t"), like: name("u") }
    );
}

#[test]
fn partitions_are_added_dropped_and_renamed() {
    let value = |s: &str| Bound::Value(Literal::new(s));
    assert_eq!(
        ok(r#"ALTER TABLE t ADD PARTITION IF NOT EXISTS p VALUES LESS THAN ("2024-01-01") ("k" = "v")"#),
        Statement::AddPartitions {
            table: name("t"),
            temporary: false,
            partitions: PartitionDefs::Range(vec![RangePartition::LessThan {
                name: Ident::new("p"),
                if_not_exists: true,
                upper: vec![value("2024-01-01")],
                properties: vec![Property { name: "k".into(), value: "v".into(), at: Default::default() }],
            }]),
            properties: vec![],
        }
    );
    assert_eq!(
        ok("ALTER TABLE t ADD PARTITION p VALUES [('1'), (5))"),
        Statement::AddPartitions {
            table: name("t"),
            temporary: false,
            partitions: PartitionDefs::Range(vec![RangePartition::Between {
                name: Ident::new("p"),
                if_not_exists: false,
                lower: vec![value("1")],
                upper: vec![value("5")],
                properties: vec![],
            }]),
            properties: vec![],
        }
    );
    assert_eq!(
        ok("ALTER TABLE t ADD PARTITIONS START ('2024-01-01') END ('2024-02-01') EVERY (INTERVAL 1 day)"),
        Statement::AddPartitions {
            table: name("t"),
            temporary: false,
            partitions: PartitionDefs::Range(vec![RangePartition::Every {
                start: Literal::new("2024-01-01"),
                end: Literal::new("2024-02-01"),
                step: 1,
                unit: Some(IntervalUnit::Day),
            }]),
            properties: vec![],
        }
    );
    assert_eq!(
        ok("ALTER TABLE t ADD PARTITION p VALUES IN (('a', NULL), ('b', -1))"),
        Statement::AddPartitions {
            table: name("t"),
            temporary: false,
            partitions: PartitionDefs::List(vec![ListPartition {
                name: Ident::new("p"),
                if_not_exists: false,
                values: vec![
                    vec![Some(Literal::new("a")), None],
                    vec![Some(Literal::new("b")), Some(Literal::new("-1"))],
                ],
                properties: vec![],
            }]),
            properties: vec![],
        }
    );
    assert_eq!(
        ok("ALTER TABLE d.t DROP PARTITION IF EXISTS p FORCE"),
        Statement::DropPartitions(DropPartitions {
            table: name("d.t"),
            temporary: false,
            if_exists: true,
            names: ids(&["p"]),
            force: true,
        })
    );
    assert_eq!(
        ok("ALTER TABLE t DROP PARTITIONS (p, q)"),
        Statement::DropPartitions(DropPartitions {
            table: name("t"),
            temporary: false,
            if_exists: false,
            names: ids(&["p", "q"]),
            force: false,
        })
    );
    assert_eq!(
        ok("ALTER TABLE t RENAME PARTITION p q"),
        Statement::RenamePartition { table: name("t"), name: Ident::new("p"), to: Ident::new("q") }
    );
}

#[test]
fn temporary_partitions_are_added_dropped_shown_and_put_in_place() {
    for sql in [
        "ALTER TABLE t ADD TEMPORARY PARTITION IF NOT EXISTS tp VALUES IN ('a')",
        "ALTER TABLE t ADD IF NOT EXISTS TEMPORARY PARTITION tp VALUES IN ('a')",
    ] {
        let values = vec![vec![Some(Literal::new("a"))]];
        let partition = ListPartition { name: Ident::new("tp"), if_not_exists: true, values, properties: vec![] };
        let partitions = PartitionDefs::List(vec![partition]);
        let expected = Statement::AddPartitions { table: name("t"), temporary: true, partitions, properties: vec![] };
        assert_eq!(ok(sql), expected, "{sql}");
    }
    let every = ok("ALTER TABLE t ADD TEMPORARY PARTITIONS START (1) END (3) EVERY (1)");
    assert!(matches!(every, Statement::AddPartitions { temporary: true, partitions: PartitionDefs::Range(_), .. }));
    assert_eq!(
        ok("ALTER TABLE t DROP TEMPORARY PARTITION IF EXISTS tp"),
        Statement::DropPartitions(DropPartitions {
            table: name("t"),
            temporary: true,
            if_exists: true,
            names: ids(&["tp"]),
            force: false,
        })
    );
    assert_eq!(
        ok(
            "ALTER TABLE t REPLACE PARTITION (p, q) WITH TEMPORARY PARTITION (tp) PROPERTIES ('strict_range' = 'false')"
        ),
        Statement::ReplacePartitions(ReplacePartitions {
            table: name("t"),
            partitions: ids(&["p", "q"]),
            temporary: ids(&["tp"]),
            properties: vec![Property { name: "strict_range".into(), value: "false".into(), at: Default::default() }],
        })
    );
    assert_eq!(ok("SHOW TEMPORARY PARTITIONS FROM t"), Statement::ShowPartitions { temporary: true, table: name("t") });
    let Statement::Insert(insert) = ok("INSERT INTO t TEMPORARY PARTITIONS (tp) (a) SELECT 1") else { panic!() };
    assert!(insert.temporary && !insert.overwrite && insert.partitions == ids(&["tp"]));
}

#[test]
fn properties_of_a_table_are_set() {
    let property = Property { name: "partition_live_number".into(), value: "3".into(), at: Default::default() };
    assert_eq!(
        ok("ALTER TABLE t SET ('partition_live_number' = '3')"),
        Statement::SetProperties { table: name("t"), properties: vec![property] }
    );
}

#[test]
fn a_view_keeps_the_text_of_its_query() {
    let sql = "CREATE OR REPLACE VIEW d.v (a COMMENT \"first\", `b`) COMMENT 'all' AS\n  SELECT x, 'é;' FROM t -- c\n WHERE y ;";
    let Statement::CreateView(view) = ok(sql) else { panic!() };
    assert!(view.or_replace && !view.if_not_exists);
    assert_eq!(view.name, name("d.v"));
    assert_eq!(
        view.columns,
        [
            ViewColumn { name: Ident::new("a"), comment: text("first") },
            ViewColumn { name: Ident::new("b"), comment: None },
        ]
    );
    assert_eq!(view.comment, text("all"));
    assert_eq!(view.query_text, "SELECT x, 'é;' FROM t -- c\n WHERE y");
    assert_eq!(view.query.to_string(), "SELECT x, 'é;' FROM t WHERE y");
    assert_eq!(ok("DROP VIEW IF EXISTS v"), Statement::DropView { if_exists: true, name: name("v") });
}

#[test]
fn inserts_take_partitions_a_label_and_columns() {
    let Statement::Insert(insert) = ok("INSERT INTO d.t WITH LABEL l (a, b) SELECT 1, 2") else { panic!() };
    assert_eq!(insert.table, name("d.t"));
    assert_eq!(insert.label, Some(Literal::new("l")));
    assert_eq!(insert.columns, ids(&["a", "b"]));
    assert!(!insert.overwrite && insert.partitions.is_empty());
    assert_eq!(insert.source.to_string(), "SELECT 1, 2");

    let Statement::Insert(insert) = ok("INSERT OVERWRITE t PARTITION (p1, p2) (a) WITH LABEL 'x-1' VALUES (1)") else {
        panic!()
    };
    assert!(insert.overwrite);
    assert_eq!(insert.partitions, ids(&["p1", "p2"]));
    assert_eq!(insert.label, Some(Literal::new("x-1")));
}

#[test]
fn inserted_values_may_be_default() {
    let Statement::Insert(insert) = ok("INSERT INTO t VALUES (1, 'a'), (DEFAULT, default)") else { panic!() };
    assert_eq!(insert.source.to_string(), "VALUES (1, 'a'), (DEFAULT, default)");
}

#[test]
fn inserted_queries_may_stand_in_parentheses_or_begin_with_a_table_expression() {
    for (sql, query) in [
        ("INSERT INTO t (SELECT 1)", "(SELECT 1)"),
        ("INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("INSERT INTO t WITH label AS (SELECT 1) SELECT * FROM label", "WITH label AS (SELECT 1) SELECT * FROM label"),
    ] {
        let Statement::Insert(insert) = ok(sql) else { panic!() };
        assert_eq!((insert.columns.len(), insert.label, insert.source.to_string()), (0, None, query.to_owned()));
    }
}

#[test]
fn explain_takes_queries_and_inserts() {
    for (sql, analyze, verbose) in [
        ("EXPLAIN SELECT 1", false, false),
        ("EXPLAIN ANALYZE SELECT 1", true, false),
        ("explain verbose (select 1)", false, true),
        ("EXPLAIN ANALYZE VERBOSE INSERT INTO t VALUES (1)", true, true),
    ] {
        let Statement::Explain { analyze: a, verbose: v, .. } = ok(sql) else { panic!() };
        assert_eq!((a, v), (analyze, verbose), "{sql}");
    }
}

#[test]
fn use_names_a_database_and_perhaps_a_catalog() {
    assert_eq!(ok("USE c.d"), Statement::Use { catalog: Some(Ident::new("c")), database: Some(Ident::new("d")) });
    assert_eq!(ok("SET CATALOG c"), Statement::Use { catalog: Some(Ident::new("c")), database: None });
}

#[test]
fn set_assigns_variables_of_several_scopes() {
    let sql = "SET a = 1, GLOBAL b = 'x', SESSION c := DEFAULT, @@session.d = ON, @@global.e = -1, @f = 1 + 1, g.h = true, @@i = null";
    let Statement::Set(variables) = ok(sql) else { panic!() };
    let shown: Vec<_> = variables
        .iter()
        .map(|SetVariable { scope, name, value, .. }| {
            let value = match value {
                SetValue::Expr(e) => e.to_string(),
                SetValue::Default => "DEFAULT".to_owned(),
            };
            (*scope, name.as_str(), value)
        })
        .collect();
    let expected = [
        (Scope::Session, "a", "1"),
        (Scope::Global, "b", "'x'"),
        (Scope::Session, "c", "DEFAULT"),
        (Scope::Session, "d", "ON"),
        (Scope::Global, "e", "-1"),
        (Scope::User, "f", "1 + 1"),
        (Scope::Session, "g.h", "true"),
        (Scope::Session, "i", "NULL"),
    ];
    assert_eq!(shown, expected.map(|(s, n, v)| (s, n, v.to_owned())));
}

#[test]
fn set_names_is_an_ordinary_variable() {
    let Statement::Set(variables) = ok("SET NAMES 'utf8mb4' COLLATE utf8mb4_bin, autocommit=1") else { panic!() };
    assert_eq!(variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["names", "autocommit"]);
    let Statement::Set(variables) = ok("SET character_set_results = NULL") else { panic!() };
    assert_eq!(variables[0].name, "character_set_results");
}

#[test]
fn tables_are_compacted_whole_or_by_partition() {
    let compact = |sql| match ok(sql) {
        Statement::CompactTable(compact) => (compact.table, compact.partitions, compact.cumulative),
        other => panic!("{other:?}"),
    };
    assert_eq!(compact("ALTER TABLE d.t COMPACT"), (name("d.t"), vec![], false));
    assert_eq!(compact("ALTER TABLE t BASE COMPACT p"), (name("t"), ids(&["p"]), false));
    assert_eq!(compact("ALTER TABLE t CUMULATIVE COMPACT (p, q)"), (name("t"), ids(&["p", "q"]), true));
    assert_eq!(compact("ALTER TABLE t COMPACT PARTITION (p)"), (name("t"), ids(&["p"]), false));
}

#[test]
fn show_statements_are_told_apart() {
    for (sql, expected) in [
        ("SHOW DATABASES", Statement::ShowDatabases { catalog: None, like: None }),
        (
            "SHOW DATABASES FROM c LIKE 'a%'",
            Statement::ShowDatabases { catalog: Some(Ident::new("c")), like: text("a%") },
        ),
        (
            "SHOW TABLES FROM c.d LIKE \"x\"",
            Statement::ShowTables { full: false, from: Some(name("c.d")), like: text("x") },
        ),
        ("SHOW FULL TABLES IN d", Statement::ShowTables { full: true, from: Some(name("d")), like: None }),
        ("SHOW COLUMNS FROM t", Statement::ShowColumns { full: false, table: name("t"), like: None }),
        (
            "SHOW FULL COLUMNS FROM t FROM d LIKE '%'",
            Statement::ShowColumns { full: true, table: name("d.t"), like: text("%") },
        ),
        ("DESC t", Statement::Describe { table: name("t") }),
        ("DESCRIBE d.files", Statement::Describe { table: name("d.files") }),
        ("SHOW CREATE TABLE d.t", Statement::ShowCreateTable { table: name("d.t") }),
        ("SHOW CREATE VIEW v", Statement::ShowCreateView { view: name("v") }),
        ("SHOW CREATE DATABASE d", Statement::ShowCreateDatabase { database: Ident::new("d") }),
        ("SHOW PARTITIONS FROM t", Statement::ShowPartitions { temporary: false, table: name("t") }),
        ("SHOW TABLET FROM t", Statement::ShowTablets { table: name("t"), partitions: vec![] }),
        ("SHOW TABLETS FROM t PARTITION (p)", Statement::ShowTablets { table: name("t"), partitions: ids(&["p"]) }),
        ("SHOW COMPACTIONS", Statement::ShowCompactions { table: None }),
        ("SHOW COMPACTIONS FROM t FROM d", Statement::ShowCompactions { table: Some(name("d.t")) }),
        ("SHOW COORDINATORS", Statement::ShowCoordinators),
        ("SHOW FRONTENDS", Statement::ShowCoordinators),
        ("SHOW COMPUTE NODES", Statement::ShowComputeNodes),
        ("SHOW STORAGE NODES", Statement::ShowStorageNodes),
        ("SHOW BACKENDS", Statement::ShowStorageNodes),
        ("SHOW FULL PROCESSLIST", Statement::ShowProcesslist { full: true }),
        ("SHOW PROCESSLIST", Statement::ShowProcesslist { full: false }),
        ("SHOW VARIABLES", Statement::ShowVariables { scope: Scope::Session, like: None }),
        ("SHOW GLOBAL VARIABLES LIKE 'q%'", Statement::ShowVariables { scope: Scope::Global, like: text("q%") }),
        ("SHOW CATALOGS", Statement::ShowCatalogs),
        ("SHOW WARNINGS", Statement::ShowWarnings),
    ] {
        assert_eq!(ok(sql), expected, "{sql}");
    }
}

#[test]
fn desc_files_gives_its_properties() {
    assert_eq!(
        ok(r#"DESC FILES("path" = "s3://b/*.parquet", "Format" = "parquet")"#),
        Statement::DescribeFiles {
            properties: vec![("path".into(), "s3://b/*.parquet".into()), ("format".into(), "parquet".into())]
        }
    );
}

#[test]
fn kill_takes_connections_and_queries() {
    assert_eq!(ok("KILL 12"), Statement::Kill { id: "12".into(), query: false });
    assert_eq!(ok("KILL CONNECTION 12"), Statement::Kill { id: "12".into(), query: false });
    assert_eq!(ok("KILL QUERY 'a-b'"), Statement::Kill { id: "a-b".into(), query: true });
}
