//! Statements that show what there is: each makes one batch of text columns. The columns' names are StarRocks' where it
//! has the statement.
//!
//! ```text
//!  rows        columns of text to a batch
//!  pattern     LIKE
//!  databases   DATABASES, CATALOGS, CREATE DATABASE
//!  tables      TABLES
//!  columns     COLUMNS, DESC, DESC FILES
//!  create      CREATE TABLE, CREATE VIEW: the statement again
//!  partitions  PARTITIONS, TEMPORARY PARTITIONS
//!  tablets     TABLETS
//!  indexes     INDEX
//!  alterations ALTER TABLE COLUMN
//!  compactions COMPACTIONS
//!  nodes       COORDINATORS, COMPUTE NODES, STORAGE NODES
//!  colocation  COLOCATION GROUPS, PROC
//!  replicas    ADMIN SHOW REPLICA STATUS
//!  processes   PROCESSLIST
//!  variables   VARIABLES
//!  volumes     STORAGE VOLUMES, DESC STORAGE VOLUME
//!  format      sizes and times
//! ```

mod alterations;
mod colocation;
mod columns;
mod compactions;
mod create;
mod databases;
mod format;
mod indexes;
mod nodes;
mod partitions;
mod pattern;
mod processes;
mod replicas;
mod rows;
mod scores;
mod tables;
mod tablets;
mod variables;
mod volumes;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tarn_gateway::engine::Result;
use tarn_sql::Statement;

use crate::session::{Error, SessionContext};
use rows::Rows;

#[cfg(test)]
pub use create::statement as create_table_statement;

/// Whether a statement is of this family.
pub fn is_show(statement: &Statement) -> bool {
    header(statement, None).is_some()
}

/// The columns of a statement's rows, for statements of this family. `database` is the current one.
pub fn schema(statement: &Statement, database: Option<&str>) -> Option<SchemaRef> {
    header(statement, database).map(|names| rows::schema(&names))
}

fn header(statement: &Statement, database: Option<&str>) -> Option<Vec<String>> {
    let fixed: &[&str] = match statement {
        Statement::ShowTables { full, from, .. } => {
            let database = from.as_ref().map(tarn_sql::ObjectName::name).or(database).unwrap_or_default();
            return Some(tables::header(*full, database));
        }
        Statement::ShowDatabases { .. } => databases::DATABASES,
        Statement::ShowCatalogs => databases::CATALOGS,
        Statement::ShowCreateDatabase { .. } => databases::CREATE_DATABASE,
        Statement::ShowColumns { full: false, .. } | Statement::Describe { .. } => columns::COLUMNS,
        Statement::ShowColumns { full: true, .. } => columns::FULL_COLUMNS,
        Statement::DescribeFiles { .. } => columns::FILES,
        Statement::ShowStorageVolumes { .. } => volumes::VOLUMES,
        Statement::DescribeStorageVolume { .. } => volumes::VOLUME,
        Statement::ShowCreateTable { .. } => create::TABLE,
        Statement::ShowCreateView { .. } => create::VIEW,
        Statement::ShowPartitions { .. } => partitions::HEADER,
        Statement::ShowTablets { .. } => tablets::HEADER,
        Statement::ShowIndex { .. } => indexes::HEADER,
        Statement::ShowAlterTable(_) => alterations::HEADER,
        Statement::ShowCompactions { .. } => compactions::HEADER,
        Statement::ShowCoordinators => nodes::COORDINATORS,
        Statement::ShowComputeNodes => nodes::COMPUTE_NODES,
        Statement::ShowStorageNodes => nodes::STORAGE_NODES,
        Statement::ShowColocationGroups => colocation::GROUPS,
        Statement::ShowProc { path, .. } => colocation::proc_header(path),
        Statement::ShowReplicaStatus(_) => replicas::HEADER,
        Statement::ShowProcesslist { .. } => processes::HEADER,
        Statement::ShowVariables { .. } => variables::HEADER,
        Statement::ShowWarnings => &["Level", "Code", "Message"],
        _ => return None,
    };
    Some(fixed.iter().map(|name| (*name).to_owned()).collect())
}

/// The rows of a statement of this family.
pub async fn run(context: &SessionContext, statement: Statement) -> Result<RecordBatch> {
    let Some(header) = header(&statement, context.database.as_deref()) else {
        return Err(Error::Internal(format!("not a SHOW: {statement:?}")).into());
    };
    let mut rows = Rows::new(header);
    match statement {
        Statement::ShowDatabases { catalog, like } => databases::databases(context, &mut rows, catalog, like)?,
        Statement::ShowCatalogs => databases::catalogs(&mut rows),
        Statement::ShowCreateDatabase { database } => databases::create(context, &mut rows, &database)?,
        Statement::ShowTables { full, from, like } => tables::tables(context, &mut rows, full, from, like)?,
        Statement::ShowColumns { full, table, like } => {
            columns::columns(context, &mut rows, &table, full, like.as_deref()).await?;
        }
        Statement::Describe { table } => columns::columns(context, &mut rows, &table, false, None).await?,
        Statement::DescribeFiles { properties } => columns::files(context, &mut rows, &properties).await?,
        Statement::ShowStorageVolumes { like } => volumes::volumes(context, &mut rows, like.as_deref()),
        Statement::DescribeStorageVolume { name } => volumes::volume(context, &mut rows, &name)?,
        Statement::ShowCreateTable { table } => create::table(context, &mut rows, &table)?,
        Statement::ShowCreateView { view } => create::view(context, &mut rows, &view)?,
        Statement::ShowPartitions { temporary, table } => {
            partitions::partitions(context, &mut rows, temporary, &table).await?;
        }
        Statement::ShowTablets { table, partitions } => tablets::tablets(context, &mut rows, &table, &partitions)?,
        Statement::ShowIndex { table } => indexes::indexes(context, &mut rows, &table)?,
        Statement::ShowAlterTable(show) => alterations::alterations(context, &mut rows, &show)?,
        Statement::ShowCompactions { table } => {
            compactions::compactions(context, &mut rows, table.as_ref()).await?;
        }
        Statement::ShowCoordinators => nodes::coordinators(context, &mut rows),
        Statement::ShowComputeNodes => nodes::compute_nodes(context, &mut rows),
        Statement::ShowStorageNodes => nodes::storage_nodes(context, &mut rows),
        Statement::ShowColocationGroups => colocation::groups(context, &mut rows),
        Statement::ShowProc { path, at } => colocation::proc(context, &mut rows, &path, at)?,
        Statement::ShowReplicaStatus(show) => replicas::status(context, &mut rows, &show)?,
        Statement::ShowProcesslist { full } => processes::processes(context, &mut rows, full).await,
        Statement::ShowVariables { like, .. } => variables::variables(context, &mut rows, like.as_deref()),
        // There are none: a statement succeeds or fails.
        _ => {}
    }
    Ok(rows.finish())
}
