//! `ALTER TABLE` of columns and comment: each change is lowered and tried on a copy of the table, so that what is wrong with
//! it is told at its place. If somebody else alters the table meanwhile, the statement is lowered anew. What takes time is
//! a job when the statement is answered.

use std::sync::Arc;

use tarn_catalog::command::{Alteration, JobStep, NewColumn, Place};
use tarn_catalog::{ColumnInfo, DefaultValue, Operation, SCHEMA_JOB_TIMEOUT_MS, Table, Value};
use tarn_ingest::CatalogClient;
use tarn_proto::{Aggregation, Column, ColumnId, TableModel};
use tarn_sql::{Alteration as Declared, ColumnDef, ColumnPlace, Ident, ObjectName, Position, Property};

use super::columns::{self, check_distinct};
use super::names::check_name;
use super::{indexes, literal};
use crate::session::{Error, SessionContext};

/// Times that a statement is lowered. Each one more is for a change of the same table that another statement has made.
const ATTEMPTS: usize = 16;

/// `ALTER TABLE name ADD COLUMN .., ..`. What takes longer than `timeout_s`, in seconds, is given up.
pub async fn alter(
    context: &SessionContext,
    name: &ObjectName,
    declared: &[Declared],
    timeout_s: Option<u32>,
) -> Result<(), Error> {
    let timeout_ms = timeout_s.map_or(SCHEMA_JOB_TIMEOUT_MS, |seconds| u64::from(seconds) * 1000);
    change(context, name, timeout_ms, |table| lower(table, declared, now_micros())).await
}

/// `ALTER TABLE name SET ("bloom_filter_columns" = "a, b")`; an empty list takes all away.
pub async fn set_bloom_columns(context: &SessionContext, name: &ObjectName, property: &Property) -> Result<(), Error> {
    let declared = |table: &Arc<Table>| {
        let alteration = Alteration::SetBloomColumns { columns: indexes::bloom_columns(&table.schema, property)? };
        let tried = Table::clone(table).alter(&alteration);
        tried.map_err(|source| Error::Catalog { source, at: property.at })?;
        Ok(vec![alteration])
    };
    change(context, name, SCHEMA_JOB_TIMEOUT_MS, declared).await
}

/// Alters a table by what `lower` makes of it as it is.
async fn change(
    context: &SessionContext,
    name: &ObjectName,
    timeout_ms: u64,
    lower: impl Fn(&Arc<Table>) -> Result<Vec<Alteration>, Error>,
) -> Result<(), Error> {
    let mut table = context.table(name)?;
    let mut attempts = 0;
    loop {
        let alterations = lower(&table)?;
        let (id, schema_version) = (table.id, table.schema.version);
        let operation = Operation::AlterTable { table: id, schema_version, alterations, timeout_ms };
        attempts += 1;
        let error = match context.propose(operation).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let changed = tarn_catalog::Error::SchemaChanged { table: table.name.clone() }.to_string();
        if attempts == ATTEMPTS || !matches!(&error, Error::Propose(refused) if refused.message == changed) {
            return Err(error);
        }
        // What was refused is applied here, and with it what came before.
        table = match context.shared.catalog.catalog().table_by_id(table.id) {
            Some(table) => table.clone(),
            None => return Err(error),
        };
    }
}

/// `ALTER TABLE name SWAP WITH other`
pub async fn swap(context: &SessionContext, name: &ObjectName, other: &Ident) -> Result<(), Error> {
    let table = context.table(name)?;
    let other =
        context.catalog.table(table.database, &other.name).map_err(|source| Error::Catalog { source, at: other.at })?;
    context.propose(Operation::SwapTables { one: table.id, other: other.id }).await?;
    Ok(())
}

/// `CANCEL ALTER TABLE COLUMN FROM name`
pub async fn cancel(context: &SessionContext, name: &ObjectName) -> Result<(), Error> {
    let table = context.table(name)?;
    let Some(job) = &table.job else {
        let message = format!("table `{}` has no unfinished change of its columns", table.name);
        return Err(Error::at(name.at(), message));
    };
    let step = JobStep::Cancel { reason: "user cancelled".to_owned() };
    context.propose(Operation::StepSchemaJob { table: table.id, job: job.id, step }).await?;
    Ok(())
}

fn now_micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The changes that a statement declares. Rows that are there get `now` where it is the default. Pure.
pub fn lower(table: &Arc<Table>, declared: &[Declared], now_micros: i64) -> Result<Vec<Alteration>, Error> {
    let mut scratch = Table::clone(table);
    let mut lowered = Vec::with_capacity(declared.len());
    for declared in declared {
        let (alteration, at) = one(&scratch, declared, now_micros)?;
        scratch.alter(&alteration).map_err(|source| Error::Catalog { source, at })?;
        lowered.push(alteration);
    }
    Ok(lowered)
}

