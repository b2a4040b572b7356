//! Columns and schemas of tables. A [`ColumnId`] binds stored data to a column for ever; names and order may change.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::types::ParseTypeError;
use crate::{ColumnId, DataType, SchemaVersion, wire};

/// How rows with equal keys relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableModel {
    /// Every loaded row is kept.
    #[default]
    Duplicate,
    /// Rows with equal keys are aggregated, by each column's [`Aggregation`], when they are read.
    Aggregate,
    /// The last row of a key wins, merged when it is read: as `Aggregate` with [`Aggregation::Replace`] everywhere.
    Unique,
    /// The last row of a key wins, resolved when it is written.
    PrimaryKey,
}

impl TableModel {
    /// Whether a reader merges rows with equal keys.
    pub const fn merges_on_read(self) -> bool {
        matches!(self, Self::Aggregate | Self::Unique)
    }
}

/// What a value column's values of rows with equal keys become. Rows are ordered by the version that loaded them, then as
/// they arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregation {
    /// Their sum; NULLs do not count.
    Sum,
    /// The least that is not NULL.
    Min,
    /// The greatest that is not NULL.
    Max,
    /// The last.
    Replace,
    /// The last that is not NULL.
    ReplaceIfNotNull,
}

impl Aggregation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sum, Self::Min, Self::Max, Self::Replace, Self::ReplaceIfNotNull];

    /// Whether the last of the values counts, or the last that is not NULL: their order matters.
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Replace | Self::ReplaceIfNotNull)
    }

    /// As it is written in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Replace => "REPLACE",
            Self::ReplaceIfNotNull => "REPLACE_IF_NOT_NULL",
        }
    }

    /// The one with this name, compared without case.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(name))
    }
}

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
    /// Set for the value columns of [`TableModel::Aggregate`] and [`TableModel::Unique`].
    pub aggregation: Option<Aggregation>,
    /// What rows read that were written before the column was added: a constant's text in the column's type. `None`: NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
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

/// What an index is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IndexKind {
    /// The values of a segment and, for each, the rows that hold it.
    Bitmap,
    /// A bloom filter for each block of rows.
    Bloom,
}

impl IndexKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Bitmap, Self::Bloom];

    /// As it is written in SQL, and in the names of files in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "BITMAP",
            Self::Bloom => "BLOOM",
        }
    }

    /// The one with this name, compared without case.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// An index of a column. A column has at most one of a kind, so that the column and the kind name its files: what they hold
/// depends on nothing but the segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// As declared. Empty for those that are properties of the table (`bloom_filter_columns`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it indexes.
    pub column: ColumnId,
    /// What it is made of.
    pub kind: IndexKind,
    /// As declared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Arrow field metadata that holds the declared type where the arrow type does not tell it.
pub const TYPE_KEY: &str = "tarn.type";

/// What storage knows of a table: its columns in order, and what rows are sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Counted from 1 with every schema change.
    pub version: SchemaVersion,
    /// How rows with equal keys relate.
    pub model: TableModel,
    /// In the declared order.
    pub columns: Vec<Column>,
    /// Key columns. In a `Duplicate` table they may repeat, and there may be none.
    pub keys: Vec<ColumnId>,
    /// Rows of every segment are sorted by these columns, ascending, NULL first. May be empty. Where a reader merges
    /// ([`TableModel::merges_on_read`]), these are the keys in some order.
    pub sort_key: Vec<ColumnId>,
    /// Beside the short-key index and the zone maps, which all segments have. They follow columns, wherever they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
}

/// The column that may stand last in rows written to a [`TableModel::PrimaryKey`] table: what becomes of each row's key.
/// No column of a table has this name.
pub const OP: &str = "__op";
/// In [`OP`]: the row takes the place of the one with its key, if there is one.
pub const OP_UPSERT: i8 = 0;
/// In [`OP`]: the row with this key goes. The values beside the key are of their types, and mean nothing.
pub const OP_DELETE: i8 = 1;

impl TableSchema {
    /// The arrow schema, columns in declared order.
    pub fn to_arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::to_arrow).collect::<Vec<_>>()))
    }

    /// The arrow schema of rows that say what becomes of their keys: the columns, then [`OP`].
    pub fn to_arrow_with_op(&self) -> SchemaRef {
        let op = Field::new(OP, DataType::TinyInt.to_arrow(), false);
        Arc::new(Schema::new(self.columns.iter().map(Column::to_arrow).chain([op]).collect::<Vec<_>>()))
    }

    /// Position of the column with this id.
    pub fn index_of(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|c| c.id == id)
    }

    /// The index of this kind on a column.
    pub fn index_on(&self, column: ColumnId, kind: IndexKind) -> Option<&Index> {
        self.indexes.iter().find(|index| index.column == column && index.kind == kind)
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
    /// An aggregation of a column.
    #[error("column `{column}` has the unknown aggregation {name}")]
    Aggregation {
        /// The column's name.
        column: String,
        /// The text that is no aggregation.
        name: String,
    },
    /// A table model.
    #[error("{0} is no table model")]
    Model(i32),
    /// A key names a column that is not there.
    #[error("the keys name {0}, which is no column of the schema")]
    Key(ColumnId),
    /// A sort key names a column that is not there.
    #[error("sort key names {0}, which is no column of the schema")]
    SortKey(ColumnId),
    /// An index is on a column that is not there.
    #[error("index `{name}` is on {column}, which is no column of the schema")]
    IndexColumn {
        /// The index's name.
        name: String,
        /// What it is on.
        column: ColumnId,
    },
    /// A kind of index.
    #[error("{0} is no kind of index")]
    IndexKind(i32),
}

