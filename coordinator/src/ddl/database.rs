//! Databases.

use tarn_catalog::Operation;
use tarn_sql::{Ident, Property};

use super::names::check_database;
use crate::session::{Error, SessionContext};

/// `CREATE DATABASE`
pub async fn create(
    context: &SessionContext,
    if_not_exists: bool,
    name: &Ident,
    properties: &[Property],
) -> Result<(), Error> {
    check_database(name)?;
    if let Some(property) = properties.first() {
        return Err(Error::not_yet(property.at, "properties of databases are"));
    }
    context.propose(Operation::CreateDatabase { name: name.name.clone(), if_not_exists }).await?;
    Ok(())
}

/// `DROP DATABASE`, with all that is in it.
pub async fn drop(context: &SessionContext, if_exists: bool, name: &Ident) -> Result<(), Error> {
    if !if_exists {
        context.catalog.database(&name.name).map_err(|source| Error::Catalog { source, at: name.at })?;
    }
    context.propose(Operation::DropDatabase { name: name.name.clone(), if_exists }).await?;
    Ok(())
}

/// `ALTER DATABASE name RENAME to`
pub async fn rename(context: &SessionContext, name: &Ident, to: &Ident) -> Result<(), Error> {
    check_database(to)?;
    context.catalog.database(&name.name).map_err(|source| Error::Catalog { source, at: name.at })?;
    context.propose(Operation::RenameDatabase { name: name.name.clone(), new_name: to.name.clone() }).await?;
    Ok(())
}
