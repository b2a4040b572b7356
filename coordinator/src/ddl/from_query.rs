//! Tables whose columns come from rows: `CREATE TABLE AS SELECT`, and bulk ingest.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use tarn_catalog::{Operation, Relation, Table};
use tarn_gateway::engine::{BatchStream, EngineError, IfTable, IngestRequest, Outcome, Result, UpdateOptions};
use tarn_proto::schema::TYPE_KEY;
use tarn_proto::{DataType, TableId};
use tarn_sql::{
    ColumnDef, CreateTable, CreateTableAsSelect, Ident, Insert, ModelKind, ObjectName, Position, Statement,
};
use tracing::warn;

use super::replicas::StorageNodes;
use super::{create, table};
use crate::insert::{self, Failed, IngestTarget};
use crate::query;
use crate::session::{Error, SessionContext};

/// Creates the table, then loads the query's rows. If that fails the table goes again.
pub async fn create_table_as_select(
    context: &SessionContext,
    statement: CreateTableAsSelect,
    parameters: Option<&RecordBatch>,
) -> Result<Outcome> {
    let CreateTableAsSelect { table: mut declared, columns, query } = statement;
    let database = context.database_of(&declared.name)?.id;
    if context.catalog.relation(database, declared.name.name()).is_some() && declared.if_not_exists {
        let message = "the table exists already".to_owned();
        return Ok(Outcome::Affected { rows: Some(0), message, repeated: false });
    }
    if let Some(model) = declared.model.as_ref().filter(|m| m.kind == ModelKind::Aggregate) {
        let message = "CREATE TABLE AS SELECT cannot say how an AGGREGATE KEY table's columns are aggregated: create the \
                       table first, then INSERT";
        return Err(Error::at(model.at, message).into());
    }
    let prepared = query::prepare(context, &Statement::Query(query.clone())).await?;
    declared.columns = column_defs(&prepared.schema, &columns, declared.name.at())?;
    let spec = create::lower(&declared, &StorageNodes::of(context).await)?;
    let made = table::propose(context, database, spec, false, &declared.properties).await?;
    let insert = Insert {
        table: declared.name.clone(),
        columns: Vec::new(),
        label: None,
        partitions: Vec::new(),
        temporary: false,
        overwrite: false,
        source: query,
    };
    match insert::load(&context.refreshed(), &insert, parameters).await {
        Ok(outcome) => Ok(outcome),
        Err(failed) => Err(give_up(context, &declared.name, made, failed).await),
    }
}

/// Loads batches into a table, which is made if the request says so.
pub async fn ingest(
    context: &SessionContext,
    request: IngestRequest,
    schema: SchemaRef,
    batches: BatchStream,
) -> Result<u64> {
    let IngestRequest { database, table, if_absent, if_exists, label, update } = request;
    let parts = database.into_iter().chain([table]).map(Ident::new).collect();
    let name = ObjectName { parts };
    let database = context.database_of(&name)?.id;
    let exists = match context.catalog.relation(database, name.name()) {
        None => false,
        Some(Relation::Table(_)) => true,
        Some(Relation::View(view)) => {
            let source = tarn_catalog::Error::IsView(view.name.clone());
            return Err(Error::Catalog { source, at: name.at() }.into());
        }
    };
    match (exists, if_absent, if_exists) {
        (true, _, IfTable::Append) => {
            let target = IngestTarget { table: context.table(&name)?, label, update };
            let loaded = insert::ingest(context, target, schema, batches).await;
            loaded.map(|outcome| outcome.rows).map_err(|failed| failed.error)
        }
        (true, _, IfTable::Replace) => replace(context, &name, label, schema, batches).await,
        (true, ..) => Err(Error::TableExists(name.name().to_owned()).into()),
        (false, IfTable::Create, _) => {
            let (made, table) = make(context, &name, &schema).await?;
            let id = table.id;
            match insert::ingest(
                &made,
                IngestTarget { table, label, update: UpdateOptions::default() },
                schema,
                batches,
            )
            .await
            {
                Ok(outcome) if outcome.repeated => {
                    drop_again(context, &name, id).await;
                    Err(loaded_elsewhere(&outcome).into())
                }
                Ok(outcome) => Ok(outcome.rows),
                Err(failed) => Err(give_up(context, &name, id, failed).await),
            }
        }
        (false, ..) => {
            let source = tarn_catalog::Error::UnknownTable(name.name().to_owned());
            Err(Error::Catalog { source, at: name.at() }.into())
        }
    }
}

/// How the hidden names begin of tables that are loaded beside those they will replace.
const HIDDEN: &str = "__tarn_replacing_";

/// The table beside `name` that a statement loads.
pub fn hidden_name(name: &str, query_id: &str) -> String {
    format!("{HIDDEN}{name}_{query_id}")
}

/// The name of the table that a hidden one is to replace.
pub fn hidden_for(name: &str) -> Option<&str> {
    let (name, query_id) = name.strip_prefix(HIDDEN)?.rsplit_once('_')?;
    uuid::Uuid::try_parse(query_id).is_ok().then_some(name)
}

