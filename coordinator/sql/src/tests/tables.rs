//! `CREATE TABLE`.

use tarn_proto::DataType;

use super::{ids, ok, table};
use crate::{
    Bound, ColumnDefault, DistributedBy, Ident, IntervalUnit, Literal, ModelKind, PartitionBy, PartitionExpr,
    RangePartition, Statement,
};

#[test]
fn a_table_has_every_clause() {
    let t = table(
        r#"CREATE TABLE IF NOT EXISTS db.t (
            k INT NOT NULL COMMENT "the key",
            `select` VARCHAR(20) DEFAULT "it's",
            v DECIMAL(12, 2) NULL DEFAULT '-1.5',
            at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
            id BIGINT NOT NULL AUTO_INCREMENT,
            g DOUBLE AS v * 2 COMMENT 'twice',
            u VARCHAR(36) DEFAULT (uuid()),
            INDEX i (`select`) USING bitmap COMMENT 'x'
        ) ENGINE=OLAP
        DUPLICATE KEY(k, `select`)
        COMMENT "c"
        PARTITION BY RANGE(at) (
            START ("2024-01-01") END ("2024-02-01") EVERY (INTERVAL 1 WEEK),
            PARTITION p VALUES LESS THAN MAXVALUE
        )
        DISTRIBUTED BY HASH(k) BUCKETS 8
        ORDER BY (at, k)
        PROPERTIES ("replication_num" = "1", "colocate_with" = "g");"#,
    );
    assert!(t.if_not_exists);
    assert_eq!((t.name.database(), t.name.name()), (Some("db"), "t"));
    let names: Vec<_> = t.columns.iter().map(|c| c.name.name.as_str()).collect();
    assert_eq!(names, ["k", "select", "v", "at", "id", "g", "u"]);
    assert_eq!(t.columns[0].comment.as_deref(), Some("the key"));
    assert_eq!((t.columns[0].nullable, t.columns[1].nullable, t.columns[2].nullable), (Some(false), None, Some(true)));
    assert_eq!(t.columns[1].default, Some(ColumnDefault::Value(Literal::new("it's"))));
    assert_eq!(t.columns[2].default, Some(ColumnDefault::Value(Literal::new("-1.5"))));
    assert_eq!(t.columns[3].default, Some(ColumnDefault::CurrentTimestamp));
    assert!(t.columns[4].auto_increment);
    assert_eq!(t.columns[5].generated_as.as_deref(), Some("v * 2"));
    assert_eq!(t.columns[6].default, Some(ColumnDefault::Expr("uuid()".into())));
    assert_eq!(t.indexes[0].using.as_deref(), Some("BITMAP"));
    assert_eq!(t.engine.as_deref(), Some("OLAP"));
    let model = t.model.unwrap();
    assert_eq!((model.kind, model.keys), (ModelKind::Duplicate, ids(&["k", "select"])));
    assert_eq!(t.comment.as_deref(), Some("c"));
    let Some(PartitionBy::Range { columns, partitions, .. }) = t.partition else { panic!() };
    assert_eq!(columns, ids(&["at"]));
    assert_eq!(
        partitions,
        [
            RangePartition::Every {
                start: Literal::new("2024-01-01"),
                end: Literal::new("2024-02-01"),
                step: 1,
                unit: Some(IntervalUnit::Week),
            },
            RangePartition::LessThan {
                name: Ident::new("p"),
                if_not_exists: false,
                upper: vec![Bound::MaxValue],
                properties: vec![],
            },
        ]
    );
    assert_eq!(
        t.distribution,
        Some(DistributedBy::Hash { columns: ids(&["k"]), buckets: Some(8), at: Default::default() })
    );
    assert_eq!(t.order_by, ids(&["at", "k"]));
    let properties: Vec<_> = t.properties.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
    assert_eq!(properties, [("replication_num", "1"), ("colocate_with", "g")]);
}

#[test]
fn names_and_types_know_where_they_stand() {
    let t = table("CREATE TABLE t (\n  a INT,\n  `b c` VARCHAR(3)\n)\nDUPLICATE KEY (a)");
    let column = &t.columns[1];
    assert_eq!((column.name.at.line, column.name.at.column), (3, 3));
    assert_eq!((column.type_at.line, column.type_at.column), (3, 9));
    let model = t.model.unwrap();
    assert_eq!((model.at.line, model.at.column), (5, 1));
    assert_eq!((model.keys[0].at.line, model.keys[0].at.column), (5, 16));
}

