//! `CREATE TABLE` to a table specification. Pure.

use tarn_catalog::command::TableSpec;
use tarn_proto::{Column, ColumnId, SchemaVersion, TableSchema};
use tarn_sql::CreateTable;

use super::columns::{self, Columns};
use super::indexes::{self, BLOOM_FILTER_COLUMNS};
use super::model::{self, Keys};
use super::names::check_name;
use super::replicas::{self, COLOCATE_WITH, REPLICATION_NUM, StorageNodes};
use super::{distribution, lifetime, partitioning, properties};
use crate::session::Error;

/// Key columns of a table that declares none: at most so many ...
const DEFAULT_KEY_COLUMNS: usize = 3;
/// ... of so many bytes, as in StarRocks.
const DEFAULT_KEY_BYTES: u32 = 36;

/// Checks the statement and lowers it, for a cluster with these storage nodes.
pub fn lower(table: &CreateTable, storage_nodes: &StorageNodes) -> Result<TableSpec, Error> {
    let name = table.name.ident();
    check_name(name, "table")?;
    if let Some(engine) = table.engine.as_ref().filter(|e| !e.eq_ignore_ascii_case("olap")) {
        return Err(Error::at(name.at, format!("engine `{engine}` is not available: leave ENGINE out")));
    }
    if table.columns.is_empty() {
        return Err(Error::at(name.at, format!("table `{}` has no columns", name.name)));
    }
    let keys = model::lower(table)?;
    let columns = columns::lower(&table.columns, &keys)?;
    let key_ids = key_ids(&keys, &columns)?;
    let sort_key = match &table.order_by[..] {
        [] => key_ids.clone(),
        names => columns.keys(names, "sort key")?,
    };
    model::check_clauses(table, &keys, &columns)?;
    let (partitioning, partitions) = partitioning::lower(table.partition.as_ref(), &columns)?;
    let mut distribution = distribution::lower(table.distribution.as_ref(), &columns, storage_nodes.registered)?;
    if table.distribution.is_none() {
        distribution.columns = model::default_bucket_columns(keys.model, &key_ids);
    }
    let properties = properties::lower(&table.properties)?;
    let mut schema = TableSchema {
        version: SchemaVersion(1),
        model: keys.model,
        columns: columns.columns,
        keys: key_ids,
        sort_key,
        indexes: Vec::new(),
    };
    schema.indexes = indexes::lower(&schema, &table.indexes, properties.own(BLOOM_FILTER_COLUMNS))?;
    lifetime::check(&properties.kept, &partitioning, &schema, &distribution, &table.properties)?;
    let storage_nodes = storage_nodes.meant(&table.properties)?;
    let replication = match properties.own(REPLICATION_NUM) {
        Some(declared) => {
            let replication = replicas::replication(declared)?;
            storage_nodes.check(&name.name, replication, declared.at)?;
            replication
        }
        None => storage_nodes.default_replication(),
    };
    let colocate_with = properties.own(COLOCATE_WITH).map(|group| group.value.trim().to_owned());
    Ok(TableSpec {
        name: name.name.clone(),
        schema,
        columns: columns.infos,
        explicit_sort_key: !table.order_by.is_empty(),
        partitioning,
        distribution,
        replication,
        colocate_with: colocate_with.filter(|group| !group.is_empty()),
        properties: properties.kept,
        comment: table.comment.clone().unwrap_or_default(),
        partitions,
    })
}

fn key_ids(keys: &Keys, columns: &Columns) -> Result<Vec<ColumnId>, Error> {
    let Some(names) = &keys.names else { return Ok(default_keys(&columns.columns)) };
    let ids = columns.keys(names, "key column")?;
    model::check_key_types(keys, columns)?;
    for ((key, column), name) in ids.iter().zip(&columns.columns).zip(names) {
        if *key != column.id {
            let message = format!(
                "key columns are the table's first columns in their order: `{}` stands where column `{}` is",
                name.name, column.name
            );
            return Err(Error::at(name.at, message));
        }
    }
    Ok(ids)
}

/// StarRocks' choice: the first columns that have an order, up to three and 36 bytes; text ends them.
fn default_keys(columns: &[Column]) -> Vec<ColumnId> {
    let mut keys = Vec::new();
    let mut bytes = 0;
    for column in columns.iter().take(DEFAULT_KEY_COLUMNS).take_while(|c| c.data_type.is_key()) {
        let is_text = column.data_type.is_text();
        bytes += if is_text { DEFAULT_KEY_BYTES } else { fixed_bytes(column) };
        if bytes > DEFAULT_KEY_BYTES && !is_text && !keys.is_empty() {
            break;
        }
        keys.push(column.id);
        if is_text {
            break;
        }
    }
    keys
}

const fn fixed_bytes(column: &Column) -> u32 {
    use tarn_proto::DataType::{BigInt, Boolean, Date, DateTime, Int, SmallInt, TinyInt};
    match column.data_type {
        Boolean | TinyInt => 1,
        SmallInt => 2,
        Int | Date => 4,
        BigInt | DateTime => 8,
        _ => 16,
    }
}
