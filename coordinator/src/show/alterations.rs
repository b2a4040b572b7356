//! `SHOW ALTER TABLE COLUMN`: the last changes of tables' columns, all of which are finished.

use tarn_catalog::{Relation, Table};
use tarn_sql::{Ident, ShowAlterTable};

use super::format;
use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const HEADER: &[&str] = &[
    "JobId",
    "TableName",
    "CreateTime",
    "FinishTime",
    "IndexName",
    "IndexId",
    "OriginIndexId",
    "SchemaVersion",
    "TransactionId",
    "State",
    "Msg",
    "Progress",
    "Timeout",
];

/// Columns that hold numbers, by which they are sorted.
const NUMBERS: [&str; 5] = ["JobId", "IndexId", "OriginIndexId", "TransactionId", "Timeout"];

pub fn alterations(context: &SessionContext, rows: &mut Rows, show: &ShowAlterTable) -> Result<(), Error> {
    let database = match &show.database {
        Some(name) => {
            context.catalog.database(name.name()).map_err(|source| Error::Catalog { source, at: name.at() })?
        }
        None => context
            .catalog
            .database(context.database.as_deref().ok_or(Error::NoDatabase)?)
            .map_err(|source| Error::Catalog { source, at: tarn_sql::Position::default() })?,
    };
    let mut found: Vec<Vec<String>> = Vec::new();
    for relation in context.catalog.relations(database.id) {
        if let Relation::Table(table) = relation {
            found.extend(of_table(table));
        }
    }
    for (column, value) in &show.equal {
        let index = position(column)?;
        found.retain(|row| row[index].eq_ignore_ascii_case(value));
    }
    // The last named decides least, so that it is sorted by first.
    for (column, descending) in show.order_by.iter().rev() {
        let index = position(column)?;
        let number = |row: &Vec<String>| row[index].parse::<i64>().ok().filter(|_| NUMBERS.contains(&HEADER[index]));
        found.sort_by(|a, b| {
            let order = (number(a), &a[index]).cmp(&(number(b), &b[index]));
            if *descending { order.reverse() } else { order }
        });
    }
    found.truncate(show.limit.map_or(usize::MAX, |limit| limit as usize));
    for row in found {
        rows.push_nullable(row.into_iter().map(Some).collect());
    }
    Ok(())
}

fn position(column: &Ident) -> Result<usize, Error> {
    HEADER.iter().position(|name| name.eq_ignore_ascii_case(&column.name)).ok_or_else(|| {
        let message = format!("SHOW ALTER TABLE COLUMN has no column `{}`: it has {}", column.name, HEADER.join(", "));
        Error::at(column.at, message)
    })
}

fn of_table(table: &Table) -> Vec<Vec<String>> {
    let row = |change: &tarn_catalog::SchemaChange| {
        let (at, id) = (format::time(change.at_ms), table.id.get().to_string());
        vec![
            change.id.to_string(),
            table.name.clone(),
            at.clone(),
            at,
            table.name.clone(),
            id.clone(),
            id,
            format!("{}:0", change.version.get()),
            "-1".to_owned(),
            "FINISHED".to_owned(),
            String::new(),
            "100%".to_owned(),
            "-1".to_owned(),
        ]
    };
    table.history.changes.iter().map(row).collect()
}