/// Loads into a new table beside the old one, which then gives way. Whoever reads meanwhile sees one or the other.
async fn replace(
    context: &SessionContext,
    name: &ObjectName,
    label: Option<String>,
    schema: SchemaRef,
    batches: BatchStream,
) -> Result<u64> {
    let mut beside = name.clone();
    if let Some(last) = beside.parts.last_mut() {
        last.name = hidden_name(&last.name, context.query_id());
    }
    let (made, table) = make(context, &beside, &schema).await?;
    let new = table.id;
    match insert::ingest(&made, IngestTarget { table, label, update: UpdateOptions::default() }, schema, batches).await
    {
        Ok(outcome) if outcome.repeated => {
            drop_again(context, &beside, new).await;
            replaced_before(&context.refreshed(), name, outcome).await
        }
        Ok(outcome) => match swap(context, name, new).await {
            Ok(()) => Ok(outcome.rows),
            Err(error) => {
                // After a lost answer it may be in its place, or be brought there by the same label.
                if !error.kind().is_retryable() {
                    drop_again(context, &beside, new).await;
                }
                Err(error.into())
            }
        },
        Err(failed) => Err(give_up(context, &beside, new, failed).await),
    }
}

/// Puts a table in the place of the one that bears the name for this statement.
async fn swap(context: &SessionContext, name: &ObjectName, new: TableId) -> std::result::Result<(), Error> {
    let database = context.database_of(name)?.id;
    let old = context.catalog.relation(database, name.name()).map(Relation::id);
    context.propose(Operation::ReplaceTable { old, new, name: name.name().to_owned() }).await?;
    Ok(())
}

/// What a replacement comes to whose label has been used: the table that was loaded under it is in its place, or gets
/// there now, or there is none.
async fn replaced_before(context: &SessionContext, name: &ObjectName, outcome: tarn_ingest::Outcome) -> Result<u64> {
    let database = context.database_of(name)?.id;
    let loaded = context.catalog.transaction(outcome.txn).and_then(|txn| context.catalog.table_by_id(txn.table));
    match loaded.filter(|table| table.database == database) {
        Some(table) if table.name == name.name() => Ok(outcome.rows),
        Some(table) if hidden_for(&table.name) == Some(name.name()) => {
            swap(context, name, table.id).await?;
            Ok(outcome.rows)
        }
        _ => Err(loaded_elsewhere(&outcome).into()),
    }
}

fn loaded_elsewhere(outcome: &tarn_ingest::Outcome) -> Error {
    Error::LabelUsed { label: outcome.label.clone(), txn: outcome.txn }
}

/// Creates a table with the rows' columns. Returns it, and the statement over the catalog that has it.
async fn make(context: &SessionContext, name: &ObjectName, schema: &SchemaRef) -> Result<(SessionContext, Arc<Table>)> {
    let database = context.database_of(name)?.id;
    let declared = CreateTable {
        if_not_exists: false,
        name: name.clone(),
        columns: column_defs(schema, &[], name.at())?,
        indexes: Vec::new(),
        engine: None,
        model: None,
        comment: None,
        partition: None,
        distribution: None,
        order_by: Vec::new(),
        properties: Vec::new(),
    };
    let spec = create::lower(&declared, &StorageNodes::of(context).await)?;
    let id = table::propose(context, database, spec, false, &[]).await?;
    let made = context.refreshed();
    match made.catalog.table_by_id(id).cloned() {
        Some(table) => Ok((made, table)),
        None => Err(Error::Catalog { source: tarn_catalog::Error::TableGone(id), at: name.at() }.into()),
    }
}

/// Drops a table that was made for a load that failed, unless its rows may be there.
async fn give_up(context: &SessionContext, name: &ObjectName, made: TableId, failed: Failed) -> EngineError {
    if failed.unclear {
        warn!(table = name.name(), id = %made, "a new table stays: whether its load was committed is not known");
    } else {
        drop_again(context, name, made).await;
    }
    failed.error
}

/// Drops a table that this statement has made, and no other that has its name by now.
async fn drop_again(context: &SessionContext, name: &ObjectName, made: TableId) {
    let Ok(database) = context.database_of(name).map(|d| d.id) else { return };
    let operation = Operation::DropTable { database, name: name.name().to_owned(), if_exists: true, only: Some(made) };
    if let Err(error) = context.propose(operation).await {
        warn!(table = name.name(), %error, "a table whose load failed could not be dropped again");
    }
}

/// Columns that hold rows of `schema`, named by `names` or the rows. Pure.
pub fn column_defs(schema: &SchemaRef, names: &[Ident], at: Position) -> std::result::Result<Vec<ColumnDef>, Error> {
    if !names.is_empty() && names.len() != schema.fields().len() {
        let (named, given) = (names.len(), schema.fields().len());
        return Err(Error::at(at, format!("the statement names {named} columns, its query has {given}")));
    }
    schema
        .fields()
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let name = names.get(i).cloned().unwrap_or_else(|| Ident { name: field.name().clone(), at });
            let data_type = declared_type(field).ok_or_else(|| {
                let message =
                    format!("column `{}` is of type {}, which no table can hold", name.name, field.data_type());
                Error::at(name.at, message)
            })?;
            Ok(ColumnDef {
                type_at: name.at,
                name,
                data_type,
                key: false,
                aggregation: None,
                // Left open where NULLs may come, so that key columns of a PRIMARY KEY table refuse them.
                nullable: (!field.is_nullable()).then_some(false),
                default: None,
                auto_increment: false,
                generated_as: None,
                comment: None,
            })
        })
        .collect()
}

/// The type that the field was declared with, or that holds its values.
pub fn declared_type(field: &Field) -> Option<DataType> {
    let declared = field.metadata().get(TYPE_KEY).and_then(|text| text.parse::<DataType>().ok());
    declared.filter(|t| t.to_arrow() == *field.data_type()).or_else(|| DataType::from_arrow(field.data_type()))
}

#[cfg(test)]
mod tests;
