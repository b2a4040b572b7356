//! `SHOW ALTER TABLE COLUMN`: the last changes of tables' columns and indexes, and those that are under way.

use tarn_catalog::{Relation, Table};
use tarn_proto::SchemaVersion;
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
    let ended = table.history.changes.iter().map(|change| {
        let (state, progress) = match change.cancelled {
            Some(_) => ("CANCELLED", String::new()),
            None => ("FINISHED", "100%".to_owned()),
        };
        Change {
            id: change.id,
            created_ms: change.created_ms,
            ended_ms: Some(change.at_ms),
            version: change.version,
            state,
            message: change.cancelled.clone().unwrap_or_default(),
            progress,
            timeout_s: -1,
        }
    });
    let running = table.job.iter().map(|job| Change {
        id: job.id,
        created_ms: job.created_ms,
        ended_ms: None,
        version: job.rewrite().map_or(table.schema.version, |rewrite| rewrite.to.version),
        state: job.state(table),
        message: String::new(),
        progress: job.progress.map(|(done, all)| format!("{done}/{all}")).unwrap_or_default(),
        timeout_s: (job.expires_ms.saturating_sub(job.created_ms) / 1000) as i64,
    });
    ended.chain(running).map(|change| change.row(table)).collect()
}

/// A change of a table's columns, as it is shown.
struct Change {
    id: u64,
    created_ms: u64,
    ended_ms: Option<u64>,
    version: SchemaVersion,
    state: &'static str,
    message: String,
    progress: String,
    /// -1 of one that has ended.
    timeout_s: i64,
}

impl Change {
    fn row(self, table: &Table) -> Vec<String> {
        let id = table.id.get().to_string();
        vec![
            self.id.to_string(),
            table.name.clone(),
            format::time(self.created_ms),
            self.ended_ms.map(format::time).unwrap_or_default(),
            table.name.clone(),
            id.clone(),
            id,
            format!("{}:0", self.version.get()),
            "-1".to_owned(),
            self.state.to_owned(),
            self.message,
            self.progress,
            self.timeout_s.to_string(),
        ]
    }
}
