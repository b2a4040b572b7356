//! The query that finds the rows of a `DELETE` or `UPDATE`. Pure.

use tarn_catalog::Table;
use tarn_gateway::engine::Result;
use tarn_proto::storage::{PartialUpdate, UpdateMode};
use tarn_proto::{Column, TableModel};
use tarn_sql::ast::{Expr, Query, Select, SelectItem, SetExpr, TableFactor};
use tarn_sql::{Assignment, Delete, Ident, Position, Statement, Update, parse_one, quote_ident};

use crate::ddl::model_kind;
use crate::insert::{default_expr, is_default};
use crate::session::Error;

/// The number of a row among those that an `UPDATE`'s join gives for one key. No column of a table is expected to have
/// this name.
const MATCH: &str = "__tarn_match";

/// The rows that a `DELETE` of a table without a PRIMARY KEY matches, to be looked at: nothing is written of them.
pub fn matched(delete: &Delete, database: &str, table: &Table) -> Result<Query> {
    let columns: Vec<String> = table.schema.columns.iter().map(|column| own_column(database, table, column)).collect();
    let mut query = template(&format!("SELECT {} FROM {}", columns.join(", "), qualified(database, table)))?;
    select_of(&mut query)?.selection.clone_from(&delete.filter);
    Ok(query)
}

/// The keys, in order, of the rows of a PRIMARY KEY table that a `DELETE` deletes, each once.
pub fn deleted(delete: &Delete, database: &str, table: &Table) -> Result<Query> {
    let at = delete.table.at();
    if let Some(partition) = delete.partitions.first() {
        let message = "DELETE from chosen partitions is not available for PRIMARY KEY tables: write a condition on the \
                       partition columns";
        return Err(Error::at(partition.at, message).into());
    }
    if delete.filter.is_none() {
        let message =
            format!("DELETE without WHERE would empty table `{}`: use TRUNCATE TABLE, or write WHERE true", table.name);
        return Err(Error::at(at, message).into());
    }
    let keys = table.schema.keys.iter().filter_map(|key| table.schema.index_of(*key));
    let items: Vec<String> = keys.map(|i| own_column(database, table, &table.schema.columns[i])).collect();
    // A row that several others are joined to goes once.
    let distinct = if delete.using.is_empty() { "" } else { "DISTINCT " };
    let mut query = template(&format!("SELECT {distinct}{} FROM {}", items.join(", "), qualified(database, table)))?;
    let select = select_of(&mut query)?;
    select.from.extend(delete.using.iter().cloned());
    select.selection.clone_from(&delete.filter);
    query.with = delete.with.as_deref().cloned();
    Ok(query)
}

/// What an `UPDATE` writes of each row, one row for each key: the columns of the key and those that it assigns, in the
/// table's order.
///
/// If a join gives a row several new values, the row that is least by the assigned columns, in the table's order, is taken.
pub fn updated(update: &Update, database: &str, table: &Table, mode: UpdateMode) -> Result<(Query, PartialUpdate)> {
    let at = update.table.at();
    if table.schema.model != TableModel::PrimaryKey {
        return Err(no_primary_key(table, at).into());
    }
    let values = new_values(update, table)?;
    if update.filter.is_none() {
        let message =
            format!("UPDATE without WHERE would change every row of table `{}`: write WHERE true", table.name);
        return Err(Error::at(at, message).into());
    }
    let is_key = |column: &Column| table.schema.keys.contains(&column.id);
    let columns = table.schema.columns.iter().zip(values);
    let written: Vec<(&Column, Option<Expr>)> =
        columns.filter(|(column, value)| value.is_some() || is_key(column)).collect();
    let items: Vec<String> = written
        .iter()
        .map(|(column, value)| {
            // The values' place is held by NULL until the text is parsed.
            let own = if value.is_some() { "NULL".to_owned() } else { own_column(database, table, column) };
            format!("{own} AS {}", quote_ident(&column.name))
        })
        .collect();
    let found = format!("SELECT {} FROM {}", items.join(", "), qualified(database, table));
    let text = if update.from.is_empty() { found } else { one_of_each_key(&found, &written) };
    let columns = written.iter().map(|(column, _)| column.id).collect();
    // A row that was deleted meanwhile stays deleted.
    let partial = PartialUpdate { columns, mode, condition: None, only_existing: true };
    let mut query = template(&text)?;
    let mut select = select_of(&mut query)?;
    while let Some(TableFactor::Derived { .. }) = select.from.first().map(|from| &from.relation) {
        select = derived_of(select)?;
    }
    for (item, (_, value)) in select.projection.iter_mut().zip(written) {
        if let (SelectItem::ExprWithAlias { expr, .. }, Some(value)) = (item, value) {
            *expr = value;
        }
    }
    select.from.extend(update.from.iter().cloned());
    select.selection.clone_from(&update.filter);
    query.with = update.with.as_deref().cloned();
    Ok((query, partial))
}

