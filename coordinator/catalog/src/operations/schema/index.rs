//! Indexes of a table: what it may have, and how they come and go. Storage nodes make the files of those that are new.

use tarn_proto::index::Class;
use tarn_proto::{Column, ColumnId, DataType, Index, IndexKind, TableModel, TableSchema};

use super::Effect;
use crate::operations::check_name;
use crate::{Error, Table};

/// Why a table with this schema cannot have an index beside those that it has. In StarRocks' words where it has some.
pub fn index_refusal(schema: &TableSchema, index: &Index) -> Option<String> {
    let Some(position) = schema.index_of(index.column) else {
        return Some(format!("index `{}` is on {}, which is no column of the table", index.name, index.column));
    };
    let column = &schema.columns[position];
    match index.kind {
        IndexKind::Bitmap => bitmap_refusal(schema, index, column),
        IndexKind::Bloom => bloom_refusal(schema, column),
    }
}

fn bitmap_refusal(schema: &TableSchema, index: &Index, column: &Column) -> Option<String> {
    let bitmaps = || schema.indexes.iter().filter(|other| other.kind == IndexKind::Bitmap);
    if bitmaps().any(|other| other.name.eq_ignore_ascii_case(&index.name)) {
        return Some(format!("index `{}` already exist.", index.name));
    }
    if let Some(other) = bitmaps().find(|other| other.column == index.column) {
        return Some(format!("index for columns ({}) already exist: it is `{}`", column.name, other.name));
    }
    if Class::of(&column.data_type).is_none() {
        return Some(format!(
            "{} is not supported in bitmap index. invalid column: {}",
            column.data_type.to_string().to_uppercase(),
            column.name
        ));
    }
    let message = || {
        format!(
            "BITMAP index only used in columns of DUP_KEYS/PRIMARY_KEYS table or key columns of UNIQUE_KEYS/AGG_KEYS table. \
             invalid column: {}",
            column.name
        )
    };
    is_merged(schema, column).then(message)
}

fn bloom_refusal(schema: &TableSchema, column: &Column) -> Option<String> {
    if schema.index_on(column.id, IndexKind::Bloom).is_some() {
        return Some(format!("Duplicate bloom filter column '{}'", column.name));
    }
    let small = matches!(column.data_type, DataType::Boolean | DataType::TinyInt);
    if small || Class::of(&column.data_type).is_none() {
        return Some(format!(
            "Invalid bloom filter column '{}': unsupported type {}",
            column.name,
            column.data_type.to_string().to_uppercase()
        ));
    }
    let message = || {
        format!(
            "Bloom filter index only used in columns of DUP_KEYS/PRIMARY table or key columns of UNIQUE_KEYS/AGG_KEYS \
             table. invalid column: {}",
            column.name
        )
    };
    is_merged(schema, column).then(message)
}

/// Whether readers make one value of those of several rows: what a file holds says nothing of it then.
fn is_merged(schema: &TableSchema, column: &Column) -> bool {
    matches!(schema.model, TableModel::Aggregate | TableModel::Unique) && !schema.keys.contains(&column.id)
}

/// What is wrong with the indexes of a schema, if anything is.
pub(in crate::operations) fn check(schema: &TableSchema) -> Result<(), Error> {
    let mut so_far = TableSchema { indexes: Vec::new(), ..schema.clone() };
    for index in &schema.indexes {
        if let Some(why) = index_refusal(&so_far, index) {
            return Err(Error::Invalid(why));
        }
        so_far.indexes.push(index.clone());
    }
    Ok(())
}

impl Table {
    pub(super) fn add_index(&mut self, index: &Index) -> Result<Effect, Error> {
        check_name("index", &index.name)?;
        if let Some(why) = index_refusal(&self.schema, index) {
            return Err(Error::Alter(why));
        }
        self.schema.indexes.push(index.clone());
        Ok(Effect::Build)
    }

    pub(super) fn drop_index(&mut self, name: &str) -> Result<Effect, Error> {
        let named = |index: &Index| index.kind == IndexKind::Bitmap && index.name.eq_ignore_ascii_case(name);
        if !self.schema.indexes.iter().any(named) {
            return Err(Error::Alter(format!("index `{name}` does not exist in table `{}`", self.name)));
        }
        self.schema.indexes.retain(|index| !named(index));
        Ok(Effect::Instant)
    }

    /// Gives bloom filters to these columns and to no others.
    pub(super) fn set_bloom_columns(&mut self, columns: &[ColumnId]) -> Result<Effect, Error> {
        let before: Vec<ColumnId> = self.bloom_columns().collect();
        self.schema.indexes.retain(|index| index.kind != IndexKind::Bloom);
        for column in columns {
            let (name, comment) = (String::new(), String::new());
            let index = Index { name, column: *column, kind: IndexKind::Bloom, comment };
            if let Some(why) = index_refusal(&self.schema, &index) {
                return Err(Error::Alter(why));
            }
            self.schema.indexes.push(index);
        }
        let is_new = columns.iter().any(|column| !before.contains(column));
        Ok(if is_new { Effect::Build } else { Effect::Instant })
    }

    /// Columns with bloom filters, as they were declared.
    pub fn bloom_columns(&self) -> impl Iterator<Item = ColumnId> + '_ {
        self.schema.indexes.iter().filter(|index| index.kind == IndexKind::Bloom).map(|index| index.column)
    }
}
