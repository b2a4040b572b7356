//! Databases, tables and views.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use tarn_catalog::{Catalog, Relation, Table};
use tarn_proto::Column;

use super::super::error::Error;
use super::super::wire;
use super::pattern::matches;
use super::types::TypeText;
use super::{CATALOG, catalog_matches};
use crate::engine::Session;

/// What `TABLE_TYPE` says of stored tables.
const TABLE: &str = "TABLE";
/// What it says of views.
const VIEW: &str = "VIEW";

pub(crate) fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, Error> {
    let mut builder = command.into_builder();
    builder.append(CATALOG);
    Ok(builder.build()?)
}

pub(crate) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, Error> {
    let mut builder = command.into_builder();
    builder.append(TABLE);
    builder.append(VIEW);
    Ok(builder.build()?)
}

pub(crate) fn databases(command: CommandGetDbSchemas, catalog: &Catalog) -> Result<RecordBatch, Error> {
    let passes = catalog_matches(command.catalog.as_deref());
    let filter = command.db_schema_filter_pattern.clone();
    let unfiltered = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let mut builder = unfiltered.into_builder();
    for database in catalog.databases().filter(|_| passes) {
        if filter.as_ref().is_none_or(|pattern| matches(pattern, &database.name)) {
            builder.append(CATALOG, &database.name);
        }
    }
    Ok(builder.build()?)
}

/// Tables and views that pass the filters; a view's columns are known by planning it in `session`.
pub(crate) async fn tables(
    command: CommandGetTables,
    catalog: &Catalog,
    session: &dyn Session,
) -> Result<RecordBatch, Error> {
    let CommandGetTables {
        catalog: catalog_filter,
        db_schema_filter_pattern: database_filter,
        table_name_filter_pattern: table_filter,
        table_types,
        include_schema,
    } = command;
    let passes = |filter: &Option<String>, name: &str| filter.as_ref().is_none_or(|pattern| matches(pattern, name));
    let typed = |name: &str| table_types.is_empty() || table_types.iter().any(|t| t == name);
    let unfiltered = CommandGetTables { include_schema, ..CommandGetTables::default() };
    let mut builder = unfiltered.into_builder();
    let databases = catalog.databases().filter(|_| catalog_matches(catalog_filter.as_deref()));
    for database in databases.filter(|d| passes(&database_filter, &d.name)) {
        for relation in catalog.relations(database.id) {
            let (name, table_type) = match relation {
                Relation::Table(table) => (&table.name, TABLE),
                Relation::View(view) => (&view.name, VIEW),
            };
            if !typed(table_type) || !passes(&table_filter, name) {
                continue;
            }
            let schema = match relation {
                _ if !include_schema => Schema::empty(),
                Relation::Table(table) => described(table, &database.name),
                Relation::View(_) => view_schema(session, &database.name, name).await,
            };
            builder.append(CATALOG, &database.name, name, table_type, &schema)?;
        }
    }
    Ok(builder.build()?)
}

/// A table's schema with what drivers show of its columns.
fn described(table: &Table, database: &str) -> Schema {
    let schema = wire::table_schema(&table.schema.to_arrow());
    let fields = schema.fields().iter().zip(&table.schema.columns).map(|(field, column)| {
        let comment = table.columns.get(&column.id).map_or("", |info| info.comment.as_str());
        let mut metadata = field.metadata().clone();
        metadata.extend(column_metadata(column, database, &table.name, comment));
        field.as_ref().clone().with_metadata(metadata)
    });
    Schema::new(fields.collect::<Vec<Field>>())
}

/// The keys are Flight SQL's.
fn column_metadata(column: &Column, database: &str, table: &str, comment: &str) -> HashMap<String, String> {
    let text = TypeText::of(&column.data_type);
    let mut metadata = HashMap::new();
    let mut put = |key: &str, value: String| metadata.insert(format!("ARROW:FLIGHT:SQL:{key}"), value);
    put("CATALOG_NAME", CATALOG.to_owned());
    put("SCHEMA_NAME", database.to_owned());
    put("TABLE_NAME", table.to_owned());
    put("TYPE_NAME", text.name);
    put("IS_AUTO_INCREMENT", "0".to_owned());
    put("IS_CASE_SENSITIVE", if column.data_type.is_text() { "1" } else { "0" }.to_owned());
    put("IS_READ_ONLY", "0".to_owned());
    put("IS_SEARCHABLE", "1".to_owned());
    if let Some(precision) = text.precision {
        put("PRECISION", precision.to_string());
    }
    if let Some(scale) = text.scale {
        put("SCALE", scale.to_string());
    }
    if !comment.is_empty() {
        put("REMARKS", comment.to_owned());
    }
    metadata
}

/// A view that does not plan any more is listed without columns: one broken view must not hide all other tables.
async fn view_schema(session: &dyn Session, database: &str, view: &str) -> Schema {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let sql = format!("SELECT * FROM {}.{}", quoted(database), quoted(view));
    match session.prepare(&sql).await {
        Ok(prepared) => wire::table_schema(&prepared.schema),
        Err(e) => {
            tracing::info!(database, view, error = %e, "view listed without columns");
            Schema::empty()
        }
    }
}
