//! Each kind of statement to what does it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use tarn_gateway::engine::{Outcome, Prepared, Result};
use tarn_sql::Statement;

use super::{ClientSession, SessionContext, kill, set, supervise};
use crate::modify::Modification;
use crate::{ddl, insert, modify, query, show};

/// Runs a statement. `context` was pinned for it.
pub async fn run(
    session: &ClientSession,
    context: SessionContext,
    statement: Statement,
    parameters: Option<&RecordBatch>,
) -> Result<Outcome> {
    match statement {
        Statement::Query(ast) => supervise::query(&context, query::run(&context, &ast, parameters)).await,
        Statement::Explain { analyze, verbose, statement } => {
            let explained = query::explain(&context, analyze, verbose, &statement, parameters);
            supervise::query(&context, explained).await
        }
        Statement::Insert(insert) => insert::run(&context, &insert, parameters).await,
        Statement::Delete(delete) => modify::run(&context, Modification::Delete(&delete), parameters).await,
        Statement::Update(update) => modify::run(&context, Modification::Update(&update), parameters).await,
        Statement::CreateTableAsSelect(create) => ddl::create_table_as_select(&context, create, parameters).await,
        Statement::Use { catalog, database } => Ok(done(set::use_database(session, &context, catalog, database)?)),
        Statement::Set(assignments) => Ok(done(set::set(session, &context, assignments).await?)),
        Statement::Kill { id, query } => Ok(done(kill::statement(&context, &id, query).await?)),
        statement if show::is_show(&statement) => {
            let rows = supervise::until_interrupted(&context, show::run(&context, statement)).await?;
            Ok(supervise::rows(context, rows))
        }
        statement => Ok(done(ddl::run(&context, statement).await?)),
    }
}

/// What is known of a statement without planning it; `None` for queries and loads.
pub fn shape(statement: &Statement, database: Option<&str>) -> Option<Prepared> {
    let empty = Arc::new(Schema::empty());
    match statement {
        Statement::Query(_)
        | Statement::Explain { .. }
        | Statement::Insert(_)
        | Statement::Delete(_)
        | Statement::Update(_)
        | Statement::CreateTableAsSelect(_) => None,
        statement => {
            let schema = show::schema(statement, database);
            let returns_rows = schema.is_some();
            Some(Prepared { schema: schema.unwrap_or_else(|| empty.clone()), parameters: empty, returns_rows })
        }
    }
}

const fn done((): ()) -> Outcome {
    Outcome::Affected { rows: None, message: String::new(), repeated: false }
}

/// Whether a statement must see all that any coordinator has acknowledged: those that show or change tables. Queries take
/// the catalog as it is applied here, and what tells of the cluster's health must work without a leader.
pub const fn wants_newest(statement: &Statement) -> bool {
    !matches!(
        statement,
        Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::DescribeFiles { .. }
            | Statement::Set(_)
            | Statement::Kill { .. }
            | Statement::ShowCatalogs
            | Statement::ShowCompactions { .. }
            | Statement::ShowComputeNodes
            | Statement::ShowCoordinators
            | Statement::ShowProcesslist { .. }
            | Statement::ShowStorageNodes
            | Statement::ShowVariables { .. }
            | Statement::ShowWarnings
    )
}
