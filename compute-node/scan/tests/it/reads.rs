//! Reading: columns, partitions, limits, caches, failures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect};
use datafusion::prelude::SessionConfig;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{Column, ColumnId, DataType, ErrorKind, RowsetId, TabletId};
use tarn_scan::{Again, Error, Failure};

use crate::fixture::{Fixture, NODE, answer, assert_same, explain};

fn segment(tablet: u64, rowset: u64, segment: u32) -> SegmentKey {
    SegmentKey { tablet: TabletId(tablet), rowset: RowsetId(rowset), segment }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_scan_returns_every_live_row_of_every_type() {
    let fixture = Fixture::new().await;
    for partitions in [1, 2, 5] {
        for stealing in [true, false] {
            let config = SessionConfig::new()
                .with_target_partitions(partitions)
                .set_bool("datafusion.execution.enable_file_stream_work_stealing", stealing);
            assert_same(&fixture.session(config), "select * from {t}").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_return_their_columns_in_order() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new());
    assert_same(&session, "select facts, id, kind from {t}").await;
    assert_same(&session, "select n, n as m, id + 1 as n2 from {t}").await;
    assert_same(&session, "select count(*) from {t}").await;
    assert_same(&session, "select count(*), count(n), sum(price), min(kind), max(at) from {t} where id > 500").await;
    let plan = explain(&session, "select kind from things where id > 3").await;
    assert!(plan.contains("projection=[kind]") && !plan.contains("FilterExec"), "{plan}");
    assert!(plan.contains("tablets=2/8") && plan.contains("table_partitions=1/4"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_return_live_matching_rows_and_no_more() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new().with_target_partitions(3));
    let deleted_ids = "id between 71000 and 73999 or (id between 70000 and 99999 and (id - 70000) % 7 = 3)";
    for (limit, filter) in
        [(10, "true"), (90_000, "true"), (700, "id >= 70000"), (100, "kind = 'apple' and id > 70500")]
    {
        let sql = format!("select id from things where {filter} limit {limit}");
        let ids = answer(&session, &sql).await.unwrap();
        assert_eq!(ids.len(), limit, "{sql}");
        let sql =
            format!("select count(*) from (select * from things where {filter} limit {limit}) where {deleted_ids}");
        assert_eq!(answer(&session, &sql).await.unwrap(), ["0"], "{sql}");
    }
    assert_same(&session, "select count(*) from (select id from {t} where id >= 70000 limit 100000)").await;
    // A filter above a limit is not run below it.
    let sql = "select count(*) from (select id from things limit 10) where id = 101499";
    assert_eq!(answer(&session, sql).await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_limit_reads_little() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new());
    answer(&session, "select id from things limit 5").await.unwrap();
    let few = fixture.store.bytes_read.swap(0, Ordering::Relaxed);
    answer(&session, "select id, kind, n, at, price, weight, tags from things").await.unwrap();
    let all = fixture.store.bytes_read.load(Ordering::Relaxed);
    assert!(few * 3 < all, "{few} of {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_counts_answer_count_and_inexact_ones_do_not() {
    let mut fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new());
    assert!(explain(&session, "select count(*) from things").await.contains("DataSourceExec"));
    fixture.spec.exact_rows = true;
    let session = fixture.session(SessionConfig::new());
    assert!(!explain(&session, "select count(*) from things").await.contains("DataSourceExec"));
    assert!(explain(&session, "select count(*) from things where id > 3").await.contains("DataSourceExec"));
    assert_eq!(answer(&session, "select count(*) from things").await.unwrap(), ["101500"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_scan_reads_nothing_from_the_storage_node() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new());
    answer(&session, "select id, kind, price from things where n > 10").await.unwrap();
    assert_eq!(fixture.store.manifest_calls.load(Ordering::Relaxed), 1);
    fixture.store.bytes_read.store(0, Ordering::Relaxed);
    answer(&session, "select id, kind, price from things where n > 10").await.unwrap();
    assert_eq!(fixture.store.bytes_read.load(Ordering::Relaxed), 0);
    assert_eq!(fixture.store.manifest_calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_filter_reads_only_its_rows() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new());
    assert_same(&session, "select * from {t} where id = 69000").await;
    fixture.store.bytes_read.store(0, Ordering::Relaxed);
    // Excluded by the short-key index: not even the footers of the other segments are read.
    assert_eq!(answer(&session, "select n from things where id < -5").await.unwrap(), Vec::<String>::new());
    assert_eq!(fixture.store.bytes_read.load(Ordering::Relaxed), 0);
    for filter in ["id in (3, 99, 101499)", "id = 5 and kind = 'apple'", "id > 70000 and id <= 70010", "60000 > id"] {
        assert_same(&session, &format!("select id, kind from {{t}} where {filter}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_fails_the_query_by_name() {
    let fixture = Fixture::new().await;
    fixture.store.damaged.lock().insert(segment(2, 12, 3));
    let session = fixture.session(SessionConfig::new());
    let error = answer(&session, "select * from things").await.unwrap_err();
    assert!(error.to_string().contains("segment 3 of t2 is damaged"), "{error}");
    assert_eq!(kind(&error), Some(ErrorKind::Internal));
    // Damage that appears after the footer was read.
    fixture.store.damaged.lock().clear();
    answer(&session, "select id from things").await.unwrap();
    fixture.store.damaged.lock().insert(segment(1, 10, 0));
    let error = answer(&session, "select price from things where n > 0").await.unwrap_err();
    assert!(error.to_string().contains("segment 0 of t1 is damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_rowset_can_be_read_again() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new());
    fixture.store.gone.lock().insert(segment(1, 11, 0));
    let error = answer(&session, "select price from things").await.unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::Unavailable), "{error}");
    fixture.store.gone.lock().clear();
    answer(&session, "select price from things").await.unwrap();
    assert_eq!(fixture.store.manifest_calls.load(Ordering::Relaxed), 2, "the manifest was asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_files_a_clone_has_replaced_is_asked_for_again() {
    let fixture = Fixture::indexed(&["kind"], &[]).await;
    let session = fixture.session(SessionConfig::new());
    answer(&session, "select id from things").await.unwrap();
    fixture.store.checksums.lock().insert(segment(1, 10, 0), 77);
    let sql = "select count(*) from {t} where kind = 'apple' and n > 10";
    let error = answer(&session, &sql.replace("{t}", "things")).await.unwrap_err();
    assert_eq!(Failure::of(&error).and_then(|failure| failure.again), Some(Again::Refreshed), "{error}");
    fixture.store.change_manifest(1, |manifest| manifest.rowsets[0].segments[0].checksum = 77);
    assert_same(&session, sql).await;
    assert_eq!(fixture.store.manifest_calls.load(Ordering::Relaxed), 2, "the manifest was asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_younger_than_the_segments_is_null() {
    let mut fixture = Fixture::new().await;
    let added = Column {
        id: ColumnId(90),
        name: "added".to_owned(),
        data_type: DataType::Int,
        nullable: true,
        aggregation: None,
        initial: None,
    };
    fixture.spec.schema.columns.insert(1, added);
    fixture.spec.projection = vec![1, 0];
    let session = fixture.session(SessionConfig::new());
    assert_eq!(answer(&session, "select id, added from things where id = 4").await.unwrap(), ["4|NULL"]);
    assert_eq!(answer(&session, "select count(*) from things where added > 3").await.unwrap(), ["0"]);
    assert_eq!(answer(&session, "select id from things where added is null and id < 1").await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_scans_stay_in_one_partition_and_metrics_tell_what_was_read() {
    let fixture = Fixture::new().await;
    let plan = tarn_scan::scan(fixture.context.clone(), fixture.spec.clone()).unwrap();
    let split = plan.repartitioned(8, SessionConfig::new().options()).unwrap().unwrap();
    assert_eq!(split.output_partitioning().partition_count(), 2, "101,500 rows are worth two partitions");
    let session = fixture.session(SessionConfig::new());
    collect(split.clone(), session.task_ctx()).await.unwrap();
    let metrics = split.metrics().unwrap();
    assert_eq!(metrics.output_rows(), Some(fixture.rows.iter().map(|b| b.num_rows()).sum()));
    let read = metrics.sum_by_name("bytes_read").unwrap().as_usize();
    assert!(read > 0 && read as u64 <= fixture.store.bytes_read.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_neither_large_nor_many() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new().with_target_partitions(1).with_batch_size(2048));
    let batches = session.sql("select id, kind from things").await.unwrap().collect().await.unwrap();
    assert!(batches.iter().all(|batch| batch.num_rows() <= 2048));
    // One row in a hundred of four morsels: no more than a batch of each.
    let batches = session.sql("select id, kind from things where n between 0 and 10").await.unwrap();
    let batches = batches.collect().await.unwrap();
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    assert!(rows > 100 && batches.len() <= 4, "{rows} rows in {} batches", batches.len());
}

#[tokio::test]
async fn an_empty_scan_has_no_rows() {
    let fixture = Fixture::new().await;
    let mut spec = fixture.spec.clone();
    spec.partitions.clear();
    let plan: Arc<dyn ExecutionPlan> = tarn_scan::scan(fixture.context.clone(), spec).unwrap();
    let session = fixture.session(SessionConfig::new());
    assert!(collect(plan, session.task_ctx()).await.unwrap().is_empty());
    assert!(fixture.context.pool().is_local(NODE));
}

fn kind(error: &datafusion::error::DataFusionError) -> Option<ErrorKind> {
    match error.find_root() {
        datafusion::error::DataFusionError::External(e) => e.downcast_ref::<Error>().map(Error::kind),
        _ => None,
    }
}
