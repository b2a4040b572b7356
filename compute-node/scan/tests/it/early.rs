//! Partial aggregation inside scans: the same answers as the stock operator's.

use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use tarn_scan::{TabletSource, aggregated_early};

use crate::fixture::{Fixture, answer};

const AGGREGATES: [&str; 14] = [
    "count(*)",
    "count(n)",
    "sum(n)",
    "min(n)",
    "max(n)",
    "avg(n)",
    "sum(id)",
    "avg(id)",
    "sum(price)",
    "avg(price)",
    "min(price)",
    "max(big)",
    "sum(big)",
    "count(price)",
];

const KEYS: [&str; 5] = ["kind", "n", "kind, n", "n, kind", "id"];

const FILTERS: [&str; 9] = [
    "true",
    "n is null",
    "price is null",
    "n > 0",
    "id between 69990 and 74500",
    "kind = 'apple' or kind is null",
    "price < 0 and n < 500",
    "weight > 1.5",
    "id < 0",
];

/// The lines of a query's answer as it is run on nodes, and its plan.
async fn early(session: &SessionContext, sql: &str) -> (Vec<String>, Arc<dyn ExecutionPlan>) {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let plan = aggregated_early(plan).unwrap();
    let batches = collect(plan.clone(), session.task_ctx()).await.unwrap();
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in &batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        lines.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    lines.sort();
    (lines, plan)
}

/// How many rows and batches the scan in a plan returned or aggregated.
fn scanned(plan: &Arc<dyn ExecutionPlan>) -> (usize, usize) {
    if TabletSource::of(plan.as_ref()).is_some() {
        let metrics = plan.metrics().unwrap();
        let batches = metrics.sum_by_name("output_batches").map_or(0, |batches| batches.as_usize());
        return (metrics.output_rows().unwrap(), batches);
    }
    scanned(plan.children()[0])
}

fn session(fixture: &Fixture, partitions: usize, stealing: bool) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .set_bool("datafusion.execution.enable_file_stream_work_stealing", stealing);
    fixture.session(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_is_aggregated_in_the_scan() {
    let fixture = Fixture::new().await;
    let live: usize = fixture.rows.iter().map(|batch| batch.num_rows()).sum();
    let session = session(&fixture, 2, true);
    for (keys, group) in
        [("", ""), ("kind, ", "group by kind"), ("n, ", "group by n"), ("kind, n, ", "group by kind, n")]
    {
        let sql = format!("select {keys}{} from {{t}} {group}", AGGREGATES.join(", "));
        let (lines, plan) = early(&session, &sql.replace("{t}", "things")).await;
        assert_eq!(lines, answer(&session, &sql.replace("{t}", "expected")).await.unwrap(), "{sql}");
        assert_eq!(scanned(&plan), (live, 0), "{sql}");
    }
    // Groups without a value to average.
    for column in ["n", "price"] {
        let sql = format!(
            "select kind, avg({column}), sum({column}), avg(id) from {{t}} where {column} is null group by kind"
        );
        let (lines, plan) = early(&session, &sql.replace("{t}", "things")).await;
        assert_eq!(lines, answer(&session, &sql.replace("{t}", "expected")).await.unwrap(), "{sql}");
        let (rows, batches) = scanned(&plan);
        assert!(rows > 0 && batches == 0, "{sql}: {rows} rows, {batches} batches");
    }
    // Run anew, nothing is left of the run before.
    let sql = "select kind, sum(n) from things group by kind";
    let plan = aggregated_early(session.sql(sql).await.unwrap().create_physical_plan().await.unwrap()).unwrap();
    let counted = |batches: Vec<arrow::array::RecordBatch>| batches.iter().map(|b| b.num_rows()).sum::<usize>();
    let first = counted(collect(plan.clone(), session.task_ctx()).await.unwrap());
    assert_eq!(first, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_left_to_the_operator_above() {
    let fixture = Fixture::new().await;
    let session = session(&fixture, 2, true);
    for sql in [
        "select id, count(*), sum(n) from {t} group by id",
        "select flag, count(*) from {t} group by flag",
        "select day, min(at), max(kind) from {t} group by day",
        "select count(distinct n), sum(weight) from {t} where weight > 0 and weight < 100",
        "select kind, sum(n) filter (where n > 3) from {t} group by kind",
        "select kind, sum(n + 1) from {t} group by kind",
        "select kind, n, count(*) from {t} group by grouping sets ((kind), (n), ())",
        "select kind, count(*) from (select kind from {t} limit 101500) group by kind having count(*) < 0",
    ] {
        let (lines, _) = early(&session, &sql.replace("{t}", "things")).await;
        assert_eq!(lines, answer(&session, &sql.replace("{t}", "expected")).await.unwrap(), "{sql}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn answers_are_those_of_rows_that_are_returned(
        aggregates in prop::sample::subsequence(AGGREGATES.to_vec(), 1..6),
        keys in prop::option::weighted(0.8, prop::sample::select(KEYS.to_vec())),
        filter in prop::sample::select(FILTERS.to_vec()),
        partitions in 1usize..6,
        stealing in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            let session = session(&fixture, partitions, stealing);
            let columns = aggregates.join(", ");
            let sql = match keys {
                Some(keys) => format!("select {keys}, {columns} from {{t}} where {filter} group by {keys}"),
                None => format!("select {columns} from {{t}} where {filter}"),
            };
            let (lines, _) = early(&session, &sql.replace("{t}", "things")).await;
            assert_eq!(lines, answer(&session, &sql.replace("{t}", "expected")).await.unwrap(), "{sql}");
        });
    }
}
