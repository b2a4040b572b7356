//! `SHOW DATABASES`, `SHOW CATALOGS`, `SHOW CREATE DATABASE`.

use tarn_gateway::flight::CATALOG;
use tarn_sql::{Ident, quote_ident};

use super::pattern::Pattern;
use super::rows::Rows;
use crate::session::{Error, INFORMATION_SCHEMA, SessionContext, check_catalog};

pub const DATABASES: &[&str] = &["Database"];
pub const CATALOGS: &[&str] = &["Catalog", "Type", "Comment"];
pub const CREATE_DATABASE: &[&str] = &["Database", "Create Database"];

pub fn databases(
    context: &SessionContext,
    rows: &mut Rows,
    catalog: Option<Ident>,
    like: Option<String>,
) -> Result<(), Error> {
    if let Some(catalog) = catalog {
        check_catalog(&catalog.name)?;
    }
    let pattern = Pattern::new(like.as_deref());
    let mut names: Vec<&str> = context.catalog.databases().map(|d| d.name.as_str()).collect();
    names.push(INFORMATION_SCHEMA);
    names.sort_unstable();
    for name in names.into_iter().filter(|name| pattern.matches(name)) {
        rows.push([name.to_owned()]);
    }
    Ok(())
}

pub fn catalogs(rows: &mut Rows) {
    let comment = "An internal catalog contains this cluster's self-managed tables.";
    rows.push([CATALOG, "Internal", comment].map(str::to_owned));
}

pub fn create(context: &SessionContext, rows: &mut Rows, name: &Ident) -> Result<(), Error> {
    let database = context.catalog.database(&name.name).map_err(|source| Error::Catalog { source, at: name.at })?;
    rows.push([database.name.clone(), format!("CREATE DATABASE {}", quote_ident(&database.name))]);
    Ok(())
}
