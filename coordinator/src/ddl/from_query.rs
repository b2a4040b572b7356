//! Tables whose columns come from rows: `CREATE TABLE AS SELECT`, and bulk ingest.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use tarn_catalog::{Operation, Relation};
use tarn_gateway::engine::{BatchStream, EngineError, IfTable, IngestRequest, Outcome, Result};
use tarn_proto::DataType;
use tarn_proto::schema::TYPE_KEY;
use tarn_sql::{ColumnDef, CreateTable, CreateTableAsSelect, Ident, Insert, ObjectName, Position, Statement};
use tracing::warn;

use super::{create, table};
use crate::insert::{self, IngestTarget};
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
        return Ok(Outcome::Affected { rows: Some(0), message: "the table exists already".to_owned() });
    }
    let prepared = query::prepare(context, &Statement::Query(query.clone())).await?;
    declared.columns = column_defs(&prepared.schema, &columns, declared.name.at())?;
    let spec = create::lower(&declared, context.catalog.storage_nodes().count())?;
    table::propose(context, database, spec, false).await?;
    let insert = Insert {
        table: declared.name.clone(),
        columns: Vec::new(),
        label: None,
        partitions: Vec::new(),
        overwrite: false,
        source: query,
    };
    let loaded = insert::run(&context.refreshed(), &insert, parameters).await;
    if loaded.is_err() {
        drop_again(context, &declared.name).await;
    }
    loaded
}

/// Loads batches into a table, which is made if the request says so.
pub async fn ingest(
    context: &SessionContext,
    request: IngestRequest,
    schema: SchemaRef,
    batches: BatchStream,
) -> Result<u64> {
    let IngestRequest { database, table, if_absent, if_exists, label } = request;
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
            insert::ingest(context, IngestTarget { table: context.table(&name)?, label }, schema, batches).await
        }
        (true, _, IfTable::Replace) => replace(context, &name, label, schema, batches).await,
        (true, ..) => Err(Error::TableExists(name.name().to_owned()).into()),
        (false, IfTable::Create, _) => {
            let made = make(context, &name, &schema).await?;
            let loaded =
                insert::ingest(&made, IngestTarget { table: made.table(&name)?, label }, schema, batches).await;
            if loaded.is_err() {
                drop_again(context, &name).await;
            }
            loaded
        }
        (false, ..) => {
            let source = tarn_catalog::Error::UnknownTable(name.name().to_owned());
            Err(Error::Catalog { source, at: name.at() }.into())
        }
    }
}

/// Loads into a new table beside the old one, which then gives way. Whoever reads meanwhile sees one or the other, but
/// for the moment between them.
async fn replace(
    context: &SessionContext,
    name: &ObjectName,
    label: Option<String>,
    schema: SchemaRef,
    batches: BatchStream,
) -> Result<u64> {
    let database = context.database_of(name)?.id;
    let mut beside = name.clone();
    if let Some(last) = beside.parts.last_mut() {
        last.name = format!("__tarn_replacing_{}_{}", last.name, context.query_id());
    }
    let made = make(context, &beside, &schema).await?;
    let target = IngestTarget { table: made.table(&beside)?, label };
    let loaded = insert::ingest(&made, target, schema, batches).await;
    let swapped = match loaded {
        Ok(rows) => {
            let old = Operation::DropTable { database, name: name.name().to_owned(), if_exists: true };
            let new =
                Operation::RenameTable { database, name: beside.name().to_owned(), new_name: name.name().to_owned() };
            match context.propose(old).await {
                Ok(_) => context.propose(new).await.map(|_| rows).map_err(EngineError::from),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error),
    };
    if swapped.is_err() {
        drop_again(context, &beside).await;
    }
    swapped
}

/// Creates a table with the rows' columns. Returns the statement over the catalog that has it.
async fn make(context: &SessionContext, name: &ObjectName, schema: &SchemaRef) -> Result<SessionContext> {
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
    let spec = create::lower(&declared, context.catalog.storage_nodes().count())?;
    table::propose(context, database, spec, false).await?;
    Ok(context.refreshed())
}

async fn drop_again(context: &SessionContext, name: &ObjectName) {
    let Ok(database) = context.database_of(name).map(|d| d.id) else { return };
    let operation = Operation::DropTable { database, name: name.name().to_owned(), if_exists: true };
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
                nullable: Some(field.is_nullable()),
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
