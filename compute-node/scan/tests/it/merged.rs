//! Merge on read: scans of AGGREGATE and UNIQUE tables, compared with DataFusion over rows that were merged one by one.

mod large;
mod table;
mod throughput;

use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use proptest::prelude::*;
use tarn_proto::{Aggregation, TableModel};
use tarn_scan::Preaggregation;
use tokio::runtime::Runtime;

use crate::fixture::{answer, assert_same, explain};
use table::{Row, Tablets, World, rows};

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

fn config(partitions: usize, batch_size: usize, stealing: bool) -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(batch_size)
        .set_bool("datafusion.execution.enable_file_stream_work_stealing", stealing)
}

/// A condition on keys that the scan evaluates, on keys that it does not, on values, or on both.
fn on_keys() -> impl Strategy<Value = String> {
    prop_oneof![
        (-3i32..8, prop::sample::select(vec!["=", "<", ">=", "<>"])).prop_map(|(k, op)| format!("k1 {op} {k}")),
        prop::collection::vec(-3i32..8, 1..4)
            .prop_map(|ks| { format!("k1 in ({})", ks.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")) }),
        prop::sample::select(vec!["k2 = 'b'", "k2 >= 'ab'", "k2 like 'x%'", "k2 is null", "k1 is not null"])
            .prop_map(str::to_owned),
        (-3i32..8).prop_map(|k| format!("k1 = {k} and k2 = 'a'")),
        Just("k1 + 1 > 3".to_owned()),
        Just("length(k2) = 1".to_owned()),
    ]
}

fn on_values() -> impl Strategy<Value = String> {
    prop_oneof![
        (-50i64..50, prop::sample::select(vec!["=", "<", ">=", "<>"])).prop_map(|(v, op)| format!("s {op} {v}")),
        (-50i32..50).prop_map(|v| format!("mn > {v} or k1 = 2")),
        prop::sample::select(vec!["r = 'b'", "r is null", "rn is not null", "mx < date '1970-01-20'", "r like '%a%'"])
            .prop_map(str::to_owned),
        Just("s + mn > 3".to_owned()),
        Just("rn > 0.5".to_owned()),
    ]
}

fn predicate() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        on_keys(),
        on_values(),
        (on_keys(), on_values()).prop_map(|(a, b)| format!("{a} and ({b})")),
        (on_keys(), on_keys()).prop_map(|(a, b)| format!("({a}) or ({b})")),
        (on_values(), on_keys()).prop_map(|(a, b)| format!("not ({a}) and {b}")),
    ]
}

fn projection() -> impl Strategy<Value = String> {
    let columns = vec!["k1", "k2", "s", "mn", "mx", "r", "rn", "dec", "at", "m"];
    prop::sample::subsequence(columns, 1..=10).prop_shuffle().prop_map(|columns| columns.join(", "))
}

fn tablets() -> impl Strategy<Value = Tablets> {
    let rowset = prop::collection::vec(prop::collection::vec(rows(), 0..25), 1..3);
    prop::collection::vec(prop::collection::vec(rowset, 0..6), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_returns_one_row_a_key(
        tablets in tablets(),
        (model, sorted_by_second) in (prop::sample::select(vec![TableModel::Aggregate, TableModel::Unique]), any::<bool>()),
        (predicate, projection, limit) in (predicate(), projection(), 0usize..30),
        (partitions, batch_size, stealing) in (1usize..4, 1usize..40, any::<bool>()),
    ) {
        runtime().block_on(async {
            let world = World::new(model, sorted_by_second, &tablets).await;
            let session = world.session(config(partitions, batch_size, stealing), None);
            assert_same(&session, &format!("select {projection} from {{t}} where {predicate}")).await;
            assert_same(&session, &format!("select count(*) from {{t}} where {predicate}")).await;
            assert_same(&session, "select count(*) from {t}").await;
            assert_same(&session, &format!("select count(*) from (select r from {{t}} where {predicate} limit {limit})")).await;
            assert_same(&session, &format!("select k2, sum(s), count(*), max(r) from {{t}} where {predicate} group by k2")).await;
            // No row is one that merging would have changed.
            let sql = format!(
                "select count(*) from (select k1, k2, s, r from things where {predicate} limit {limit}) t where not exists \
                 (select 1 from expected e where (e.k1 is not distinct from t.k1) and (e.k2 is not distinct from t.k2) \
                 and (e.s is not distinct from t.s) and (e.r is not distinct from t.r))"
            );
            assert_eq!(answer(&session, &sql).await.unwrap(), ["0"], "{sql}");
        });
    }

    #[test]
    fn the_tables_own_aggregates_over_keys_need_no_merge(
        tablets in tablets(),
        predicate in on_keys(),
        partitions in 1usize..4,
    ) {
        runtime().block_on(async {
            let world = World::new(TableModel::Aggregate, false, &tablets).await;
            let merged = world.session(config(partitions, 20, true), None);
            let unmerged = world.session(config(partitions, 20, true), Some(Preaggregation::On));
            for query in [
                "select k1, sum(s), min(mn), max(mx), sum(dec) from {t} where {p} group by k1",
                "select sum(s), min(mn), max(mx), min(k1), max(k2) from {t} where {p}",
                "select distinct k2, k1 from {t} where {p}",
                "select count(distinct k1) from {t} where {p}",
                "select k2, sum(case when k1 > 2 then s else 0 end) from {t} where {p} group by k2",
            ] {
                let sql = query.replace("{p}", &predicate);
                assert_same(&merged, &sql).await;
                assert_same(&unmerged, &sql).await;
            }
        });
    }

    #[test]
    fn filters_that_change_while_a_query_runs_leave_out_whole_keys(tablets in tablets(), partitions in 1usize..3) {
        runtime().block_on(async {
            let world = World::new(TableModel::Aggregate, false, &tablets).await;
            let session = world.session(config(partitions, 20, true), None);
            session.sql("create table few as select column1 as k, column2 as v from (values (1, 3), (5, 40))").await.unwrap();
            for query in [
                "select t.k1, t.k2, t.s from {t} t join few on t.k1 = few.k",
                "select t.k1, t.k2, t.s from {t} t join few on t.s = few.v",
                "select min(s), max(mn), min(k1) from {t}",
                "select min(s) from (select s from {t} order by s nulls last limit 3)",
                "select max(k1) from (select k1 from {t} order by k1 desc nulls last limit 5)",
                "select a.k1, b.k2, b.r from {t} a join {t} b on a.k1 = b.k1 and a.k2 = b.k2 where a.s > 5",
            ] {
                assert_same(&session, query).await;
            }
        });
    }
}

fn row(k1: i32, s: i64) -> Row {
    Row { k1: Some(k1), s: Some(s), ..Row::default() }
}

#[test]
fn values_that_nobody_asks_for_are_not_read() {
    runtime().block_on(async {
        let world =
            World::new(TableModel::Unique, false, &vec![vec![vec![vec![row(1, 5)]], vec![vec![row(1, 7)]]]]).await;
        let session = world.session(config(1, 100, true), None);
        assert_eq!(answer(&session, "select k1, s from things").await.unwrap(), ["1|7"]);
        assert_eq!(answer(&session, "select count(*) from things where s = 5").await.unwrap(), ["0"]);
        let read = |sql: &str| {
            let (world, sql) = (world.fresh(), sql.to_owned());
            async move {
                let world = world.await;
                answer(&world.session(config(1, 100, true), None), &sql).await.unwrap();
                world.store.bytes_read.load(std::sync::atomic::Ordering::Relaxed)
            }
        };
        let (keys, all) = (read("select count(*) from things").await, read("select * from things").await);
        assert!(keys > 0 && keys < all, "{keys} of {all}");
    });
}

#[test]
fn counts_come_from_merged_rows_and_never_from_the_catalog() {
    runtime().block_on(async {
        let rowsets = vec![vec![vec![row(1, 5), row(2, 5)]], vec![vec![row(1, 7), row(3, 1)]]];
        let world = World::new(TableModel::Aggregate, false, &vec![rowsets]).await;
        let session = world.session(config(1, 100, true), None);
        assert!(explain(&session, "select count(*) from things").await.contains("DataSourceExec"));
        assert_eq!(answer(&session, "select count(*) from things").await.unwrap(), ["3"]);
        assert_eq!(answer(&session, "select sum(s) from things").await.unwrap(), ["18"]);
        let plan = explain(&session, "select k1 from things where k1 > 0 and s > 0").await;
        assert!(plan.contains("PREAGGREGATION: OFF. Reason: None aggregate function"), "{plan}");
        assert!(!plan.contains("FilterExec"), "filters on values are evaluated in the scan: {plan}");
    });
}

#[test]
fn a_merge_takes_its_memory_from_the_query() {
    runtime().block_on(async {
        let world =
            World::new(TableModel::Unique, false, &vec![vec![vec![vec![row(1, 5)]], vec![vec![row(1, 7)]]]]).await;
        let limited = |bytes| {
            let environment = RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0).build_arc().unwrap();
            world.session_in(config(1, 100, true), environment, None)
        };
        let error = answer(&limited(1), "select k1, s from things").await.unwrap_err();
        assert!(error.to_string().contains("merge of db.things"), "{error}");
        let session = limited(1 << 20);
        for _ in 0..1000 {
            // What a merge took, it gives back.
            assert_eq!(answer(&session, "select k1, s from things").await.unwrap(), ["1|7"]);
        }
    });
}

#[test]
fn every_aggregation_has_a_column_in_these_tests() {
    let schema = table::schema(TableModel::Aggregate, false);
    for aggregation in Aggregation::ALL {
        assert!(schema.columns.iter().any(|c| c.aggregation == Some(aggregation)), "{aggregation:?}");
    }
}