/// One change, and where it stands.
fn one(table: &Table, declared: &Declared, now_micros: i64) -> Result<(Alteration, Position), Error> {
    Ok(match declared {
        Declared::AddColumns { columns, place } => {
            check_distinct(&columns.iter().map(|def| def.name.clone()).collect::<Vec<_>>(), "column")?;
            let place = place.as_ref().map_or(Ok(Place::Last), |place| placed(table, place))?;
            let at = columns.first().map_or(Position::default(), |def| def.name.at);
            let columns = columns.iter().map(|def| added(table, def, now_micros)).collect::<Result<_, _>>()?;
            (Alteration::AddColumns { columns, place }, at)
        }
        Declared::DropColumn { column } => (Alteration::DropColumn { column: existing(table, column)?.id }, column.at),
        Declared::RenameColumn { column, to } => {
            check_name(to, "column")?;
            (Alteration::RenameColumn { column: existing(table, column)?.id, name: to.name.clone() }, to.at)
        }
        Declared::ModifyColumn { column, place } => (modified(table, column, place.as_ref())?, column.name.at),
        Declared::CommentColumn { column, comment } => {
            let Column { id, data_type, nullable, .. } = existing(table, column)?.clone();
            let info = ColumnInfo { comment: comment.clone(), ..info(table, id) };
            (Alteration::ModifyColumn { column: id, data_type, nullable, info, place: None }, column.at)
        }
        Declared::OrderBy { columns, at } => {
            check_distinct(columns, "column")?;
            let ids = columns.iter().map(|name| Ok(existing(table, name)?.id)).collect::<Result<Vec<_>, Error>>()?;
            // All columns are brought into this order; some are what rows are sorted by from now on, as in StarRocks.
            let all = table.schema.columns.iter().all(|column| ids.contains(&column.id));
            let alteration = match all {
                true => Alteration::OrderColumns { columns: ids },
                false => Alteration::SetSortKey { columns: ids },
            };
            (alteration, *at)
        }
        Declared::AddIndex { index } => {
            (Alteration::AddIndex { index: indexes::bitmap(&table.schema, index)? }, index.name.at)
        }
        Declared::DropIndex { name } => (Alteration::DropIndex { name: name.name.clone() }, name.at),
        Declared::Comment { comment } => (Alteration::SetComment { comment: comment.clone() }, Position::default()),
    })
}

fn existing<'a>(table: &'a Table, name: &Ident) -> Result<&'a Column, Error> {
    table.schema.column(&name.name).ok_or_else(|| Error::Catalog {
        source: tarn_catalog::Error::UnknownColumn { table: table.name.clone(), column: name.name.clone() },
        at: name.at,
    })
}

fn info(table: &Table, column: ColumnId) -> ColumnInfo {
    table.columns.get(&column).cloned().unwrap_or_default()
}

fn placed(table: &Table, place: &ColumnPlace) -> Result<Place, Error> {
    Ok(match place {
        ColumnPlace::First(_) => Place::First,
        ColumnPlace::After(name) => Place::After(existing(table, name)?.id),
    })
}

fn check_no_counter(def: &ColumnDef) -> Result<(), Error> {
    if !def.auto_increment {
        return Ok(());
    }
    let message = format!(
        "column `{}`: AUTO_INCREMENT columns are made with their table; make one that has it and fill it by INSERT INTO .. \
         SELECT",
        def.name.name
    );
    Err(Error::at(def.name.at, message))
}

fn added(table: &Table, def: &ColumnDef, now_micros: i64) -> Result<NewColumn, Error> {
    check_no_counter(def)?;
    // In an AGGREGATE table what has no aggregation is a key, as in CREATE TABLE.
    let key = def.key || table.schema.model == TableModel::Aggregate && def.aggregation.is_none();
    let (column, info) = columns::column(def, ColumnId(0), table.schema.model, key)?;
    let initial = match &info.default {
        Some(DefaultValue::Constant(text)) => Some(text.clone()),
        Some(DefaultValue::CurrentTimestamp) => Some(literal::text(&Value::DateTime(now_micros))),
        None | Some(DefaultValue::AutoIncrement) => None,
    };
    let Column { name, data_type, nullable, aggregation, .. } = column;
    Ok(NewColumn { name, data_type, nullable, key, aggregation, initial, info })
}

/// `MODIFY COLUMN`: what the definition does not say stays.
fn modified(table: &Table, def: &ColumnDef, place: Option<&ColumnPlace>) -> Result<Alteration, Error> {
    check_no_counter(def)?;
    let model = table.schema.model;
    let column = existing(table, &def.name)?;
    let is_key = table.schema.keys.contains(&column.id);
    if def.key && !is_key {
        let message = format!(
            "column `{}` is no key column and cannot become one: make a table that has it so and fill it by INSERT INTO .. \
             SELECT, or use CREATE TABLE .. AS SELECT",
            column.name
        );
        return Err(Error::at(def.name.at, message));
    }
    if let Some(name) = &def.aggregation
        && Aggregation::of_name(name) != column.aggregation
    {
        let now = column.aggregation.map_or("none", Aggregation::name);
        let message = format!("the aggregation of column `{}` is {now} and cannot become {name}", column.name);
        return Err(Error::at(def.name.at, message));
    }
    let whole = ColumnDef {
        aggregation: column.aggregation.filter(|_| model == TableModel::Aggregate).map(|a| a.name().to_owned()),
        nullable: Some(def.nullable.unwrap_or(column.nullable)),
        ..def.clone()
    };
    let (wanted, mut declared) = columns::column(&whole, column.id, model, is_key)?;
    let before = info(table, column.id);
    if def.default.is_none() {
        if let Some(DefaultValue::Constant(text)) = &before.default
            && let Err(why) = literal::default(text, &wanted.data_type)
        {
            let message = format!("default of column `{}`: {why}; declare another DEFAULT", column.name);
            return Err(Error::at(def.name.at, message));
        }
        declared.default = before.default;
    }
    if def.comment.is_none() {
        declared.comment = before.comment;
    }
    let place = place.map(|place| placed(table, place)).transpose()?;
    let Column { id, data_type, nullable, .. } = wanted;
    Ok(Alteration::ModifyColumn { column: id, data_type, nullable, info: declared, place })
}
