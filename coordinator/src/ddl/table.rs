//! Tables as a whole.

use std::sync::Arc;

use tarn_catalog::command::{PartitionSpec, TableSpec};
use tarn_catalog::{Catalog, Command, Context, Operation, Partitioning, Response, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::{DatabaseId, TableId};
use tarn_sql::{CreateTable, Ident, ObjectName, Property};
use tracing::warn;

use super::create::lower;
use super::lifetime::RETENTION;
use super::names::check_name;
use super::replicas::StorageNodes;
use super::volume;
use crate::reconcile::partitions;
use crate::session::{Error, SessionContext};

/// `CREATE TABLE`
pub async fn create(context: &SessionContext, create: &CreateTable) -> Result<(), Error> {
    let database = context.database_of(&create.name)?.id;
    let spec = lower(create, &StorageNodes::of(context).await)?;
    propose(context, database, spec, create.if_not_exists, &create.properties).await?;
    Ok(())
}

/// The catalog as it would be with the table, which is there to be asked about. `None` where it cannot be made: then making
/// it tells why.
fn imagined(context: &SessionContext, database: DatabaseId, spec: &TableSpec) -> Option<(Catalog, Arc<Table>)> {
    let mut catalog = context.catalog.clone();
    let placement = catalog.storage_nodes().map(|node| node.id).collect();
    let table = Box::new(spec.clone());
    let operation = Operation::CreateTable { database, table, if_not_exists: false, placement };
    let command = Command { request_id: uuid::Uuid::new_v4().as_u128(), operation };
    let Response::Table(table) = catalog.apply(&command, &Context { now_ms: 0 }) else { return None };
    let table = catalog.table_by_id(table)?.clone();
    Some((catalog, table))
}

/// Creates a table from its specification, with the partitions that its rule makes ahead. `declared` is where errors about
/// properties point. Returns the table that has its name now.
pub async fn propose(
    context: &SessionContext,
    database: DatabaseId,
    spec: TableSpec,
    if_not_exists: bool,
    declared: &[Property],
) -> Result<TableId, Error> {
    let planner = &context.shared.planner;
    let mut spec = spec;
    volume::place(&context.catalog, &mut spec);
    if spec.properties.contains_key(RETENTION)
        && let Some((catalog, table)) = imagined(context, database, &spec)
    {
        partitions::check(planner, &catalog, &table, declared).await?;
    }
    let (table, placement) = (Box::new(spec), context.shared.catalog.placement_soon().await);
    let table = match context.propose(Operation::CreateTable { database, table, if_not_exists, placement }).await? {
        Response::Table(table) => table,
        other => return Err(Error::Internal(format!("unexpected answer to CreateTable: {other:?}"))),
    };
    if let Err(error) = partitions::follow(&context.shared.catalog, planner, table).await {
        // The table is there, and the leader goes on.
        warn!(%table, %error, "partitions of a new table are made later");
    }
    Ok(table)
}

/// `CREATE TABLE name LIKE other`
pub async fn create_like(
    context: &SessionContext,
    if_not_exists: bool,
    name: &ObjectName,
    like: &ObjectName,
) -> Result<(), Error> {
    check_name(name.ident(), "table")?;
    let database = context.database_of(name)?.id;
    let table = context.table(like)?;
    let group = table.colocation.and_then(|group| context.catalog.colocation_groups.get(&group));
    let spec = TableSpec { colocate_with: group.map(|group| group.name.clone()), ..spec_like(&table, name.name()) };
    propose(context, database, spec, if_not_exists, &[]).await?;
    Ok(())
}

/// An empty table of the same kind, with the same declared partitions and in no colocation group. Partitions that loads have
/// made are not copied.
pub fn spec_like(table: &Table, name: &str) -> TableSpec {
    let partitions = match table.partitioning {
        Partitioning::None | Partitioning::Expression(_) => Vec::new(),
        Partitioning::Range(_) | Partitioning::List(_) => partition_specs(table),
    };
    TableSpec {
        name: name.to_owned(),
        schema: table.schema.clone(),
        columns: table.columns.clone(),
        explicit_sort_key: table.explicit_sort_key,
        partitioning: table.partitioning.clone(),
        distribution: table.distribution.clone(),
        replication: table.replication,
        colocate_with: None,
        properties: table.properties.clone(),
        comment: table.comment.clone(),
        partitions,
    }
}

/// Names and bounds of a table's partitions, in order of the bounds.
pub fn partition_specs(table: &Table) -> Vec<PartitionSpec> {
    let mut partitions: Vec<PartitionSpec> =
        table.partitions.values().map(|p| PartitionSpec { name: p.name.clone(), bounds: p.bounds.clone() }).collect();
    partitions.sort_by(|a, b| a.bounds.cmp(&b.bounds));
    partitions
}

/// `DROP TABLE`
pub async fn drop(context: &SessionContext, if_exists: bool, name: &ObjectName) -> Result<(), Error> {
    let database = match context.database_of(name) {
        // No database, so no table in it.
        Err(Error::Catalog { source: tarn_catalog::Error::UnknownDatabase(_), .. }) if if_exists => return Ok(()),
        other => other?.id,
    };
    if !if_exists {
        context.table(name)?;
    }
    context.propose(Operation::DropTable { database, name: name.name().to_owned(), if_exists, only: None }).await?;
    Ok(())
}

/// `TRUNCATE TABLE name [PARTITION (..)]`
pub async fn truncate(context: &SessionContext, name: &ObjectName, partitions: &[Ident]) -> Result<(), Error> {
    let table = context.table(name)?;
    for partition in partitions {
        super::partition::existing(&table, partition)?;
    }
    let partitions = partitions.iter().map(|p| p.name.clone()).collect();
    let placement = context.shared.catalog.placement();
    context.propose(Operation::TruncateTable { table: table.id, partitions, placement }).await?;
    Ok(())
}

/// `ALTER TABLE name RENAME to`
pub async fn rename(context: &SessionContext, name: &ObjectName, to: &Ident) -> Result<(), Error> {
    check_name(to, "table")?;
    let table = context.table(name)?;
    let (database, name, new_name) = (table.database, table.name.clone(), to.name.clone());
    context.propose(Operation::RenameTable { database, name, new_name }).await?;
    Ok(())
}
