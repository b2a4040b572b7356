//! Filters in the scan give what DataFusion's own filter gives.

use std::sync::OnceLock;

use datafusion::prelude::SessionConfig;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{Fixture, assert_same, explain};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| runtime().block_on(Fixture::new()))
}

/// A literal for each comparable column, inside and outside of what the column holds.
fn comparison() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let operand = prop_oneof![
        (-10i64..102_000).prop_map(|v| ("id", v.to_string())),
        (-1100i64..1100).prop_map(|v| ("n", v.to_string())),
        (0usize..9).prop_map(|v| {
            let kinds = ["apple", "banana", "cherry", "", "zebra", "100%", "ünïcode", "a\\b", "Apple"];
            ("kind", format!("'{}'", kinds[v]))
        }),
        (0i64..900).prop_map(|v| ("day", format!("date '2022-01-08' + interval '{v} days'"))),
        (0i64..1000).prop_map(|v| ("at", format!("timestamp '2020-09-13 12:26:40' + interval '{v} minutes'"))),
        (-600_000i64..600_000)
            .prop_map(|v| ("price", format!("cast({}.{:02} as decimal(12,2))", v / 100, v.abs() % 100))),
        prop::sample::select(vec!["0.0", "-0.0", "'NaN'::double", "1.5", "1e300"])
            .prop_map(|v| ("weight", v.to_owned())),
        any::<bool>().prop_map(|v| ("flag", v.to_string())),
        (0i64..12).prop_map(|v| ("big", format!("cast('{v}000000000000000000000000000000' as decimal(38,0))"))),
    ];
    (operator, operand, any::<bool>()).prop_map(|(operator, (column, literal), swap)| {
        if swap { format!("{literal} {operator} {column}") } else { format!("{column} {operator} {literal}") }
    })
}

fn column() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "id", "kind", "n", "day", "at", "price", "weight", "flag", "big", "tags", "facts", "pair",
    ])
}

pub fn predicate() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => comparison(),
        1 => column().prop_map(|c| format!("{c} is null")),
        1 => column().prop_map(|c| format!("{c} is not null")),
        1 => prop::collection::vec(prop::option::of(-1000i64..1000), 1..30).prop_map(|values| {
            let values: Vec<String> = values.iter().map(|v| v.map_or("null".to_owned(), |v| v.to_string())).collect();
            format!("n in ({})", values.join(", "))
        }),
        1 => prop::collection::vec(0i64..102_000, 1..5).prop_map(|values| {
            format!("id not in ({})", values.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))
        }),
        1 => prop::sample::select(vec!["a%", "%an%", "%", "", "_pple", "APPLE", "1%\\%", "a\\\\b", "%\\_%", "%e"])
            .prop_flat_map(|p| prop::sample::select(vec!["like", "ilike", "not like"]).prop_map(move |op| format!("kind {op} '{p}'"))),
        1 => (-1000i64..1000, 0i64..500).prop_map(|(low, width)| format!("n between {low} and {}", low + width)),
        1 => (0i64..50).prop_map(|v| format!("n + {v} > id")),
        1 => Just("pair['x'] = 3".to_owned()),
        1 => Just("flag".to_owned()),
        1 => Just("cast(n as bigint) = id".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_in_the_scan_is_datafusions_filter(predicate in predicate()) {
        let session = fixture().session(SessionConfig::new().with_target_partitions(2));
        runtime().block_on(assert_same(&session, &format!("select id, n, kind from {{t}} where {predicate}")));
    }
}

#[test]
fn exact_filters_leave_no_filter_above_the_scan() {
    let session = fixture().session(SessionConfig::new());
    for (filter, exact) in [
        ("n > 5 and kind = 'apple'", true),
        ("kind like 'a%' or n in (1, 2, 3)", true),
        ("day >= date '2022-05-01' and at is not null", true),
        ("price = cast(1.5 as decimal(12,2))", true),
        ("at > arrow_cast('2020-09-14', 'Timestamp(Microsecond, None)')", true),
        ("at in (arrow_cast('2020-09-14', 'Timestamp(Microsecond, None)'), null)", true),
        ("cast(at as date) = date '2020-09-14'", false),
        ("not flag", true),
        ("weight > 1.5", false),
        ("n + 1 > 5", false),
        ("length(kind) = 3", false),
        ("tags is null", false),
    ] {
        let plan = runtime().block_on(explain(&session, &format!("select id from things where {filter}")));
        assert_eq!(!plan.contains("FilterExec"), exact, "{plan}");
    }
}

#[test]
fn filters_on_times_are_those_of_their_integers() {
    let session = fixture().session(SessionConfig::new().with_target_partitions(2));
    let time = |text: &str| format!("arrow_cast('{text}', 'Timestamp(Microsecond, None)')");
    let (within, last) = (time("2020-09-13T12:30:00"), time("9999-12-31T23:59:59.999999"));
    for filter in [
        format!("at < {within}"),
        format!("at >= {within} and at <> {last}"),
        format!("at between {within} and {last}"),
        format!("not (at > {last}) or at is null"),
        format!("at in ({within}, {last}, null)"),
        format!("at not in ({within}, {last})"),
        format!("at = (select max(at) from {{t}}) or at = (select min(at) from {{t}} where at > {within})"),
        "cast(at as date) = date '2020-09-13'".to_owned(),
        "arrow_cast(day, 'Timestamp(Microsecond, None)') > at".to_owned(),
    ] {
        runtime().block_on(assert_same(&session, &format!("select id, at from {{t}} where {filter}")));
    }
    runtime().block_on(async {
        for sql in [
            "select id, at from {t} order by at desc nulls last, id limit 7",
            "select min(at), max(at) from {t}",
            "select a.id, b.id from {t} a join {t} b on a.at = b.at where b.id < 50",
        ] {
            assert_same(&session, sql).await;
        }
    });
}

#[test]
fn dynamic_filters_reach_the_scan_and_change_no_answer() {
    let config = SessionConfig::new().with_target_partitions(2);
    let session = fixture().session(config);
    runtime().block_on(async {
        session
            .sql("create table small as select column1 as k from (values (5), (77), (69999), (101000))")
            .await
            .unwrap();
        let join = "select t.id, t.n from {t} t join small on t.id = small.k";
        assert_same(&session, join).await;
        let plan = session.sql(&join.replace("{t}", "things")).await.unwrap().create_physical_plan().await.unwrap();
        let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        assert!(text.contains("DynamicFilter"), "{text}");
        for sql in [
            "select id, n from {t} order by n desc nulls last, id limit 7",
            "select id from {t} order by id limit 20",
            "select t.kind, count(*) from {t} t join small on t.id = small.k group by t.kind",
            "select t.id from {t} t where t.id in (select k from small)",
            "select a.id from {t} a join {t} b on a.id = b.id where b.n between 5 and 6",
            "select min(id), max(n) from {t}",
        ] {
            assert_same(&session, sql).await;
        }
    });
}
