//! `SHOW TABLES`.

use tarn_catalog::Relation;
use tarn_sql::ObjectName;

use super::pattern::Pattern;
use super::rows::Rows;
use crate::session::{Error, INFORMATION_SCHEMA, SessionContext, check_catalog};

/// What the planner has in `information_schema` that other databases have, too.
const SYSTEM_VIEWS: [&str; 4] = ["columns", "schemata", "tables", "views"];

pub fn header(full: bool, database: &str) -> Vec<String> {
    let mut header = vec![format!("Tables_in_{database}")];
    if full {
        header.push("Table_type".to_owned());
    }
    header
}

pub fn tables(
    context: &SessionContext,
    rows: &mut Rows,
    full: bool,
    from: Option<ObjectName>,
    like: Option<String>,
) -> Result<(), Error> {
    // `FROM` names a database: its last part.
    let (name, at) = match &from {
        Some(from) => {
            from.database().map_or(Ok(()), check_catalog)?;
            (from.name(), from.at())
        }
        None => (context.database.as_deref().ok_or(Error::NoDatabase)?, Default::default()),
    };
    let pattern = Pattern::new(like.as_deref());
    let mut push = |name: &str, kind: &str| {
        if pattern.matches(name) {
            let row = [name, kind].map(|text| Some(text.to_owned()));
            rows.push_nullable(row.into_iter().take(if full { 2 } else { 1 }).collect());
        }
    };
    if name == INFORMATION_SCHEMA {
        SYSTEM_VIEWS.iter().for_each(|view| push(view, "SYSTEM VIEW"));
        return Ok(());
    }
    let database = context.catalog.database(name).map_err(|source| Error::Catalog { source, at })?;
    for relation in context.catalog.relations(database.id) {
        match relation {
            Relation::Table(table) => push(&table.name, "BASE TABLE"),
            Relation::View(view) => push(&view.name, "VIEW"),
        }
    }
    Ok(())
}
