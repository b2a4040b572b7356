//! `ALTER TABLE` of columns.

use tarn_proto::DataType;

use crate::{Alteration, ColumnDefault, ColumnPlace, Ident, Literal, ObjectName, ShowAlterTable, Statement, parse_one};

fn altered(sql: &str) -> Vec<Alteration> {
    match parse_one(sql) {
        Ok(Statement::AlterTable { table, alterations, .. }) => {
            assert_eq!(table.name(), "t", "{sql}");
            alterations
        }
        other => panic!("{sql}: {other:?}"),
    }
}

fn one(sql: &str) -> Alteration {
    let mut alterations = altered(sql);
    assert_eq!(alterations.len(), 1, "{sql}");
    alterations.remove(0)
}

#[test]
fn indexes_come_and_go_by_two_statements_each() {
    for (sql, columns, using, comment) in [
        ("CREATE INDEX i ON t (a) USING BITMAP COMMENT 'c'", &["a"][..], Some("BITMAP"), Some("c")),
        ("CREATE INDEX i ON d.t (a, b)", &["a", "b"], None, None),
        ("ALTER TABLE t ADD INDEX i (a) USING gin (\"k\" = \"v\")", &["a"], Some("GIN"), None),
    ] {
        let Alteration::AddIndex { index } = one(sql) else { panic!("{sql}") };
        assert_eq!(index.name.name, "i", "{sql}");
        assert_eq!(index.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), columns);
        assert_eq!((index.using.as_deref(), index.comment.as_deref()), (using, comment));
    }
    for sql in ["DROP INDEX i ON t", "ALTER TABLE d.t DROP INDEX i"] {
        assert_eq!(one(sql), Alteration::DropIndex { name: Ident::new("i") });
    }
    let several = altered("ALTER TABLE t ADD INDEX i (a), DROP INDEX j, DROP COLUMN c");
    assert_eq!(several.len(), 3);
    // A column may be called so.
    assert!(matches!(one("ALTER TABLE t ADD COLUMN index INT"), Alteration::AddColumns { .. }));
    for sql in ["SHOW INDEX FROM t", "SHOW INDEXES IN t", "SHOW KEYS FROM t"] {
        assert_eq!(parse_one(sql), Ok(Statement::ShowIndex { table: ObjectName::bare("t") }), "{sql}");
    }
    for sql in ["CREATE INDEX ON t (a)", "CREATE INDEX i (a)", "DROP INDEX i", "SHOW INDEX t", "SHOW FULL INDEX FROM t"]
    {
        assert!(parse_one(sql).is_err(), "{sql}");
    }
}

