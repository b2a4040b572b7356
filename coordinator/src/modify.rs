//! `DELETE` and `UPDATE`. Of a PRIMARY KEY table, a query over the table finds the rows, and a load writes what becomes of
//! them, as one transaction.
//!
//! ```text
//!  rows       the statement to a query over the table, Pure.
//!  here       label ──► plan ──► one writer per stream of rows: keys that go, or keys and new values ──► commit ──► visible
//!  predicate  `DELETE` of other tables: without reading them
//! ```
//!
//! The query reads the newest rows when the statement begins. What other loads commit while it runs is not seen; an
//! `UPDATE` changes the columns that it assigns, of rows that are there still when it is published.

mod predicate;
mod rows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_catalog::Table;
use tarn_gateway::engine::{EngineError, Outcome, Result};
use tarn_ingest::Target;
use tarn_ingest::load::Begun;
use tarn_ingest::route::Reach;
use tarn_proto::TableModel;
use tarn_proto::storage::{LoadSpec, UpdateMode};
use tarn_sql::{Delete, Statement, Update, ast};

use crate::insert::{self, Columns, Failed, load_error};
use crate::owners::Repeats;
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
    /// What is written of each; none if that is not rows.
    written: Option<(Columns, LoadSpec)>,
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
    let (query, effect, written) = match modification {
        Modification::Delete(delete) if table.schema.model != TableModel::PrimaryKey => {
            predicate::conditions(delete, &table)?;
            (rows::matched(delete, &database, &table)?, "delete", None)
        }
        Modification::Delete(delete) => {
            let written = (Columns::of_deleted(&table)?, LoadSpec::rows(table.schema.clone()));
            (rows::deleted(delete, &database, &table)?, "delete", Some(written))
        }
        Modification::Update(statement) => {
            // Most change few columns of many rows.
            let mode = context.variables.partial_update_mode(UpdateMode::Column);
            let (query, update) = rows::updated(statement, &database, &table, mode)?;
            let columns = Columns::of_updated(&table, &update)?;
            (query, "upsert", Some((columns, LoadSpec::update(table.schema.clone(), update))))
        }
    };
    Ok(Lowered { table, query, effect, written })
}

/// Carries out a modification, again over the newest catalog if a node was lost. Ends by itself when
/// [`SessionContext::interrupted`] does.
pub async fn run(
    context: &SessionContext,
    modification: Modification<'_>,
    parameters: Option<&RecordBatch>,
) -> Result<Outcome> {
    let (mut context, mut repeats) = (context.clone(), Repeats::default());
    loop {
        match run_once(&context, modification, parameters).await {
            Err(failed) if failed.is_worth_another() => {
                if !repeats.again(&context).await? {
                    return Err(repeats.told(failed.error));
                }
                context = context.refreshed();
            }
            done => return done.map_err(|failed| failed.error),
        }
    }
}

async fn run_once(
    context: &SessionContext,
    modification: Modification<'_>,
    parameters: Option<&RecordBatch>,
) -> std::result::Result<Outcome, Failed> {
    let Lowered { table, query, written, .. } = lower(context, modification).map_err(Failed::surely)?;
    let (columns, spec) = match (written, modification) {
        (Some(written), _) => written,
        (None, Modification::Delete(delete)) => return predicate::run(context, delete, &table, parameters).await,
        (None, Modification::Update(_)) => {
            let error = Error::Internal("an UPDATE that writes no rows".to_owned());
            return Err(Failed::surely(error.into()));
        }
    };
    let load = match insert::begin(context, &table, spec, None).await.map_err(Failed::surely)? {
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
    Ok(insert::affected(insert::finish(context, load, written).await?))
}
