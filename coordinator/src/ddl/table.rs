//! Tables as a whole.

use tarn_catalog::command::{PartitionSpec, TableSpec};
use tarn_catalog::{Operation, Partitioning, Response, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::{DatabaseId, TableId};
use tarn_sql::{CreateTable, Ident, ObjectName};

use super::create::lower;
use super::names::check_name;
use crate::session::{Error, SessionContext};

/// `CREATE TABLE`
pub async fn create(context: &SessionContext, create: &CreateTable) -> Result<(), Error> {
    let database = context.database_of(&create.name)?.id;
    let spec = lower(create, context.catalog.storage_nodes().count())?;
    propose(context, database, spec, create.if_not_exists).await?;
    Ok(())
}

/// Creates a table from its specification. Returns the one that has its name now.
pub async fn propose(
    context: &SessionContext,
    database: DatabaseId,
    spec: TableSpec,
    if_not_exists: bool,
) -> Result<TableId, Error> {
    let (table, placement) = (Box::new(spec), context.shared.catalog.placement_soon().await);
    match context.propose(Operation::CreateTable { database, table, if_not_exists, placement }).await? {
        Response::Table(table) => Ok(table),
        other => Err(Error::Internal(format!("unexpected answer to CreateTable: {other:?}"))),
    }
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
    let spec = spec_like(&*context.table(like)?, name.name());
    propose(context, database, spec, if_not_exists).await?;
    Ok(())
}

/// An empty table of the same kind, with the same declared partitions. Those that loads have made are not copied.
pub fn spec_like(table: &Table, name: &str) -> TableSpec {
    let partitions = match table.partitioning {
        Partitioning::None | Partitioning::Expression(_) => Vec::new(),
        Partitioning::Range(_) => partition_specs(table),
    };
    TableSpec {
        name: name.to_owned(),
        schema: table.schema.clone(),
        columns: table.columns.clone(),
        explicit_sort_key: table.explicit_sort_key,
        partitioning: table.partitioning.clone(),
        distribution: table.distribution.clone(),
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
