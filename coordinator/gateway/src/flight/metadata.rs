//! What drivers ask about the server and what is in it.
//!
//! One catalog holds everything: [`CATALOG`]. A Flight SQL "schema" is a database.
//!
//! ```text
//!  sql_info  what the server can do
//!  types     the column types
//!  objects   databases, tables and views, with their columns
//!  keys      primary keys; foreign keys, of which there are none
//!  pattern   LIKE patterns of filters
//! ```

pub(crate) mod keys;
pub(crate) mod objects;
mod pattern;
pub(crate) mod sql_info;
pub(crate) mod types;

use arrow::datatypes::Schema;
use arrow_flight::sql::Command;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};

use super::error::Error;

/// The one catalog.
pub const CATALOG: &str = "default_catalog";

/// A `FlightInfo` whose ticket is the command itself: metadata is cheap enough to be computed when it is fetched.
pub(crate) fn info(descriptor: FlightDescriptor, schema: &Schema) -> Result<FlightInfo, Error> {
    let ticket = Ticket::new(descriptor.cmd.clone());
    Ok(FlightInfo::new()
        .try_with_schema(schema)?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor))
}

/// The schema of a metadata command's answer, for `GetSchema`.
pub(crate) fn schema_of(command: &Command) -> Option<Schema> {
    Some(match command {
        Command::CommandGetCatalogs(c) => c.into_builder().schema().as_ref().clone(),
        Command::CommandGetDbSchemas(c) => c.clone().into_builder().schema().as_ref().clone(),
        Command::CommandGetTables(c) => c.clone().into_builder().schema().as_ref().clone(),
        Command::CommandGetTableTypes(c) => c.into_builder().schema().as_ref().clone(),
        Command::CommandGetSqlInfo(_) => sql_info::schema(),
        Command::CommandGetXdbcTypeInfo(_) => types::schema(),
        Command::CommandGetPrimaryKeys(_) => keys::primary_schema().as_ref().clone(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => keys::foreign_schema().as_ref().clone(),
        _ => return None,
    })
}

/// Whether a catalog filter lets our one catalog pass.
fn catalog_matches(filter: Option<&str>) -> bool {
    filter.is_none_or(|name| name == CATALOG)
}
