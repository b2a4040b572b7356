//! Partitions of a table that exists.

use std::sync::Arc;

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Operation, Partition, Partitioning, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::Column;
use tarn_sql::{DropPartitions, Ident, ObjectName, PartitionDefs, Position, Property};

use super::names::check_name;
use super::table::partition_specs;
use super::{properties, ranges};
use crate::session::{Error, SessionContext};

/// `ALTER TABLE table ADD PARTITION ..`, `ADD PARTITIONS ..`
pub async fn add(
    context: &SessionContext,
    name: &ObjectName,
    declared: &PartitionDefs,
    properties: &[Property],
) -> Result<(), Error> {
    properties::check_partition(properties)?;
    let table = context.table(name)?;
    let partitions = lower(&table, declared, name.at())?;
    if partitions.is_empty() {
        return Ok(());
    }
    let placement = context.shared.catalog.placement();
    let operation = Operation::AddPartitions { table: table.id, partitions, fail_if_exists: true, placement };
    context.propose(operation).await?;
    Ok(())
}

/// The partitions to add. Pure.
pub fn lower(table: &Table, declared: &PartitionDefs, at: Position) -> Result<Vec<PartitionSpec>, Error> {
    let columns = match &table.partitioning {
        Partitioning::None => {
            return Err(Error::at(at, format!("table `{}` is not partitioned", table.name)));
        }
        Partitioning::Expression(_) => {
            let message =
                format!("partitions of table `{}` are made by loads, from its partition expression", table.name);
            return Err(Error::at(at, message));
        }
        Partitioning::Range(columns) => columns,
    };
    let PartitionDefs::Range(declared) = declared else {
        return Err(Error::at(at, format!("table `{}` is partitioned by range: use VALUES LESS THAN", table.name)));
    };
    let columns: Vec<&Column> =
        columns.iter().filter_map(|id| table.schema.index_of(*id)).map(|index| &table.schema.columns[index]).collect();
    ranges::lower(declared, &columns, partition_specs(table))
}

/// `ALTER TABLE table DROP PARTITION[S] ..`
pub async fn drop(context: &SessionContext, drop: &DropPartitions) -> Result<(), Error> {
    let table = context.table(&drop.table)?;
    if !drop.if_exists {
        for name in &drop.names {
            existing(&table, name)?;
        }
    }
    for name in &drop.names {
        let (table, name, if_exists) = (table.id, name.name.clone(), drop.if_exists);
        context.propose(Operation::DropPartition { table, name, if_exists }).await?;
    }
    Ok(())
}

/// `ALTER TABLE table RENAME PARTITION name to`
pub async fn rename(context: &SessionContext, table: &ObjectName, name: &Ident, to: &Ident) -> Result<(), Error> {
    check_name(to, "partition")?;
    let table = context.table(table)?;
    existing(&table, name)?;
    let (table, name, new_name) = (table.id, name.name.clone(), to.name.clone());
    context.propose(Operation::RenamePartition { table, name, new_name }).await?;
    Ok(())
}

/// The partition of this name.
pub fn existing<'a>(table: &'a Table, name: &Ident) -> Result<&'a Arc<Partition>, Error> {
    table.partition(&name.name).ok_or_else(|| Error::Catalog {
        source: tarn_catalog::Error::UnknownPartition { table: table.name.clone(), partition: name.name.clone() },
        at: name.at,
    })
}