/// The new value of each column that gets one.
fn new_values(update: &Update, table: &Table) -> Result<Vec<Option<Expr>>> {
    let mut values: Vec<Option<Expr>> = vec![None; table.schema.columns.len()];
    for Assignment { column: name, value } in &update.assignments {
        let index = position_of(table, name)?;
        let column = &table.schema.columns[index];
        if table.schema.keys.contains(&column.id) {
            let message = format!(
                "column `{}` is of the primary key, which cannot be updated: delete the row and insert it anew",
                column.name
            );
            return Err(Error::at(name.at, message).into());
        }
        if values[index].is_some() {
            return Err(Error::at(name.at, format!("column `{}` is assigned twice", column.name)).into());
        }
        let value = if is_default(value) { default_expr(table, column, name.at)? } else { value.clone() };
        values[index] = Some(value);
    }
    Ok(values)
}

fn position_of(table: &Table, name: &Ident) -> std::result::Result<usize, Error> {
    let found = table.schema.columns.iter().position(|c| c.name.eq_ignore_ascii_case(&name.name));
    found.ok_or_else(|| Error::at(name.at, format!("table `{}` has no column `{}`", table.name, name.name)))
}

/// Takes one row for each key of those that a query finds, always the same.
fn one_of_each_key(found: &str, written: &[(&Column, Option<Expr>)]) -> String {
    let names = |wanted: &dyn Fn(&Option<Expr>) -> bool| {
        let names = written.iter().filter(|(_, value)| wanted(value)).map(|(column, _)| quote_ident(&column.name));
        names.collect::<Vec<_>>().join(", ")
    };
    let (all, keys, assigned) = (names(&|_| true), names(&Option::is_none), names(&Option::is_some));
    format!(
        "SELECT {all} FROM (SELECT {all}, row_number() OVER (PARTITION BY {keys} ORDER BY {assigned}) AS {MATCH} \
         FROM ({found}) AS found) AS numbered WHERE {MATCH} = 1"
    )
}

fn no_primary_key(table: &Table, at: Position) -> Error {
    let (name, kind) = (&table.name, model_kind(table.schema.model));
    Error::at(
        at,
        format!(
            "UPDATE is for PRIMARY KEY tables, and `{name}` is a {kind} table: create the table with PRIMARY KEY, or \
             load the rows anew"
        ),
    )
}

/// The table's name, with its database: a common table expression may have the same.
fn qualified(database: &str, table: &Table) -> String {
    format!("{}.{}", quote_ident(database), quote_ident(&table.name))
}

fn own_column(database: &str, table: &Table, column: &Column) -> String {
    format!("{}.{}", qualified(database, table), quote_ident(&column.name))
}

/// The syntax tree of a text made here.
fn template(text: &str) -> std::result::Result<Query, Error> {
    match parse_one(text) {
        Ok(Statement::Query(query)) => Ok(*query),
        other => Err(Error::Internal(format!("not a query: {text}: {other:?}"))),
    }
}

fn select_of(query: &mut Query) -> std::result::Result<&mut Select, Error> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select.as_mut()),
        other => Err(Error::Internal(format!("not a SELECT: {other}"))),
    }
}

/// The `SELECT` in the first relation's parentheses.
fn derived_of(select: &mut Select) -> std::result::Result<&mut Select, Error> {
    match select.from.first_mut().map(|from| &mut from.relation) {
        Some(TableFactor::Derived { subquery, .. }) => select_of(subquery),
        _ => Err(Error::Internal("a query without its rows".to_owned())),
    }
}

#[cfg(test)]
mod tests;
