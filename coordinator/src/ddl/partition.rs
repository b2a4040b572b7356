//! Partitions of a table that exists.

use std::sync::Arc;

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Operation, Partition, Partitioning, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::Column;
use tarn_sql::{DropPartitions, Ident, ObjectName, PartitionDefs, Position, Property, ReplacePartitions};

use super::names::check_name;
use super::table::partition_specs;
use super::{lists, properties, ranges};
use crate::session::{Error, SessionContext};

/// `ALTER TABLE table ADD [TEMPORARY] PARTITION ..`, `ADD [TEMPORARY] PARTITIONS ..`
pub async fn add(
    context: &SessionContext,
    name: &ObjectName,
    temporary: bool,
    declared: &PartitionDefs,
    properties: &[Property],
) -> Result<(), Error> {
    properties::check_partition(properties)?;
    let table = context.table(name)?;
    let existing = if temporary { specs(table.temporary.values()) } else { partition_specs(&table) };
    let partitions = lower(&table, declared, existing, name.at())?;
    if partitions.is_empty() {
        return Ok(());
    }
    let (table, placement) = (table.id, context.shared.catalog.placement());
    context
        .propose(match temporary {
            true => Operation::AddTemporaryPartitions { table, partitions, placement },
            false => Operation::AddPartitions { table, partitions, fail_if_exists: true, placement },
        })
        .await?;
    Ok(())
}

/// The partitions to add beside `existing` ones of their kind. Pure.
pub fn lower(
    table: &Table,
    declared: &PartitionDefs,
    existing: Vec<PartitionSpec>,
    at: Position,
) -> Result<Vec<PartitionSpec>, Error> {
    let columns = match &table.partitioning {
        Partitioning::None => {
            return Err(Error::at(at, format!("table `{}` is not partitioned", table.name)));
        }
        Partitioning::Expression(_) => {
            let message =
                format!("partitions of table `{}` are made by loads, from its partition expression", table.name);
            return Err(Error::at(at, message));
        }
        Partitioning::Range(columns) | Partitioning::List(columns) => columns,
    };
    let columns: Vec<&Column> =
        columns.iter().filter_map(|id| table.schema.index_of(*id)).map(|index| &table.schema.columns[index]).collect();
    match (&table.partitioning, declared) {
        (Partitioning::List(_), PartitionDefs::List(declared)) => lists::lower(declared, &columns, &existing),
        (Partitioning::List(_), PartitionDefs::Range(_)) => {
            Err(Error::at(at, format!("table `{}` is partitioned by list: use VALUES IN", table.name)))
        }
        (_, PartitionDefs::Range(declared)) => ranges::lower(declared, &columns, existing),
        (_, PartitionDefs::List(_)) => {
            Err(Error::at(at, format!("table `{}` is partitioned by range: use VALUES LESS THAN", table.name)))
        }
    }
}

fn specs<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Vec<PartitionSpec> {
    partitions.map(|p| PartitionSpec { name: p.name.clone(), bounds: p.bounds.clone() }).collect()
}

/// `ALTER TABLE table DROP [TEMPORARY] PARTITION[S] ..`
pub async fn drop(context: &SessionContext, drop: &DropPartitions) -> Result<(), Error> {
    let table = context.table(&drop.table)?;
    if !drop.if_exists {
        for name in &drop.names {
            let found = if drop.temporary { existing_temporary(&table, name) } else { existing(&table, name) };
            found?;
        }
    }
    let names = drop.names.iter().map(|name| name.name.clone()).collect();
    let (temporary, if_exists) = (drop.temporary, drop.if_exists);
    context.propose(Operation::DropPartitions { table: table.id, names, temporary, if_exists }).await?;
    Ok(())
}

/// `ALTER TABLE table REPLACE PARTITION (..) WITH TEMPORARY PARTITION (..)`
pub async fn replace(context: &SessionContext, replace: &ReplacePartitions) -> Result<(), Error> {
    let table = context.table(&replace.table)?;
    for name in &replace.partitions {
        existing(&table, name)?;
    }
    for name in &replace.temporary {
        existing_temporary(&table, name)?;
    }
    let (mut strict_range, mut temporary_names) = (true, false);
    for property in &replace.properties {
        match property.name.trim().to_ascii_lowercase().as_str() {
            "strict_range" => strict_range = properties::switch(property)?,
            "use_temp_partition_name" => temporary_names = properties::switch(property)?,
            _ => {
                let message = format!(
                    "unknown property `{}`: REPLACE PARTITION takes `strict_range` and `use_temp_partition_name`",
                    property.name
                );
                return Err(Error::at(property.at, message));
            }
        }
    }
    let names = |idents: &[Ident]| idents.iter().map(|ident| ident.name.clone()).collect();
    let operation = Operation::ReplacePartitions {
        table: table.id,
        partitions: names(&replace.partitions),
        temporary: names(&replace.temporary),
        strict_range,
        temporary_names,
    };
    context.propose(operation).await?;
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

/// The temporary partition of this name.
pub fn existing_temporary<'a>(table: &'a Table, name: &Ident) -> Result<&'a Arc<Partition>, Error> {
    table.temporary_partition(&name.name).ok_or_else(|| {
        let (table, partition) = (table.name.clone(), name.name.clone());
        Error::Catalog { source: tarn_catalog::Error::UnknownTemporaryPartition { table, partition }, at: name.at }
    })
}
