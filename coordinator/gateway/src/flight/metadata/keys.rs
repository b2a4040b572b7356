//! Primary keys of tables that enforce them. Foreign keys are not enforced, so there are none to tell.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::CommandGetPrimaryKeys;
use tarn_catalog::{Catalog, Relation};
use tarn_proto::TableModel;

use super::super::error::Error;
use super::{CATALOG, catalog_matches};

static PRIMARY: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

static FOREIGN: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

pub(crate) fn primary_schema() -> SchemaRef {
    Arc::clone(&PRIMARY)
}

pub(crate) fn foreign_schema() -> SchemaRef {
    Arc::clone(&FOREIGN)
}

pub(crate) fn foreign() -> RecordBatch {
    RecordBatch::new_empty(foreign_schema())
}

/// The columns, in order, whose values identify a row.
pub(crate) fn primary(command: &CommandGetPrimaryKeys, catalog: &Catalog) -> Result<RecordBatch, Error> {
    let mut rows: Vec<(String, String, i32)> = Vec::new();
    let databases = catalog.databases().filter(|_| catalog_matches(command.catalog.as_deref()));
    for database in databases.filter(|d| command.db_schema.as_ref().is_none_or(|name| *name == d.name)) {
        let Some(Relation::Table(table)) = catalog.relation(database.id, &command.table) else { continue };
        if !matches!(table.schema.model, TableModel::PrimaryKey | TableModel::Unique) {
            continue;
        }
        let names =
            table.schema.keys.iter().filter_map(|id| Some(&table.schema.columns[table.schema.index_of(*id)?].name));
        rows.extend(names.zip(1..).map(|(column, sequence)| (database.name.clone(), column.clone(), sequence)));
    }
    let n = rows.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![CATALOG; n])),
        Arc::new(rows.iter().map(|(database, ..)| Some(database)).collect::<StringArray>()),
        Arc::new(StringArray::from(vec![command.table.as_str(); n])),
        Arc::new(rows.iter().map(|(_, column, _)| Some(column)).collect::<StringArray>()),
        Arc::new(StringArray::from(vec!["PRIMARY"; n])),
        Arc::new(rows.iter().map(|(.., sequence)| *sequence).collect::<Int32Array>()),
    ];
    Ok(RecordBatch::try_new(primary_schema(), columns)?)
}
