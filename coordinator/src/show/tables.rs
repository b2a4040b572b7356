//! `SHOW TABLES`.

use tarn_catalog::Relation;
use tarn_sql::ObjectName;

use super::pattern::Pattern;
use super::rows::Rows;
use crate::session::{Error, SessionContext, check_catalog};

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
    let database = context.catalog.database(name).map_err(|source| Error::Catalog { source, at })?;
    let pattern = Pattern::new(like.as_deref());
    for relation in context.catalog.relations(database.id).filter(|r| pattern.matches(r.name())) {
        let mut row = vec![Some(relation.name().to_owned())];
        if full {
            let kind = match relation {
                Relation::Table(_) => "BASE TABLE",
                Relation::View(_) => "VIEW",
            };
            row.push(Some(kind.to_owned()));
        }
        rows.push_nullable(row);
    }
    Ok(())
}
