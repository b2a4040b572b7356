//! Statements that change the catalog: each is lowered to an operation by a pure function, then proposed.
//!
//! ```text
//!  database     CREATE, DROP, ALTER DATABASE .. RENAME
//!  create       CREATE TABLE to a table specification: names, keys, sort key
//!  columns      its columns, defaults
//!  distribution its buckets
//!  properties   PROPERTIES (..)
//!  partitioning PARTITION BY
//!  ranges       range partitions: VALUES LESS THAN, VALUES [..), START .. END .. EVERY
//!  every        steps from START to END, and their partitions' names
//!  literal      a constant's text to a value of a type
//!  names        what names may be
//!  table        CREATE TABLE, LIKE, DROP, TRUNCATE, RENAME
//!  partition    ALTER TABLE ADD, DROP and RENAME PARTITION
//!  from_query   CREATE TABLE AS SELECT, and tables for bulk ingest
//!  view         CREATE and DROP VIEW
//! ```

mod columns;
mod create;
mod database;
mod distribution;
mod every;
mod from_query;
mod literal;
mod names;
mod partition;
mod partitioning;
mod properties;
mod ranges;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use from_query::{create_table_as_select, declared_type, hidden_for, ingest};
pub use literal::text as literal_text;
pub use partition::existing as existing_partition;
pub use table::partition_specs;

use tarn_sql::Statement;

use crate::session::{Error, SessionContext};

/// Carries out a statement of this family.
pub async fn run(context: &SessionContext, statement: Statement) -> Result<(), Error> {
    match statement {
        Statement::CreateDatabase { if_not_exists, name, properties } => {
            database::create(context, if_not_exists, &name, &properties).await
        }
        Statement::DropDatabase { if_exists, name, .. } => database::drop(context, if_exists, &name).await,
        Statement::RenameDatabase { name, to } => database::rename(context, &name, &to).await,
        Statement::CreateTable(create) => table::create(context, &create).await,
        Statement::CreateTableLike { if_not_exists, name, like } => {
            table::create_like(context, if_not_exists, &name, &like).await
        }
        Statement::DropTable { if_exists, name, .. } => table::drop(context, if_exists, &name).await,
        Statement::TruncateTable { name, partitions } => table::truncate(context, &name, &partitions).await,
        Statement::RenameTable { name, to } => table::rename(context, &name, &to).await,
        Statement::AddPartitions { table, partitions, properties } => {
            partition::add(context, &table, &partitions, &properties).await
        }
        Statement::DropPartitions(drop) => partition::drop(context, &drop).await,
        Statement::RenamePartition { table, name, to } => partition::rename(context, &table, &name, &to).await,
        Statement::CreateView(create) => view::create(context, &create).await,
        Statement::DropView { if_exists, name } => view::drop(context, if_exists, &name).await,
        other => Err(Error::Internal(format!("not a change of the catalog: {other:?}"))),
    }
}
