//! Distributed plans answer as plain ones do.

use std::io;
use std::sync::Mutex;

use tarn_compute_node::Config;
use tarn_planner::distributed::{explain, explain_analyze, is_distributed};

use crate::cluster::{Cluster, answer, plan, rows, until};

const GROUPS: &str = "select customer, count(*), sum(amount) from orders group by customer";
const JOIN: &str = "select name, count(*), sum(amount) from orders join customers \
                    on orders.customer = customers.customer where amount > 100 group by name";
const ORDERED: &str = "select id, amount from orders order by amount, id";

#[tokio::test]
async fn distributed_queries_answer_as_plain_ones() {
    let cluster = Cluster::start(2).await;
    let plain = cluster.plain_session();
    let top = format!("{ORDERED} limit 17");
    for (number, sql) in [GROUPS, JOIN, ORDERED, &top, "select count(*) from orders"].into_iter().enumerate() {
        let session = cluster.session(&format!("q-{number}"));
        let distributed = plan(&session, sql).await;
        assert!(is_distributed(distributed.as_ref()), "{}", explain(distributed.as_ref()));
        let mut found = rows(&session, &distributed).await.unwrap();
        let expected_plan = plan(&plain, sql).await;
        assert!(!is_distributed(expected_plan.as_ref()));
        let mut expected = rows(&plain, &expected_plan).await.unwrap();
        if !sql.contains("order by") {
            found.sort();
            expected.sort();
        }
        assert!(!expected.is_empty());
        assert!(found == expected, "{sql}: {} rows instead of {}", found.len(), expected.len());
    }
    until("the end of all tasks", || cluster.running() == [0, 0]).await;
}

#[tokio::test]
async fn plans_show_stages_tasks_and_their_metrics() {
    let cluster = Cluster::start(2).await;
    let session = cluster.session("q-explain");
    let plan = plan(&session, GROUPS).await;
    let text = explain(plan.as_ref());
    assert!(text.contains("Stage 1") && text.contains("tasks=2") && text.contains("table=db.orders"), "{text}");
    rows(&session, &plan).await.unwrap();
    let total = explain_analyze(plan.clone(), false).await.unwrap();
    assert!(total.contains("output_rows=97"), "{total}");
    let per_task = explain_analyze(plan, true).await.unwrap();
    assert!(per_task.contains("output_rows={0:"), "{per_task}");
}

#[tokio::test]
async fn each_task_merges_its_partitions_before_they_travel() {
    let cluster = Cluster::start(2).await;
    let text = explain(plan(&cluster.session("q-merge"), ORDERED).await.as_ref());
    assert_eq!(text.matches("SortPreservingMergeExec").count(), 2, "{text}");
    assert!(text.contains("NetworkCoalesceExec: output_partitions=2, input_tasks=2"), "{text}");
}

#[tokio::test]
async fn a_query_over_its_memory_limit_spills_or_names_the_limit() {
    let cluster = Cluster::start_with(2, Config { memory_limit_bytes: 64 << 20, ..Config::default() }).await;
    let sql = "select id, amount, customer, count(*) from orders group by id, amount, customer";
    let session = cluster.session_on(&cluster.workers, "q-small", Some(100_000));
    let error = answer(&session, sql).await.unwrap_err().to_string();
    assert!(error.contains("bytes it may use on this node"), "{error}");
    let session = cluster.session_on(&cluster.workers, "q-enough", Some(60 << 20));
    assert_eq!(answer(&session, sql).await.unwrap().len(), 80_000);
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_query_id_is_in_log_lines_of_compute_nodes() {
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let cluster = Cluster::start(2).await;
    answer(&cluster.session("q-logged"), GROUPS).await.unwrap();
    let text = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let reads: Vec<&str> = text.lines().filter(|line| line.contains("manifests are read")).collect();
    assert_eq!(reads.len(), 2, "{text}");
    assert!(reads.iter().all(|line| line.contains("q-logged")), "{reads:?}");
}
