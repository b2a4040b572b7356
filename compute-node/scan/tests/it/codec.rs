//! Plans survive the wire.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionConfig;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;
use tarn_scan::TarnCodec;

use crate::fixture::Fixture;

fn round_trip(fixture: &Fixture, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let codec = TarnCodec::new(fixture.context.clone());
    let bytes =
        physical_plan_to_bytes_with_proto_converter(plan, &codec, &DeduplicatingProtoConverter::default()).unwrap();
    let task = fixture.session(SessionConfig::new()).task_ctx();
    physical_plan_from_bytes_with_proto_converter(&bytes, &task, &codec, &DeduplicatingProtoConverter::default())
        .unwrap()
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(true).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoded_scan_is_the_encoded_scan() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new().with_target_partitions(2));
    for sql in [
        "select kind, id from things where n > 5 and kind like 'a%' and day is not null",
        "select id from things where price in (1.00, 2.50, null) limit 5",
        "select count(*) from things where flag",
    ] {
        let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let decoded = round_trip(&fixture, plan.clone());
        assert_eq!(text(&plan), text(&decoded));
        let rows = |batches: Vec<arrow::array::RecordBatch>| batches.iter().map(|b| b.num_rows()).sum::<usize>();
        let before = rows(collect(plan, session.task_ctx()).await.unwrap());
        assert_eq!(before, rows(collect(decoded, session.task_ctx()).await.unwrap()), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_filter_still_reaches_the_decoded_scan() {
    let fixture = Fixture::new().await;
    let session = fixture.session(SessionConfig::new().with_target_partitions(1));
    let sql = "select a.id, b.n from things a join things b on a.id = b.id where a.id between 10 and 20";
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let decoded = round_trip(&fixture, plan);
    let batches = collect(decoded.clone(), session.task_ctx()).await.unwrap();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 11);
    // The probe side read what the join told it to, not all its rows.
    let mut least = usize::MAX;
    let mut filters = 0;
    decoded
        .apply(|node| {
            if node.name() == "DataSourceExec" {
                least = least.min(node.metrics().unwrap().output_rows().unwrap());
                filters += text(node).matches("DynamicFilter").count();
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
    assert!(filters > 0 && least < 1000, "{least} rows, {}", text(&decoded));
}

#[tokio::test]
async fn bytes_of_another_format_are_refused() {
    use datafusion_proto::physical_plan::PhysicalExtensionCodec;
    let fixture = Fixture::new().await;
    let codec = TarnCodec::new(fixture.context.clone());
    let task = fixture.session(SessionConfig::new()).task_ctx();
    let converter = DeduplicatingProtoConverter::default();
    let future = codec.try_decode(&[0x08, 0x63], &[], &task, &converter).unwrap_err();
    assert!(future.to_string().contains("format 99"), "{future}");
    assert!(codec.try_decode(b"\xff\xff", &[], &task, &converter).is_err());
}