#[test]
fn every_type_has_its_names() {
    use DataType::{
        Array, Char, DateTime, Decimal, Double, Int, Json, LargeInt, Map, String, Struct, Varbinary, Varchar,
    };
    for (text, expected) in [
        ("boolean", DataType::Boolean),
        ("bool", DataType::Boolean),
        ("TINYINT(4)", DataType::TinyInt),
        ("smallint", DataType::SmallInt),
        ("INTEGER", Int),
        ("int(11)", Int),
        ("BIGINT", DataType::BigInt),
        ("largeint", LargeInt),
        ("float", DataType::Float),
        ("DOUBLE", Double),
        ("DECIMAL", Decimal(10, 0)),
        ("NUMERIC(7)", Decimal(7, 0)),
        ("DECIMAL(38, 38)", Decimal(38, 38)),
        ("DECIMAL32(9,2)", Decimal(9, 2)),
        ("decimal64", Decimal(18, 0)),
        ("DECIMAL128(20, 1)", Decimal(20, 1)),
        ("CHAR", Char(1)),
        ("CHAR(255)", Char(255)),
        ("VARCHAR", Varchar(65_533)),
        ("VARCHAR(1048576)", Varchar(1_048_576)),
        ("STRING", String),
        ("TEXT", String),
        ("VARBINARY(10)", Varbinary),
        ("BINARY", Varbinary),
        ("DATE", DataType::Date),
        ("DATETIME(6)", DateTime),
        ("TIMESTAMP", DateTime),
        ("JSON", Json),
        ("ARRAY<INT>", Array(Box::new(Int))),
        ("ARRAY<ARRAY<VARCHAR(3)>>", Array(Box::new(Array(Box::new(Varchar(3)))))),
        ("MAP<INT, ARRAY<ARRAY<STRING>>>", Map(Box::new(Int), Box::new(Array(Box::new(Array(Box::new(String))))))),
        ("STRUCT<a INT, `b c`: ARRAY<JSON>>", Struct(vec![("a".into(), Int), ("b c".into(), Array(Box::new(Json)))])),
        (
            "STRUCT<a STRUCT<b STRUCT<c INT>>, d INT>",
            Struct(vec![("a".into(), Struct(vec![("b".into(), Struct(vec![("c".into(), Int)]))])), ("d".into(), Int)]),
        ),
    ] {
        let t = table(&format!("CREATE TABLE t (c {text} NOT NULL, d INT)"));
        assert_eq!(
            (&t.columns[0].data_type, t.columns[0].nullable, t.columns.len()),
            (&expected, Some(false), 2),
            "{text}"
        );
    }
}

#[test]
fn keywords_can_name_columns() {
    let t = table(
        "CREATE TABLE t (date DATE, key INT KEY, index VARCHAR(10), value INT SUM, partition INT, comment STRING COMMENT 'c')",
    );
    let names: Vec<_> = t.columns.iter().map(|c| c.name.name.as_str()).collect();
    assert_eq!(names, ["date", "key", "index", "value", "partition", "comment"]);
    assert!(t.columns[1].key);
    assert_eq!(t.columns[3].aggregation.as_deref(), Some("SUM"));
    assert!(t.indexes.is_empty());
}

#[test]
fn a_default_may_be_the_time_of_the_load() {
    for text in ["CURRENT_TIMESTAMP", "current_timestamp()", "CURRENT_TIMESTAMP(6)", "now()"] {
        let t = table(&format!("CREATE TABLE t (a DATETIME DEFAULT {text} COMMENT 'c')"));
        assert_eq!(t.columns[0].default, Some(ColumnDefault::CurrentTimestamp), "{text}");
        assert!(t.columns[0].comment.is_some());
    }
    assert_eq!(
        super::err("CREATE TABLE t (a DATETIME DEFAULT now(x))"),
        "expected a precision or ), found x at line 1, column 40"
    );
}

#[test]
fn every_model_parses() {
    for (text, kind) in [
        ("DUPLICATE KEY", ModelKind::Duplicate),
        ("AGGREGATE KEY", ModelKind::Aggregate),
        ("UNIQUE KEY", ModelKind::Unique),
        ("PRIMARY KEY", ModelKind::PrimaryKey),
    ] {
        let t = table(&format!("CREATE TABLE t (a INT, v INT REPLACE_IF_NOT_NULL) {text} (a)"));
        assert_eq!(t.model.unwrap().kind, kind);
        assert_eq!(t.columns[1].aggregation.as_deref(), Some("REPLACE_IF_NOT_NULL"));
    }
}

