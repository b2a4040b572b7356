//! `DELETE` and `UPDATE` of PRIMARY KEY tables: a query over the table finds the rows, and a load writes what becomes of
//! them, as one transaction.
//!
//! ```text
//!  rows   the statement to a query over the table, Pure.
//!  here   label ──► plan ──► one writer per stream of rows: keys that go, or whole new rows ──► commit ──► visible
//! ```
//!
//! The query reads the newest rows when the statement begins. What other loads commit while it runs is not seen, and an
//! `UPDATE` writes whole rows: of two that change one row at once, the one that commits later wins with all its columns.

mod rows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_catalog::Table;
use tarn_gateway::engine::{EngineError, Outcome, Result};
use tarn_ingest::Target;
use tarn_ingest::load::Begun;
use tarn_ingest::route::Reach;
use tarn_sql::{Delete, Statement, Update, ast};

use crate::insert::{self, Columns, load_error};
use crate::query::{planner_error, planning};
use crate::session::{Error, SessionContext};

/// A statement that changes rows.
#[derive(Clone, Copy, Debug)]
pub enum Modification<'a> {
    /// `DELETE`
    Delete(&'a Delete),
    /// `UPDATE`
    Update(&'a Update),
}

impl<'a> Modification<'a> {
    /// The statement, if it is of this family.
    pub fn of(statement: &'a Statement) -> Option<Self> {
        match statement {
            Statement::Delete(delete) => Some(Self::Delete(delete)),
            Statement::Update(update) => Some(Self::Update(update)),
            _ => None,
        }
    }
}

/// A modification as a load.
pub struct Lowered {
    /// The table that it changes.
    pub table: Arc<Table>,
    /// Finds the rows.
    pub query: ast::Query,
    /// What becomes of them, for people: `delete` or `upsert`.
    pub effect: &'static str,
    columns: Columns,
}

/// Checks a modification against its table and lowers it.
pub fn lower(context: &SessionContext, modification: Modification<'_>) -> Result<Lowered> {
    let (Modification::Delete(Delete { table: name, .. }) | Modification::Update(Update { table: name, .. })) =
        modification;
    let table = context.table(name)?;
    let database = context
        .catalog
        .database_by_id(table.database)
        .ok_or_else(|| Error::Internal(format!("table `{}` is of no database", table.name)))?
        .name
        .clone();
    let (query, columns, effect) = match modification {
        Modification::Delete(delete) => {
            (rows::deleted(delete, &database, &table)?, Columns::of_deleted(&table)?, "delete")
        }
        Modification::Update(update) => (rows::updated(update, &database, &table)?, Columns::of_rows(&table), "upsert"),
    };
    Ok(Lowered { table, query, effect, columns })
}

/// Carries out a modification. Ends by itself when [`SessionContext::interrupted`] does.
pub async fn run(
    context: &SessionContext,
    modification: Modification<'_>,
    parameters: Option<&RecordBatch>,
) -> Result<Outcome> {
    let Lowered { table, query, columns, .. } = lower(context, modification)?;
    let load = match insert::begin(context, &table, None).await? {
        Begun::New(load) => load,
        Begun::Repeated(outcome) => return Ok(insert::affected(outcome)),
    };
    let written = tokio::select! {
        biased;
        error = context.interrupted() => Err(error),
        written = async {
            let plan = context.shared.planner.plan(&query, planning(context), parameters).await.map_err(planner_error)?;
            context.process.enter("loading");
            // Rows stay where they were read: what has taken a partition's place meanwhile must not get them back.
            let reach = Reach::Only(table.partitions.keys().copied().collect());
            load.sink().aim(Target { reach, replacing: None }).await.map_err(load_error)?;
            insert::write_plan(context, load.sink(), &columns, &plan).await.map_err(EngineError::from)
        } => written,
    };
    let outcome = insert::finish(context, load, written).await.map_err(|failed| failed.error)?;
    Ok(insert::affected(outcome))
}
