//! Statements that change the catalog: each is lowered to an operation by a pure function, then proposed.
//!
//! ```text
//!  database     CREATE, DROP, ALTER DATABASE .. RENAME
//!  create       CREATE TABLE to a table specification: names, keys, sort key
//!  columns      its columns, defaults
//!  model        what the table model asks of keys, columns, buckets and sort key
//!  distribution its buckets
//!  properties   PROPERTIES (..)
//!  partitioning PARTITION BY
//!  ranges       range partitions: VALUES LESS THAN, VALUES [..), START .. END .. EVERY
//!  lists        list partitions: VALUES IN
//!  indexes      INDEX .., bloom_filter_columns
//!  lifetime     properties that say how long partitions live
//!  replicas     replication_num and colocate_with
//!  set_properties  ALTER TABLE SET (..)
//!  every        steps from START to END, and their partitions' names
//!  literal      a constant's text to a value of a type
//!  names        what names may be
//!  table        CREATE TABLE, LIKE, DROP, TRUNCATE, RENAME
//!  partition    ALTER TABLE ADD, DROP, RENAME and REPLACE PARTITION, temporary ones too
//!  alter        ALTER TABLE of columns, indexes and comment, SWAP WITH
//!  compact      ALTER TABLE .. COMPACT, which changes no catalog but asks storage nodes
//!  from_query   CREATE TABLE AS SELECT, and tables for bulk ingest
//!  view         CREATE and DROP VIEW
//!  volume       CREATE, ALTER and DROP STORAGE VOLUME, and the default one
//!  cluster      ALTER SYSTEM, CANCEL DECOMMISSION
//! ```

mod alter;
mod cluster;
mod columns;
mod compact;
mod create;
mod database;
mod distribution;
mod every;
mod from_query;
mod indexes;
pub mod lifetime;
mod lists;
mod literal;
mod model;
mod names;
mod partition;
mod partitioning;
mod properties;
mod ranges;
mod replicas;
mod set_properties;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod volume;

pub use from_query::{create_table_as_select, declared_type, hidden_for, ingest};
pub use indexes::{BLOOM_FILTER_COLUMNS, shown_bloom_columns};
pub use literal::text as literal_text;
pub use model::kind_of as model_kind;
pub use partition::{existing as existing_partition, existing_temporary as existing_temporary_partition};
pub use replicas::shown as shown_replicas;
pub use table::partition_specs;
#[cfg(test)]
pub use tests::{spec_of, table_of};

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
        Statement::AddPartitions { table, temporary, partitions, properties } => {
            partition::add(context, &table, temporary, &partitions, &properties).await
        }
        Statement::DropPartitions(drop) => partition::drop(context, &drop).await,
        Statement::ReplacePartitions(replace) => partition::replace(context, &replace).await,
        Statement::SetProperties { table, properties } => set_properties::set(context, &table, &properties).await,
        Statement::RenamePartition { table, name, to } => partition::rename(context, &table, &name, &to).await,
        Statement::AlterTable { table, alterations, timeout } => {
            alter::alter(context, &table, &alterations, timeout).await
        }
        Statement::SwapTables { table, other } => alter::swap(context, &table, &other).await,
        Statement::CancelAlterTable { table } => alter::cancel(context, &table).await,
        Statement::CompactTable(compact) => compact::compact(context, &compact).await,
        Statement::AlterSystem(alter) => cluster::alter_system(context, &alter).await,
        Statement::CreateStorageVolume(create) => volume::create(context, &create).await,
        Statement::AlterStorageVolume(alter) => volume::alter(context, &alter).await,
        Statement::DropStorageVolume { if_exists, name } => volume::drop(context, if_exists, &name).await,
        Statement::SetDefaultStorageVolume { name } => volume::set_default(context, &name).await,
        Statement::CreateView(create) => view::create(context, &create).await,
        Statement::DropView { if_exists, name } => view::drop(context, if_exists, &name).await,
        other => Err(Error::Internal(format!("not a change of the catalog: {other:?}"))),
    }
}
