//! What a load into a PRIMARY KEY table does to rows that are there: which columns it changes, and when its rows count.
//! Pure.

use tarn_catalog::Table;
use tarn_gateway::engine::UpdateOptions;
use tarn_proto::storage::{PartialUpdate, UpdateMode};
use tarn_proto::{Column, ColumnId, DataType, TableModel};

use crate::ddl::model_kind;
use crate::session::{Error, Variables};

/// What a load does that has the columns at the positions `given`. `partial`: columns that it does not have keep their
/// values in rows that are there; else they get what new rows get. `None` if whole rows take the place of those that are
/// there, whatever these hold.
pub(super) fn of_load(
    table: &Table,
    given: &[usize],
    partial: Option<UpdateMode>,
    condition: Option<&str>,
) -> Result<Option<PartialUpdate>, Error> {
    let schema = &table.schema;
    let condition = condition.map(|name| condition_column(table, name)).transpose()?;
    let is_given = |(position, column): &(usize, &Column)| {
        partial.is_none() || given.contains(position) || schema.keys.contains(&column.id)
    };
    let columns: Vec<ColumnId> =
        schema.columns.iter().enumerate().filter(is_given).map(|(_, column)| column.id).collect();
    if columns.len() == schema.columns.len() && condition.is_none() {
        return Ok(None);
    }
    if let Some(condition) = condition.filter(|column| !columns.contains(&column.id)) {
        return Err(Error::Invalid(format!(
            "the merge condition is on column `{}` of table `{}`, which the load does not have: add it to the load's columns",
            condition.name, table.name
        )));
    }
    let mode = partial.unwrap_or_default();
    Ok(Some(PartialUpdate { columns, mode, condition: condition.map(|column| column.id), only_existing: false }))
}

/// What a session says of its `INSERT`s into a table.
pub(super) fn of_session(table: &Table, variables: &Variables) -> UpdateOptions {
    let is_keyed = table.schema.model == TableModel::PrimaryKey;
    UpdateOptions {
        partial: is_keyed.then(|| variables.partial_update_mode(UpdateMode::Row)),
        merge_condition: variables.merge_condition().map(str::to_owned),
    }
}

fn condition_column<'a>(table: &'a Table, name: &str) -> Result<&'a Column, Error> {
    let refused = |problem: String| Error::Invalid(format!("merge condition column `{name}`: {problem}"));
    if table.schema.model != TableModel::PrimaryKey {
        let (table, kind) = (&table.name, model_kind(table.schema.model));
        return Err(refused(format!(
            "conditional updates are for PRIMARY KEY tables, and `{table}` is a {kind} table: load it without \
             merge_condition"
        )));
    }
    let found = table.schema.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    let column = found.ok_or_else(|| refused(format!("table `{}` has no such column", table.name)))?;
    if table.schema.keys.contains(&column.id) {
        return Err(refused("it is of the primary key, by which rows are found: name a value column".to_owned()));
    }
    match column.data_type {
        DataType::Json | DataType::Varbinary | DataType::Array(_) | DataType::Map(..) | DataType::Struct(_) => Err(
            refused(format!("values of {} have no order: name a column of numbers, times or texts", column.data_type)),
        ),
        _ => Ok(column),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::table_of;

    const TABLE: &str = "create table t (k int, l int, v int, w varchar(9), d json) primary key (k, l)";

    fn ids(table: &Table, names: &[&str]) -> Vec<ColumnId> {
        names.iter().map(|name| table.schema.column(name).unwrap().id).collect()
    }

    #[test]
    fn an_update_has_the_key_and_what_is_given() {
        let table = table_of(TABLE);
        let update = of_load(&table, &[3, 0], Some(UpdateMode::Column), None).unwrap().unwrap();
        assert_eq!((update.columns, update.mode), (ids(&table, &["k", "l", "w"]), UpdateMode::Column));
        assert!(!update.only_existing && update.condition.is_none());
        assert_eq!(of_load(&table, &[0, 1, 2, 3, 4], Some(UpdateMode::Row), None).unwrap(), None, "whole rows");
        assert_eq!(of_load(&table, &[0, 1], None, None).unwrap(), None, "the others get their defaults");
    }

    #[test]
    fn a_condition_is_on_a_value_column_that_the_load_has() {
        let table = table_of(TABLE);
        let whole = of_load(&table, &[0], None, Some("V")).unwrap().unwrap();
        assert_eq!((whole.columns.len(), whole.condition), (5, table.schema.column("v").map(|c| c.id)));
        let refused = |table: &str, given: &[usize], name| {
            let partial = Some(UpdateMode::Row);
            of_load(&table_of(table), given, partial, Some(name)).unwrap_err().to_string()
        };
        assert!(refused(TABLE, &[0, 1, 3], "v").contains("which the load does not have"));
        assert!(refused(TABLE, &[0, 1], "k").contains("it is of the primary key"));
        assert!(refused(TABLE, &[0, 1], "z").contains("has no such column"));
        assert!(refused(TABLE, &[0, 1, 4], "d").contains("have no order"));
        let unique = "create table t (k int, v int) unique key (k)";
        assert!(refused(unique, &[0, 1], "v").contains("conditional updates are for PRIMARY KEY tables"));
    }
}