impl From<IndexKind> for wire::IndexKind {
    fn from(kind: IndexKind) -> Self {
        match kind {
            IndexKind::Bitmap => Self::Bitmap,
            IndexKind::Bloom => Self::Bloom,
        }
    }
}

impl TryFrom<wire::IndexKind> for IndexKind {
    type Error = WireSchemaError;

    fn try_from(kind: wire::IndexKind) -> Result<Self, Self::Error> {
        match kind {
            wire::IndexKind::Unspecified => Err(WireSchemaError::IndexKind(kind.into())),
            wire::IndexKind::Bitmap => Ok(Self::Bitmap),
            wire::IndexKind::Bloom => Ok(Self::Bloom),
        }
    }
}

impl From<TableModel> for wire::TableModel {
    fn from(model: TableModel) -> Self {
        match model {
            TableModel::Duplicate => Self::Duplicate,
            TableModel::Aggregate => Self::Aggregate,
            TableModel::Unique => Self::Unique,
            TableModel::PrimaryKey => Self::PrimaryKey,
        }
    }
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
                    aggregation: c.aggregation.map(Aggregation::name).unwrap_or_default().to_owned(),
                    initial: c.initial.clone(),
                })
                .collect(),
            model: wire::TableModel::from(schema.model).into(),
            keys: schema.keys.iter().map(|c| c.get()).collect(),
            sort_key: schema.sort_key.iter().map(|c| c.get()).collect(),
            indexes: schema
                .indexes
                .iter()
                .map(|index| wire::Index {
                    name: index.name.clone(),
                    column: index.column.get(),
                    kind: wire::IndexKind::from(index.kind).into(),
                    comment: index.comment.clone(),
                })
                .collect(),
        }
    }
}

impl TryFrom<wire::TableSchema> for TableSchema {
    type Error = WireSchemaError;

    fn try_from(schema: wire::TableSchema) -> Result<Self, Self::Error> {
        let model = match schema.model() {
            wire::TableModel::Unspecified => return Err(WireSchemaError::Model(schema.model)),
            wire::TableModel::Duplicate => TableModel::Duplicate,
            wire::TableModel::Aggregate => TableModel::Aggregate,
            wire::TableModel::Unique => TableModel::Unique,
            wire::TableModel::PrimaryKey => TableModel::PrimaryKey,
        };
        let columns = schema
            .columns
            .into_iter()
            .map(|c| {
                let aggregation = match c.aggregation.as_str() {
                    "" => None,
                    name => match Aggregation::of_name(name) {
                        None => return Err(WireSchemaError::Aggregation { column: c.name, name: c.aggregation }),
                        some => some,
                    },
                };
                match c.r#type.parse() {
                    Ok(data_type) => Ok(Column {
                        id: ColumnId(c.id),
                        name: c.name,
                        data_type,
                        nullable: c.nullable,
                        aggregation,
                        initial: c.initial,
                    }),
                    Err(source) => Err(WireSchemaError::Type { column: c.name, source }),
                }
            })
            .collect::<Result<_, _>>()?;
        let indexes = schema
            .indexes
            .into_iter()
            .map(|index| {
                let kind = index.kind().try_into()?;
                Ok(Index { name: index.name, column: ColumnId(index.column), kind, comment: index.comment })
            })
            .collect::<Result<_, WireSchemaError>>()?;
        let schema = Self {
            version: SchemaVersion(schema.version),
            model,
            columns,
            keys: schema.keys.into_iter().map(ColumnId).collect(),
            sort_key: schema.sort_key.into_iter().map(ColumnId).collect(),
            indexes,
        };
        let unknown = |ids: &[ColumnId]| ids.iter().copied().find(|id| schema.index_of(*id).is_none());
        if let Some(id) = unknown(&schema.keys) {
            return Err(WireSchemaError::Key(id));
        }
        if let Some(id) = unknown(&schema.sort_key) {
            return Err(WireSchemaError::SortKey(id));
        }
        match schema.indexes.iter().find(|index| schema.index_of(index.column).is_none()) {
            Some(index) => Err(WireSchemaError::IndexColumn { name: index.name.clone(), column: index.column }),
            None => Ok(schema),
        }
    }
}
