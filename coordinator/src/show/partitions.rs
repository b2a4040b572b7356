//! `SHOW [TEMPORARY] PARTITIONS`.

use std::sync::Arc;

use tarn_catalog::{Bounds, Partition, PartitionExpr, Partitioning, Table, Value};
use tarn_proto::ColumnId;
use tarn_sql::ObjectName;

use super::format::{bytes, time};
use super::rows::Rows;
use super::scores::{Scores, compaction_scores};
use crate::session::{Error, SessionContext};

pub const HEADER: &[&str] = &[
    "PartitionId",
    "PartitionName",
    "VisibleVersion",
    "VisibleVersionTime",
    "State",
    "PartitionKey",
    "Range",
    "DistributionKey",
    "Buckets",
    "ReplicationNum",
    "DataSize",
    "RowCount",
    "AvgCS",
    "P50CS",
    "MaxCS",
];

pub async fn partitions(
    context: &SessionContext,
    rows: &mut Rows,
    temporary: bool,
    name: &ObjectName,
) -> Result<(), Error> {
    let table = context.table(name)?;
    let partition_key = match &table.partitioning {
        Partitioning::None => String::new(),
        Partitioning::Range(columns) | Partitioning::List(columns) => column_names(&table, columns),
        Partitioning::Expression(exprs) => {
            column_names(&table, &exprs.iter().map(PartitionExpr::column).collect::<Vec<_>>())
        }
    };
    let distribution = match &table.distribution.columns[..] {
        [] => "RANDOM".to_owned(),
        columns => column_names(&table, columns),
    };
    let partitions = if temporary { by_bounds(table.temporary.values()) } else { ordered(&table) };
    let scores = compaction_scores(context, &partitions).await;
    for partition in partitions {
        let scores = Scores::of(partition.tablets.iter().filter_map(|tablet| scores.get(&tablet.id).copied()));
        rows.push_nullable(vec![
            Some(partition.id.get().to_string()),
            Some(partition.name.clone()),
            Some(partition.visible_version.get().to_string()),
            Some(time(partition.visible_ms)),
            Some("NORMAL".to_owned()),
            Some(partition_key.clone()),
            Some(bounds(&partition.bounds)),
            Some(distribution.clone()),
            Some(partition.tablets.len().to_string()),
            Some(table.replication.to_string()),
            Some(bytes(partition.bytes)),
            Some(partition.rows.to_string()),
            scores.as_ref().map(|scores| format!("{:.2}", scores.average)),
            scores.as_ref().map(|scores| scores.median.to_string()),
            scores.as_ref().map(|scores| scores.most.to_string()),
        ]);
    }
    Ok(())
}

/// A table's partitions in order of their bounds.
pub fn ordered(table: &Table) -> Vec<Arc<Partition>> {
    by_bounds(table.partitions.values())
}

fn by_bounds<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Vec<Arc<Partition>> {
    let mut partitions: Vec<_> = partitions.cloned().collect();
    partitions.sort_by(|a, b| a.bounds.cmp(&b.bounds));
    partitions
}

fn column_names(table: &Table, ids: &[ColumnId]) -> String {
    let names = ids.iter().filter_map(|id| table.schema.index_of(*id)).map(|i| table.schema.columns[i].name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// `[("2024-01-01"), ("2024-02-01"))`, `(("a"), ("b"))`, or nothing.
fn bounds(bounds: &Bounds) -> String {
    let tuple = |values: &[Value]| {
        let texts: Vec<String> = values.iter().map(Value::to_string).collect();
        format!("({})", texts.join(", "))
    };
    match bounds {
        Bounds::All => String::new(),
        Bounds::Range { lower, upper } => {
            let lower = lower.as_deref().map_or_else(|| "(MINVALUE)".to_owned(), tuple);
            let upper = upper.as_deref().map_or_else(|| "(MAXVALUE)".to_owned(), tuple);
            format!("[{lower}, {upper})")
        }
        Bounds::List(keys) => format!("({})", keys.iter().map(|key| tuple(key)).collect::<Vec<_>>().join(", ")),
    }
}
