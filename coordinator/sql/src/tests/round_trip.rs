//! `SHOW CREATE TABLE` and `SHOW CREATE VIEW` print what parses to the same table or view.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tarn_proto::DataType;

use super::table;
use crate::{
    Bound, ColumnDef, ColumnDefault, CreateTable, DistributedBy, Ident, Index, IntervalUnit, ListPartition, Literal,
    Model, ModelKind, ObjectName, PartitionBy, PartitionExpr, Position, Property, RangePartition, Statement,
    ViewColumn, parse_one,
};

const NOWHERE: Position = Position { line: 0, column: 0 };

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "[\\\\\"'`%_\n\té;#-]{0,6}"]
}

fn ident() -> impl Strategy<Value = Ident> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,8}",
        "[ -~é]{1,6}",
        select(vec!["select", "index", "interval", "key"]).prop_map(String::from)
    ]
    .prop_map(Ident::new)
}

fn idents() -> impl Strategy<Value = Vec<Ident>> {
    prop::collection::vec(ident(), 1..4)
}

fn literal() -> impl Strategy<Value = Literal> {
    text().prop_map(Literal::new)
}

fn data_type() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        select(vec![
            DataType::Boolean,
            DataType::TinyInt,
            DataType::SmallInt,
            DataType::Int,
            DataType::BigInt,
            DataType::LargeInt,
            DataType::Float,
            DataType::Double,
            DataType::String,
            DataType::Varbinary,
            DataType::Date,
            DataType::DateTime,
            DataType::Json,
        ]),
        (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p)).prop_map(|(p, s)| DataType::Decimal(p, s)),
        (1u32..=255).prop_map(DataType::Char),
        (1u32..=1_048_576).prop_map(DataType::Varchar),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|t| DataType::Array(Box::new(t))),
            (inner.clone(), inner.clone()).prop_map(|(k, v)| DataType::Map(Box::new(k), Box::new(v))),
            prop::collection::vec(("[a-z `>,]{1,6}", inner), 1..3).prop_map(|mut fields| {
                fields.dedup_by(|a, b| a.0.eq_ignore_ascii_case(&b.0));
                DataType::Struct(fields)
            }),
        ]
    })
}

fn column() -> impl Strategy<Value = ColumnDef> {
    let default = prop_oneof![
        literal().prop_map(ColumnDefault::Value),
        Just(ColumnDefault::Null),
        Just(ColumnDefault::CurrentTimestamp),
        Just(ColumnDefault::Expr("concat('a', uuid())".to_owned())),
    ];
    let aggregation = option::of(select(vec!["SUM", "REPLACE", "REPLACE_IF_NOT_NULL"]).prop_map(String::from));
    let generated = option::of(select(vec!["a + 1", "length(`b c`)"]).prop_map(String::from));
    (
        (ident(), data_type(), any::<bool>(), aggregation),
        (option::of(any::<bool>()), option::of(default), any::<bool>(), generated, option::of(text())),
    )
        .prop_map(
            |((name, data_type, key, aggregation), (nullable, default, auto_increment, generated_as, comment))| {
                ColumnDef {
                    name,
                    data_type,
                    type_at: NOWHERE,
                    key,
                    aggregation,
                    nullable,
                    default,
                    auto_increment,
                    generated_as,
                    comment,
                }
            },
        )
}

fn properties(max: usize) -> impl Strategy<Value = Vec<Property>> {
    prop::collection::btree_map("[a-z._]{1,8}", text(), 0..max)
        .prop_map(|map| map.into_iter().map(|(name, value)| Property { name, value, at: NOWHERE }).collect())
}

fn bounds() -> impl Strategy<Value = Vec<Bound>> {
    prop::collection::vec(prop_oneof![literal().prop_map(Bound::Value), Just(Bound::MaxValue)], 1..3)
}

fn range_partition() -> impl Strategy<Value = RangePartition> {
    prop_oneof![
        (ident(), any::<bool>(), bounds(), properties(2)).prop_map(|(name, if_not_exists, upper, properties)| {
            RangePartition::LessThan { name, if_not_exists, upper, properties }
        }),
        (ident(), any::<bool>(), bounds(), bounds(), properties(2)).prop_map(
            |(name, if_not_exists, lower, upper, properties)| RangePartition::Between {
                name,
                if_not_exists,
                lower,
                upper,
                properties
            }
        ),
        (literal(), literal(), 1u32.., option::of(select(IntervalUnit::ALL.to_vec())))
            .prop_map(|(start, end, step, unit)| RangePartition::Every { start, end, step, unit }),
    ]
}

fn list_partition() -> impl Strategy<Value = ListPartition> {
    let tuple = prop::collection::vec(option::of(literal()), 1..3);
    (ident(), any::<bool>(), prop::collection::vec(tuple, 1..3), properties(2))
        .prop_map(|(name, if_not_exists, values, properties)| ListPartition { name, if_not_exists, values, properties })
}

fn partition_call() -> impl Strategy<Value = PartitionExpr> {
    let leaf = prop_oneof![
        ident().prop_map(PartitionExpr::Column),
        literal().prop_map(PartitionExpr::Literal),
        (1u32.., select(IntervalUnit::ALL.to_vec())).prop_map(|(count, unit)| PartitionExpr::Interval {
            count,
            unit,
            at: NOWHERE
        }),
    ];
    (ident(), prop::collection::vec(leaf, 0..3)).prop_map(|(name, args)| PartitionExpr::Function { name, args })
}