#[test]
fn clauses_may_stand_in_any_order() {
    let one = table(
        "CREATE TABLE t (a INT) PROPERTIES ('x'='1') DISTRIBUTED BY RANDOM ORDER BY (a) COMMENT 'c' DUPLICATE KEY (a)",
    );
    let other = table(
        "CREATE TABLE t (a INT) DUPLICATE KEY (a) COMMENT 'c' DISTRIBUTED BY RANDOM ORDER BY (a) PROPERTIES ('x'='1')",
    );
    assert_eq!(one, other);
    assert_eq!(one.distribution, Some(DistributedBy::Random { buckets: None, at: Default::default() }));
}

#[test]
fn partitions_are_computed_by_expressions() {
    let column = |name: &str| PartitionExpr::Column(Ident::new(name));
    let call = |name: &str, args: Vec<PartitionExpr>| PartitionExpr::Function { name: Ident::new(name), args };
    let day = || PartitionExpr::Literal(Literal::new("day"));
    let week = PartitionExpr::Interval { count: 7, unit: IntervalUnit::Day, at: Default::default() };
    for (text, expected) in [
        ("date_trunc('day', dt)", vec![call("date_trunc", vec![day(), column("dt")])]),
        ("dt, city", vec![column("dt"), column("city")]),
        ("(dt, city)", vec![column("dt"), column("city")]),
        ("time_slice(dt, INTERVAL 7 DAY, floor)", vec![call("time_slice", vec![column("dt"), week, column("floor")])]),
        (
            "date_trunc('day', from_unixtime(ts)), range",
            vec![call("date_trunc", vec![day(), call("from_unixtime", vec![column("ts")])]), column("range")],
        ),
    ] {
        let t = table(&format!("CREATE TABLE t (a INT) PARTITION BY {text} DISTRIBUTED BY HASH(a)"));
        assert_eq!(t.partition, Some(PartitionBy::Expressions(expected)), "{text}");
        assert!(t.distribution.is_some());
    }
}

#[test]
fn range_partitions_have_several_forms() {
    let t = table(
        r#"CREATE TABLE t (a INT, b INT) PARTITION BY RANGE (a, b) (
            PARTITION p1 VALUES LESS THAN ("1", MAXVALUE),
            PARTITION IF NOT EXISTS p2 VALUES [("2", "0"), (3, -1)),
            START (10) END (20) EVERY (5)
        )"#,
    );
    let Some(PartitionBy::Range { partitions, .. }) = t.partition else { panic!() };
    let value = |s: &str| Bound::Value(Literal::new(s));
    assert_eq!(
        partitions,
        [
            RangePartition::LessThan {
                name: Ident::new("p1"),
                if_not_exists: false,
                upper: vec![value("1"), Bound::MaxValue],
                properties: vec![],
            },
            RangePartition::Between {
                name: Ident::new("p2"),
                if_not_exists: true,
                lower: vec![value("2"), value("0")],
                upper: vec![value("3"), value("-1")],
                properties: vec![],
            },
            RangePartition::Every { start: Literal::new("10"), end: Literal::new("20"), step: 5, unit: None },
        ]
    );
    let t = table("CREATE TABLE t (a INT) PARTITION BY RANGE (a) ()");
    assert!(matches!(t.partition, Some(PartitionBy::Range { partitions, .. }) if partitions.is_empty()));
}

#[test]
fn list_partitions_take_single_values_and_tuples() {
    let t =
        table("CREATE TABLE t (a INT, b INT) PARTITION BY LIST (a, b) (PARTITION p VALUES IN ((1, 'x'), (2, NULL)))");
    let Some(PartitionBy::List { columns, partitions, .. }) = t.partition else { panic!() };
    assert_eq!(columns, ids(&["a", "b"]));
    assert_eq!(partitions[0].values.len(), 2);
    assert_eq!(partitions[0].values[1], [Some(Literal::new("2")), None]);
}

#[test]
fn a_table_is_created_from_a_query() {
    for (sql, columns) in [
        ("CREATE TABLE t AS SELECT 1 AS a", vec![]),
        ("CREATE TABLE t (x, y) DISTRIBUTED BY HASH(x) AS SELECT 1, 2", vec!["x", "y"]),
        ("CREATE TABLE IF NOT EXISTS t PROPERTIES ('a'='b') AS WITH q AS (SELECT 1) SELECT * FROM q", vec![]),
    ] {
        let Statement::CreateTableAsSelect(create) = ok(sql) else { panic!("{sql}") };
        assert_eq!(create.columns, ids(&columns));
        assert!(create.table.columns.is_empty());
    }
}
