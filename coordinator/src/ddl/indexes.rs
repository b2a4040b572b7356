//! Indexes of tables: what `INDEX ..` and `bloom_filter_columns` declare. Pure.

use tarn_catalog::index_refusal;
use tarn_proto::{Column, ColumnId, Index, IndexKind, TableSchema};
use tarn_sql::{Ident, Index as Declared, Property};

use super::names::check_name;
use crate::session::Error;

/// The property that names the columns with bloom filters.
pub const BLOOM_FILTER_COLUMNS: &str = "bloom_filter_columns";

/// Kinds of indexes that StarRocks has and Tarn does not yet.
const NOT_YET: [&str; 3] = ["NGRAMBF", "GIN", "VECTOR"];

/// The indexes that a new table's statement declares.
pub fn lower(schema: &TableSchema, declared: &[Declared], bloom: Option<&Property>) -> Result<Vec<Index>, Error> {
    let mut so_far = schema.clone();
    for declared in declared {
        let index = bitmap(&so_far, declared)?;
        if let Some(why) = index_refusal(&so_far, &index) {
            return Err(Error::at(declared.name.at, why));
        }
        so_far.indexes.push(index);
    }
    let Some(property) = bloom else { return Ok(so_far.indexes) };
    for column in bloom_columns(schema, property)? {
        let (name, comment) = (String::new(), String::new());
        let index = Index { name, column, kind: IndexKind::Bloom, comment };
        if let Some(why) = index_refusal(&so_far, &index) {
            return Err(Error::at(property.at, why));
        }
        so_far.indexes.push(index);
    }
    Ok(so_far.indexes)
}

/// A declared index, whose column is there. Whether the table may have it is not checked.
pub fn bitmap(schema: &TableSchema, declared: &Declared) -> Result<Index, Error> {
    let name = &declared.name;
    check_name(name, "index")?;
    match declared.using.as_deref() {
        None | Some("BITMAP") => {}
        Some(kind) if NOT_YET.contains(&kind) => {
            return Err(Error::not_yet(name.at, &format!("{kind} indexes are")));
        }
        Some(kind) => {
            return Err(Error::at(
                name.at,
                format!("unsupported index type {kind} of index `{}`: use BITMAP", name.name),
            ));
        }
    }
    if let Some(property) = declared.properties.first() {
        let message = format!("BITMAP index `{}` takes no properties: leave out `{}`", name.name, property.name);
        return Err(Error::at(property.at, message));
    }
    let [column] = &declared.columns[..] else {
        let message =
            format!("bitmap index can only apply to one column: make one for each column of index `{}`", name.name);
        return Err(Error::at(name.at, message));
    };
    let column = existing(schema, column)?.id;
    let comment = declared.comment.clone().unwrap_or_default();
    Ok(Index { name: name.name.clone(), column, kind: IndexKind::Bitmap, comment })
}

fn existing<'a>(schema: &'a TableSchema, name: &Ident) -> Result<&'a Column, Error> {
    schema
        .column(&name.name)
        .ok_or_else(|| Error::at(name.at, format!("column `{}` of the index does not exist", name.name)))
}

/// The columns that `bloom_filter_columns` names; none if it is empty.
pub fn bloom_columns(schema: &TableSchema, property: &Property) -> Result<Vec<ColumnId>, Error> {
    let names = property.value.split(',').map(str::trim);
    if property.value.trim().is_empty() {
        return Ok(Vec::new());
    }
    let column = |name: &str| match schema.column(name) {
        Some(column) => Ok(column.id),
        None => Err(Error::at(property.at, format!("Invalid bloom filter column '{name}': not exists"))),
    };
    names.map(column).collect()
}

/// The value of `bloom_filter_columns` of a table, if it has such columns.
pub fn shown_bloom_columns(schema: &TableSchema) -> Option<String> {
    let blooms = schema.indexes.iter().filter(|index| index.kind == IndexKind::Bloom);
    let names: Vec<&str> = blooms
        .filter_map(|index| schema.index_of(index.column))
        .map(|position| schema.columns[position].name.as_str())
        .collect();
    (!names.is_empty()).then(|| names.join(","))
}
