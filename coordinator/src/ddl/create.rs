//! `CREATE TABLE` to a table specification. Pure.

use tarn_catalog::command::TableSpec;
use tarn_proto::{Column, ColumnId, SchemaVersion, TableModel, TableSchema};
use tarn_sql::{ColumnDef, CreateTable, Ident, Model, ModelKind};

use super::columns::{self, Columns};
use super::names::check_name;
use super::{distribution, partitioning, properties};
use crate::session::Error;

/// Key columns of a table that declares none: at most so many ...
const DEFAULT_KEY_COLUMNS: usize = 3;
/// ... of so many bytes, as in StarRocks.
const DEFAULT_KEY_BYTES: u32 = 36;

/// Checks the statement and lowers it, for a cluster of `storage_nodes`.
pub fn lower(table: &CreateTable, storage_nodes: usize) -> Result<TableSpec, Error> {
    let name = table.name.ident();
    check_name(name, "table")?;
    if let Some(engine) = table.engine.as_ref().filter(|e| !e.eq_ignore_ascii_case("olap")) {
        return Err(Error::at(name.at, format!("engine `{engine}` is not available: leave ENGINE out")));
    }
    if let Some(index) = table.indexes.first() {
        return Err(Error::not_yet(index.name.at, "indexes are"));
    }
    if table.columns.is_empty() {
        return Err(Error::at(name.at, format!("table `{}` has no columns", name.name)));
    }
    // Other models have column forms of their own, so they are named first.
    if let Some(model) = table.model.as_ref().filter(|m| m.kind != ModelKind::Duplicate) {
        return Err(Error::at(
            model.at,
            format!("{} tables are not available yet: use DUPLICATE KEY, or leave the clause out", model.kind),
        ));
    }
    let columns = columns::lower(&table.columns)?;
    let keys = keys(table.model.as_ref(), &table.columns, &columns)?;
    let sort_key = match &table.order_by[..] {
        [] => keys.clone(),
        names => columns.keys(names, "sort key")?,
    };
    let (partitioning, partitions) = partitioning::lower(table.partition.as_ref(), &columns)?;
    let distribution = distribution::lower(table.distribution.as_ref(), &columns, storage_nodes)?;
    Ok(TableSpec {
        name: name.name.clone(),
        schema: TableSchema {
            version: SchemaVersion(1),
            model: TableModel::Duplicate,
            columns: columns.columns,
            keys,
            sort_key,
        },
        columns: columns.infos,
        explicit_sort_key: !table.order_by.is_empty(),
        partitioning,
        distribution,
        properties: properties::lower(&table.properties)?,
        comment: table.comment.clone().unwrap_or_default(),
        partitions,
    })
}

fn keys(model: Option<&Model>, defs: &[ColumnDef], columns: &Columns) -> Result<Vec<ColumnId>, Error> {
    let marked: Vec<Ident> = defs.iter().filter(|def| def.key).map(|def| def.name.clone()).collect();
    let names = match model {
        Some(model) => {
            let same = |a: &Ident, b: &Ident| a.name.eq_ignore_ascii_case(&b.name);
            if let Some(extra) = marked.iter().find(|name| !model.keys.iter().any(|key| same(key, name))) {
                let message = format!("column `{}` is marked KEY but is not among those of {}", extra.name, model.kind);
                return Err(Error::at(extra.at, message));
            }
            &model.keys
        }
        None if marked.is_empty() => return Ok(default_keys(&columns.columns)),
        None => &marked,
    };
    let keys = columns.keys(names, "key column")?;
    for ((key, column), name) in keys.iter().zip(&columns.columns).zip(names) {
        if *key != column.id {
            let message = format!(
                "key columns are the table's first columns in their order: `{}` stands where column `{}` is",
                name.name, column.name
            );
            return Err(Error::at(name.at, message));
        }
    }
    Ok(keys)
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
