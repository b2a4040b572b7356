//! Columns of a table to be created. Pure.

use std::collections::BTreeMap;

use tarn_catalog::{ColumnInfo, DefaultValue};
use tarn_proto::{Column, ColumnId, DataType, TableModel};
use tarn_sql::{ColumnDef, ColumnDefault, Ident};

use super::model::Keys;
use super::names::check_name;
use super::{literal, model};
use crate::session::Error;

/// A table's columns, checked.
pub struct Columns {
    /// In the declared order, with ids from 1.
    pub columns: Vec<Column>,
    /// Defaults and comments of those that have one.
    pub infos: BTreeMap<ColumnId, ColumnInfo>,
}

impl Columns {
    /// The column with this name, in any case.
    pub fn get(&self, name: &Ident) -> Result<&Column, Error> {
        self.columns
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(&name.name))
            .ok_or_else(|| Error::at(name.at, format!("column `{}` does not exist", name.name)))
    }

    /// The columns with these names, whose types must have an order. `what` names their use.
    pub fn keys(&self, names: &[Ident], what: &str) -> Result<Vec<ColumnId>, Error> {
        check_distinct(names, what)?;
        names
            .iter()
            .map(|name| {
                let column = self.get(name)?;
                if column.data_type.is_key() {
                    return Ok(column.id);
                }
                let t = &column.data_type;
                Err(Error::at(name.at, format!("column `{}` is of type {t}, which cannot be a {what}", column.name)))
            })
            .collect()
    }
}

/// Refuses a name that is there twice.
pub fn check_distinct(names: &[Ident], what: &str) -> Result<(), Error> {
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|other| other.name.eq_ignore_ascii_case(&name.name)) {
            return Err(Error::at(name.at, format!("{what} `{}` is there twice", name.name)));
        }
    }
    Ok(())
}

/// Checks declared columns of a table of `keys`.
pub fn lower(declared: &[ColumnDef], keys: &Keys) -> Result<Columns, Error> {
    let mut lowered = Columns { columns: Vec::with_capacity(declared.len()), infos: BTreeMap::new() };
    for (def, id) in declared.iter().zip(1..) {
        if lowered.columns.iter().any(|c| c.name.eq_ignore_ascii_case(&def.name.name)) {
            return Err(Error::at(def.name.at, format!("column `{}` is there twice", def.name.name)));
        }
        let (model, is_key) = (keys.model, keys.contains(&def.name));
        let (column, info) = match def.auto_increment {
            true => auto_increment(def, ColumnId(id), model, is_key)?,
            false => column(def, ColumnId(id), model, is_key)?,
        };
        let is_second =
            def.auto_increment && lowered.infos.values().any(|i| i.default == Some(DefaultValue::AutoIncrement));
        if is_second {
            let message = format!("column `{}` is the second AUTO_INCREMENT column: a table has one", def.name.name);
            return Err(Error::at(def.name.at, message));
        }
        if info != ColumnInfo::default() {
            lowered.infos.insert(column.id, info);
        }
        lowered.columns.push(column);
    }
    Ok(lowered)
}

/// Checks a column whose values the table gives.
fn auto_increment(
    def: &ColumnDef,
    id: ColumnId,
    model: TableModel,
    is_key: bool,
) -> Result<(Column, ColumnInfo), Error> {
    let wrong = |at, why: &str| Err(Error::at(at, format!("AUTO_INCREMENT column `{}` {why}", def.name.name)));
    if def.data_type != DataType::BigInt {
        return wrong(def.type_at, &format!("is of type {}: its type is BIGINT", def.data_type));
    }
    if def.nullable == Some(true) {
        return wrong(def.name.at, "cannot be NULL: write NOT NULL, or leave NULL out");
    }
    if def.default.is_some() {
        return wrong(def.name.at, "has a DEFAULT, which it would never take: leave it out");
    }
    if def.aggregation.is_some() {
        return wrong(def.name.at, "has an aggregation: its values are told apart, not brought together");
    }
    let plain = ColumnDef { auto_increment: false, nullable: Some(false), ..def.clone() };
    let (column, info) = column(&plain, id, model, is_key)?;
    Ok((column, ColumnInfo { default: Some(DefaultValue::AutoIncrement), ..info }))
}

/// Checks one declared column of a table of a model.
pub fn column(def: &ColumnDef, id: ColumnId, model: TableModel, is_key: bool) -> Result<(Column, ColumnInfo), Error> {
    check_name(&def.name, "column")?;
    let aggregation = model::aggregation(def, model, is_key)?;
    if def.auto_increment {
        let message = format!(
            "column `{}` is AUTO_INCREMENT, which only columns of a new table can be: leave it out",
            def.name.name
        );
        return Err(Error::at(def.name.at, message));
    }
    if def.generated_as.is_some() {
        return Err(Error::not_yet(def.name.at, "generated columns are"));
    }
    let nullable = model::nullable(def, model, is_key)?;
    let info = ColumnInfo { default: default(def, nullable)?, comment: def.comment.clone().unwrap_or_default() };
    let (name, data_type) = (def.name.name.clone(), def.data_type.clone());
    Ok((Column { id, name, data_type, nullable, aggregation, initial: None }, info))
}

fn default(def: &ColumnDef, nullable: bool) -> Result<Option<DefaultValue>, Error> {
    let wrong = |at, why: String| Error::at(at, format!("default of column `{}`: {why}", def.name.name));
    match &def.default {
        None => Ok(None),
        Some(ColumnDefault::Null) if nullable => Ok(None),
        Some(ColumnDefault::Null) => Err(wrong(def.name.at, "NULL, but the column is NOT NULL".to_owned())),
        Some(ColumnDefault::CurrentTimestamp) if def.data_type == DataType::DateTime => {
            Ok(Some(DefaultValue::CurrentTimestamp))
        }
        Some(ColumnDefault::CurrentTimestamp) => {
            Err(wrong(def.name.at, format!("CURRENT_TIMESTAMP is for DATETIME, not for {}", def.data_type)))
        }
        Some(ColumnDefault::Expr(text)) => {
            Err(Error::not_yet(def.name.at, &format!("computed defaults like ({text}) are")))
        }
        Some(ColumnDefault::Value(literal)) => literal::default(&literal.text, &def.data_type)
            .map(|text| Some(DefaultValue::Constant(text)))
            .map_err(|why| wrong(literal.at, why)),
    }
}
