//! What nodes' answers come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use tarn_catalog::command::{Alteration, JobStep};
use tarn_catalog::{Command, Context, Response, Role};
use tarn_proto::storage::{Converted, Progress};
use tarn_proto::{ColumnId, ErrorKind, NodeId};

use super::*;
use crate::ddl::spec_of;

/// A catalog with three nodes and a table of one tablet on each, whose sort key is being changed.
fn altered() -> (Catalog, Arc<Table>) {
    let mut catalog = Catalog::default();
    let mut requests = 0;
    let mut apply = |catalog: &mut Catalog, operation| {
        requests += 1;
        let response = catalog.apply(&Command { request_id: requests, operation }, &Context { now_ms: 0 });
        assert!(!matches!(response, Response::Refused(_)), "{response:?}");
        response
    };
    for number in 1..=3 {
        let (role, address) = (Role::Storage, format!("node-{number}:1"));
        apply(&mut catalog, Operation::RegisterNode { role, address, node_id: Some(NodeId(2000 + number)) });
    }
    let name = "d".to_owned();
    let Response::Database(database) = apply(&mut catalog, Operation::CreateDatabase { name, if_not_exists: false })
    else {
        panic!("no database");
    };
    let mut spec = spec_of("create table t (k int, v int) duplicate key (k) distributed by hash (k) buckets 2");
    spec.replication = 3;
    let placement = (1..=3).map(|number| NodeId(2000 + number)).collect();
    let create = Operation::CreateTable { database, table: Box::new(spec), if_not_exists: false, placement };
    let Response::Table(table) = apply(&mut catalog, create) else { panic!("no table") };
    let schema_version = catalog.table_by_id(table).unwrap().schema.version;
    let alterations = vec![Alteration::SetSortKey { columns: vec![ColumnId(2)] }];
    apply(&mut catalog, Operation::AlterTable { table, schema_version, alterations, timeout_ms: 60_000 });
    let job = catalog.table_by_id(table).unwrap().job.as_ref().unwrap().id;
    apply(&mut catalog, Operation::StepSchemaJob { table, job, step: JobStep::Prepare });
    let table = catalog.table_by_id(table).unwrap().clone();
    (catalog, table)
}

#[test]
fn a_job_is_done_when_a_quorum_of_each_tablet_says_so() {
    let (_, table) = altered();
    let mut answers = ask::Answers::none(&table);
    assert_eq!((answers.progress(), answers.all_done()), ((0, 2), false));
    let shadows = &table.job.as_ref().unwrap().rewrite().unwrap().shadows;
    let tablets: Vec<_> = shadows.values().flatten().map(|shadow| shadow.id).collect();
    let done = Progress::Done { rows: 5, bytes: 50 };
    let away = Progress::Failed { kind: ErrorKind::Unavailable, message: "not yet".to_owned() };
    for (node, of_first, of_second) in [(2001, &done, &Progress::Running), (2002, &done, &done), (2003, &away, &done)] {
        for (target, progress) in tablets.iter().zip([of_first, of_second]) {
            answers.enter(NodeId(node), &Converted { target: *target, progress: progress.clone() });
        }
        assert_eq!(answers.all_done(), node == 2003);
    }
    assert_eq!((answers.progress(), answers.refusal()), ((2, 2), None));
    let filled: BTreeMap<_, _> = answers.into_filled().into_iter().map(|filled| (filled.tablet, filled)).collect();
    assert_eq!(filled[&tablets[0]].nodes, [NodeId(2001), NodeId(2002)]);
    assert_eq!((filled[&tablets[1]].nodes.len(), filled[&tablets[1]].rows), (2, 5));
}

#[test]
fn a_value_that_does_not_fit_is_the_jobs_end() {
    let (_, table) = altered();
    let mut answers = ask::Answers::none(&table);
    let shadows = &table.job.as_ref().unwrap().rewrite().unwrap().shadows;
    let target = shadows.values().flatten().next().unwrap().id;
    for message in ["column `v`: value `x` is no value of int", "another"] {
        let progress = Progress::Failed { kind: ErrorKind::Invalid, message: message.to_owned() };
        answers.enter(NodeId(2001), &Converted { target, progress });
    }
    assert_eq!(answers.refusal(), Some("column `v`: value `x` is no value of int"));
}

#[test]
fn replaced_tablets_wait_for_open_transactions_that_are_older() {
    let (catalog, table) = altered();
    assert!(!can_release(&catalog, table.id), "there are none");
    assert_eq!(tables(&catalog).count(), 1);
}