fn partition_expr() -> impl Strategy<Value = PartitionExpr> {
    prop_oneof![
        ident().prop_map(PartitionExpr::Column),
        (ident(), prop::collection::vec(partition_call(), 1..3))
            .prop_map(|(name, args)| PartitionExpr::Function { name, args }),
        partition_call(),
    ]
}

fn create_table() -> impl Strategy<Value = CreateTable> {
    let model = select(vec![ModelKind::Duplicate, ModelKind::Aggregate, ModelKind::Unique, ModelKind::PrimaryKey]);
    let model = (model, idents()).prop_map(|(kind, keys)| Model { kind, keys, at: NOWHERE });
    let partition =
        prop_oneof![
            (idents(), prop::collection::vec(range_partition(), 0..3))
                .prop_map(|(columns, partitions)| PartitionBy::Range { columns, partitions, at: NOWHERE }),
            (idents(), prop::collection::vec(list_partition(), 0..3))
                .prop_map(|(columns, partitions)| PartitionBy::List { columns, partitions, at: NOWHERE }),
            prop::collection::vec(partition_expr(), 1..3).prop_map(PartitionBy::Expressions),
        ];
    let distribution = (option::of(idents()), option::of(1u32..)).prop_map(|(columns, buckets)| match columns {
        Some(columns) => DistributedBy::Hash { columns, buckets, at: NOWHERE },
        None => DistributedBy::Random { buckets, at: NOWHERE },
    });
    let index = (ident(), idents(), option::of(Just("BITMAP".to_owned())), option::of(text()))
        .prop_map(|(name, columns, using, comment)| Index { name, columns, using, properties: Vec::new(), comment });
    (
        (any::<bool>(), prop::collection::vec(ident(), 1..4), prop::collection::vec(column(), 1..4)),
        (
            prop::collection::vec(index, 0..2),
            option::of(Just("OLAP".to_owned())),
            option::of(model),
            option::of(text()),
        ),
        (option::of(partition), option::of(distribution), prop::collection::vec(ident(), 0..3), properties(4)),
    )
        .prop_map(
            |(
                (if_not_exists, parts, columns),
                (indexes, engine, model, comment),
                (partition, distribution, order_by, properties),
            )| CreateTable {
                if_not_exists,
                name: ObjectName { parts },
                columns,
                indexes,
                engine,
                model,
                comment,
                partition,
                distribution,
                order_by,
                properties,
            },
        )
}

/// A view of one of some queries, by its parts.
fn create_view() -> impl Strategy<Value = crate::CreateView> {
    let queries = vec![
        "SELECT 1 AS a",
        "SELECT `a b` -- why\n, 'it''s; so' FROM `d`.t WHERE x LIKE \"a\\\\_%\"",
        "(SELECT a FROM t) UNION ALL (SELECT b FROM u ORDER BY b)",
        "WITH q AS (SELECT 1) SELECT * FROM q",
    ];
    let column = (ident(), option::of(text())).prop_map(|(name, comment)| ViewColumn { name, comment });
    (
        (any::<bool>(), any::<bool>(), prop::collection::vec(ident(), 1..4)),
        (prop::collection::vec(column, 0..3), option::of(text()), select(queries)),
    )
        .prop_map(|((or_replace, if_not_exists, parts), (columns, comment, query_text))| {
            let Ok(Statement::Query(query)) = parse_one(query_text) else { panic!("{query_text}") };
            let query_text = query_text.to_owned();
            let name = ObjectName { parts };
            crate::CreateView { or_replace, if_not_exists, name, columns, comment, query, query_text }
        })
}

proptest! {
    #[test]
    fn a_printed_view_parses_to_itself(view in create_view()) {
        let text = view.to_string();
        match parse_one(&text) {
            Ok(Statement::CreateView(parsed)) => prop_assert_eq!(parsed, view, "{}", text),
            other => prop_assert!(false, "{text}\n{other:?}"),
        }
    }

    #[test]
    fn a_printed_table_parses_to_itself(table in create_table()) {
        let text = table.to_string();
        match parse_one(&text) {
            Ok(Statement::CreateTable(parsed)) => prop_assert_eq!(*parsed, table, "{}", text),
            other => prop_assert!(false, "{text}\n{other:?}"),
        }
    }

    #[test]
    fn quoted_texts_are_read_back(name in "\\PC{1,20}", text in "(?s).{0,20}") {
        let sql = format!("CREATE TABLE {} (a INT) COMMENT {}", crate::quote_ident(&name), crate::quote_string(&text));
        let table = table(&sql);
        prop_assert_eq!(table.name.name(), name);
        prop_assert_eq!(table.comment.unwrap(), text);
    }
}

#[test]
fn a_table_prints_as_people_write_it() {
    let text = r#"CREATE TABLE `d`.`t` (
  `k` int NOT NULL COMMENT "the key",
  `v` decimal(10,2) NULL DEFAULT "0",
  `s` struct<`a` int,`b` array<varchar(3)>>
) ENGINE=OLAP
DUPLICATE KEY(`k`)
COMMENT "it is \"it\""
PARTITION BY RANGE(`k`)
(PARTITION `p1` VALUES LESS THAN ("10"),
START ("10") END ("20") EVERY (5))
DISTRIBUTED BY HASH(`k`) BUCKETS 3
ORDER BY(`k`, `v`)
PROPERTIES (
"replication_num" = "1",
"x" = "y"
)"#;
    assert_eq!(table(text).to_string(), text);
}
