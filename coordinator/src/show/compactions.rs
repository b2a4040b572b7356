//! `SHOW COMPACTIONS`: what storage nodes merge, have merged lately, and were asked to merge.

use futures::future::join_all;
use tarn_catalog::Node;
use tarn_proto::TabletId;
use tarn_proto::storage::StoreError;
use tarn_proto::wire::{CompactionReport, CompactionState};
use tarn_sql::ObjectName;

use super::format::{bytes, time};
use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const HEADER: &[&str] = &[
    "BackendId",
    "JobId",
    "DbName",
    "TableName",
    "PartitionName",
    "TabletId",
    "Type",
    "State",
    "Rowsets",
    "Segments",
    "Rows",
    "DataSize",
    "OutputSegments",
    "OutputRows",
    "OutputSize",
    "ColumnGroups",
    "ReadSize",
    "PeakMemory",
    "StartTime",
    "FinishTime",
    "Error",
];

pub async fn compactions(context: &SessionContext, rows: &mut Rows, of: Option<&ObjectName>) -> Result<(), Error> {
    let of = of.map(|name| context.table(name)).transpose()?.map(|table| table.id);
    let nodes: Vec<_> = context.catalog.storage_nodes().collect();
    let answers = join_all(nodes.iter().map(|node| reports(context, node))).await;
    for (node, answer) in nodes.into_iter().zip(answers) {
        match answer {
            Ok(reports) => {
                for report in reports {
                    row(context, rows, node, &report, |table| of.is_none_or(|id| id == table));
                }
            }
            Err(error) => away(rows, node, &error),
        }
    }
    Ok(())
}

async fn reports(context: &SessionContext, node: &Node) -> Result<Vec<CompactionReport>, StoreError> {
    context.shared.catalog.stores().get(node.id, &node.address)?.compactions().await
}

/// A node that does not answer: what it does is not known.
fn away(rows: &mut Rows, node: &Node, error: &StoreError) {
    let mut row = vec![None; HEADER.len()];
    row[0] = Some(node.id.get().to_string());
    row[7] = Some("UNKNOWN".to_owned());
    row[HEADER.len() - 1] = Some(error.to_string());
    rows.push_nullable(row);
}

fn row(
    context: &SessionContext,
    rows: &mut Rows,
    node: &Node,
    report: &CompactionReport,
    is_wanted: impl Fn(tarn_proto::TableId) -> bool,
) {
    let catalog = &context.catalog;
    // Of a tablet that is dropped, or belongs to a change of columns that runs, only the number is known.
    let owner = catalog.tablets.get(&TabletId(report.tablet_id));
    let table = owner.and_then(|owner| catalog.table_by_id(owner.table));
    let partition = owner.zip(table).and_then(|(owner, table)| table.partition_by_id(owner.partition));
    if !is_wanted(table.map_or(tarn_proto::TableId(0), |table| table.id)) {
        return;
    }
    let database = table.and_then(|table| catalog.database_by_id(table.database));
    let began = report.started_unix_ms > 0;
    let number = |number: u64| began.then(|| number.to_string());
    let ended = |size: u64| (report.finished_unix_ms > 0).then(|| bytes(size));
    let at = |unix_ms: u64| (unix_ms > 0).then(|| time(unix_ms));
    rows.push_nullable(vec![
        Some(node.id.get().to_string()),
        number(report.id),
        database.map(|database| database.name.clone()),
        table.map(|table| table.name.clone()),
        partition.map(|partition| partition.name.clone()),
        Some(report.tablet_id.to_string()),
        Some(if report.manual { "MANUAL" } else { "AUTOMATIC" }.to_owned()),
        Some(state(report.state()).to_owned()),
        number(report.rowsets),
        number(report.segments),
        number(report.rows),
        began.then(|| bytes(report.bytes)),
        number(report.segments_out),
        number(report.rows_out),
        began.then(|| bytes(report.bytes_out)),
        number(report.column_groups),
        ended(report.bytes_read),
        ended(report.peak_memory),
        at(report.started_unix_ms),
        at(report.finished_unix_ms),
        Some(report.error.clone()).filter(|error| !error.is_empty()),
    ]);
}

const fn state(state: CompactionState) -> &'static str {
    match state {
        CompactionState::Pending => "PENDING",
        CompactionState::Running => "RUNNING",
        CompactionState::Finished => "FINISHED",
        CompactionState::Failed => "FAILED",
        CompactionState::Unspecified => "UNKNOWN",
    }
}
