//! Columns and schemas of tables. A [`ColumnId`] binds stored data to a column for ever; names and order may change.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::types::ParseTypeError;
use crate::{ColumnId, DataType, SchemaVersion, wire};

/// One column, as storage and planner see it. Defaults and comments are the catalog's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Binds stored data.
    pub id: ColumnId,
    /// As declared.
    pub name: String,
    /// The declared type.
    pub data_type: DataType,
    /// Whether NULL is allowed.
    pub nullable: bool,
}

impl Column {
    /// The arrow field, by name.
    pub fn to_arrow(&self) -> Field {
        let field = Field::new(&self.name, self.data_type.to_arrow(), self.nullable);
        match self.data_type {
            // Declared types that share an arrow type are told apart by this key.
            DataType::Json | DataType::LargeInt | DataType::Char(_) | DataType::Varchar(_) => {
                field.with_metadata([(TYPE_KEY.to_owned(), self.data_type.to_string())].into())
            }
            _ => field,
        }
    }
}

/// Arrow field metadata that holds the declared type where the arrow type does not tell it.
pub const TYPE_KEY: &str = "tarn.type";

/// What storage knows of a table: its columns in order, and what rows are sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Counted from 1 with every schema change.
    pub version: SchemaVersion,
    /// In the declared order.
    pub columns: Vec<Column>,
    /// Rows of every segment are sorted by these columns, ascending, NULL first. May be empty.
    pub sort_key: Vec<ColumnId>,
}

impl TableSchema {
    /// The arrow schema, columns in declared order.
    pub fn to_arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::to_arrow).collect::<Vec<_>>()))
    }

    /// Position of the column with this id.
    pub fn index_of(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|c| c.id == id)
    }

    /// The column with this name, compared without case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }
}

/// A schema message that breaks the contract.
#[derive(Debug, thiserror::Error)]
pub enum WireSchemaError {
    /// A type text of a column.
    #[error("column `{column}` has an unknown type")]
    Type {
        /// The column's name.
        column: String,
        /// The text that is no type.
        #[source]
        source: ParseTypeError,
    },
    /// A sort key names a column that is not there.
    #[error("sort key names {0}, which is no column of the schema")]
    SortKey(ColumnId),
}

impl From<&TableSchema> for wire::TableSchema {
    fn from(schema: &TableSchema) -> Self {
        Self {
            version: schema.version.get(),
            columns: schema
                .columns
                .iter()
                .map(|c| wire::Column {
                    id: c.id.get(),
                    name: c.name.clone(),
                    r#type: c.data_type.to_string(),
                    nullable: c.nullable,
                })
                .collect(),
            sort_key: schema.sort_key.iter().map(|c| c.get()).collect(),
        }
    }
}

impl TryFrom<wire::TableSchema> for TableSchema {
    type Error = WireSchemaError;

    fn try_from(schema: wire::TableSchema) -> Result<Self, Self::Error> {
        let columns = schema
            .columns
            .into_iter()
            .map(|c| match c.r#type.parse() {
                Ok(data_type) => Ok(Column { id: ColumnId(c.id), name: c.name, data_type, nullable: c.nullable }),
                Err(source) => Err(WireSchemaError::Type { column: c.name, source }),
            })
            .collect::<Result<_, _>>()?;
        let schema = Self {
            version: SchemaVersion(schema.version),
            columns,
            sort_key: schema.sort_key.into_iter().map(ColumnId).collect(),
        };
        match schema.sort_key.iter().find(|id| schema.index_of(**id).is_none()) {
            Some(id) => Err(WireSchemaError::SortKey(*id)),
            None => Ok(schema),
        }
    }
}