#[test]
fn columns_are_added_one_or_several_somewhere() {
    let Alteration::AddColumns { columns, place } =
        one("ALTER TABLE d.t ADD COLUMN `a b` BIGINT SUM NOT NULL DEFAULT \"0\" COMMENT 'c' AFTER k")
    else {
        panic!()
    };
    let def = &columns[0];
    assert_eq!((columns.len(), def.name.name.as_str(), def.nullable), (1, "a b", Some(false)));
    assert_eq!((def.aggregation.as_deref(), def.comment.as_deref()), (Some("SUM"), Some("c")));
    assert_eq!(def.default, Some(ColumnDefault::Value(Literal::new("0"))));
    assert_eq!(place, Some(ColumnPlace::After(Ident::new("k"))));
    for sql in [
        "ALTER TABLE t ADD COLUMN (a INT, b DATE)",
        "ALTER TABLE t ADD (a INT, b DATE) PROPERTIES (\"timeout\" = \"5\")",
    ] {
        let Alteration::AddColumns { columns, place } = one(sql) else { panic!() };
        assert_eq!(columns.iter().map(|c| c.name.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(place, None);
    }
    let Alteration::AddColumns { place: Some(ColumnPlace::First(at)), .. } =
        one("ALTER TABLE t ADD COLUMN a INT FIRST")
    else {
        panic!()
    };
    assert_eq!((at.line, at.column), (1, 32));
}

#[test]
fn columns_are_dropped_renamed_and_declared_anew() {
    let ident = Ident::new;
    assert_eq!(one("ALTER TABLE t DROP COLUMN a"), Alteration::DropColumn { column: ident("a") });
    for sql in ["ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE t RENAME COLUMN a b"] {
        assert_eq!(one(sql), Alteration::RenameColumn { column: ident("a"), to: ident("b") });
    }
    let Alteration::ModifyColumn { column, place } = one("ALTER TABLE t MODIFY COLUMN a BIGINT NULL AFTER c") else {
        panic!()
    };
    assert_eq!((column.data_type, column.nullable), (DataType::BigInt, Some(true)));
    assert_eq!(place, Some(ColumnPlace::After(ident("c"))));
    let comment = "x".to_owned();
    assert_eq!(
        one("ALTER TABLE t MODIFY COLUMN a COMMENT 'x'"),
        Alteration::CommentColumn { column: ident("a"), comment: comment.clone() }
    );
    assert_eq!(one("ALTER TABLE t COMMENT = 'x'"), Alteration::Comment { comment });
    let Alteration::OrderBy { columns, at } = one("ALTER TABLE t ORDER BY (a, b)") else { panic!() };
    assert_eq!((columns.len(), at.column), (2, 15));
}

#[test]
fn a_statement_may_have_several_changes() {
    let sql = "ALTER TABLE t ADD COLUMN a INT, ADD COLUMN (b INT), DROP COLUMN c, RENAME COLUMN d e";
    let kinds: Vec<&str> = altered(sql)
        .iter()
        .map(|alteration| match alteration {
            Alteration::AddColumns { .. } => "add",
            Alteration::DropColumn { .. } => "drop",
            Alteration::RenameColumn { .. } => "rename",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["add", "add", "drop", "rename"]);
}

#[test]
fn a_statement_says_how_long_it_may_take() {
    for (sql, expected) in [
        ("ALTER TABLE t MODIFY COLUMN a BIGINT", None),
        ("ALTER TABLE t MODIFY COLUMN a BIGINT PROPERTIES (\"timeout\" = \" 7 \")", Some(7)),
        ("ALTER TABLE t ADD COLUMN a INT AFTER b PROPERTIES (\"Timeout\" = \"1\"), DROP COLUMN c", Some(1)),
        (
            "ALTER TABLE t ORDER BY (a) PROPERTIES (\"timeout\" = \"1\"), DROP COLUMN c PROPERTIES (\"timeout\" = \"2\")",
            Some(2),
        ),
        ("CREATE INDEX i ON t (a)", None),
    ] {
        let Ok(Statement::AlterTable { timeout, .. }) = parse_one(sql) else { panic!("{sql}") };
        assert_eq!(timeout, expected, "{sql}");
    }
    for wrong in ["0", "-1", "1.5", "a day", ""] {
        let sql = format!("ALTER TABLE t DROP COLUMN a PROPERTIES (\"timeout\" = \"{wrong}\")");
        let message = parse_one(&sql).unwrap_err().message;
        assert!(message.contains("Invalid timeout format") && message.contains("seconds"), "{message}");
    }
}

#[test]
fn tables_swap_and_changes_are_shown_and_cancelled() {
    let sql = "ALTER TABLE d.t SWAP WITH u";
    let Ok(Statement::SwapTables { table, other }) = parse_one(sql) else { panic!() };
    assert_eq!((table.name(), other.name.as_str()), ("t", "u"));
    let Ok(Statement::CancelAlterTable { table }) = parse_one("CANCEL ALTER TABLE COLUMN FROM d.t") else { panic!() };
    assert_eq!(table.name(), "t");
    assert_eq!(parse_one("SHOW ALTER TABLE COLUMN"), Ok(Statement::ShowAlterTable(ShowAlterTable::default())));
    let sql = "SHOW ALTER TABLE COLUMN FROM d WHERE TableName = \"t\" AND State = 'FINISHED' \
               ORDER BY CreateTime DESC, JobId LIMIT 1";
    let Ok(Statement::ShowAlterTable(show)) = parse_one(sql) else { panic!() };
    assert_eq!(show.database.as_ref().map(ObjectName::name), Some("d"));
    let equal: Vec<_> = show.equal.iter().map(|(name, value)| (name.name.as_str(), value.as_str())).collect();
    assert_eq!(equal, [("TableName", "t"), ("State", "FINISHED")]);
    let order: Vec<_> = show.order_by.iter().map(|(name, descending)| (name.name.as_str(), *descending)).collect();
    assert_eq!((order, show.limit), (vec![("CreateTime", true), ("JobId", false)], Some(1)));
}
