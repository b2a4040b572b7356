//! `SHOW COLUMNS`, `DESC`, `DESC FILES`.

use tarn_catalog::{DefaultValue, Relation, Table, View};
use tarn_gateway::engine::{EngineError, Result};
use tarn_proto::{Aggregation, Column, TableModel, TableSchema};
use tarn_sql::{ObjectName, parse_one, quote_ident};

use super::pattern::Pattern;
use super::rows::Rows;
use crate::ddl::declared_type;
use crate::query;
use crate::session::{Error, INFORMATION_SCHEMA, SessionContext};

pub const COLUMNS: &[&str] = &["Field", "Type", "Null", "Key", "Default", "Extra"];
pub const FULL_COLUMNS: &[&str] =
    &["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"];
pub const FILES: &[&str] = &["Field", "Type", "Null"];

/// One column, as it is shown.
struct Shown {
    name: String,
    data_type: String,
    nullable: bool,
    key: bool,
    default: Option<String>,
    /// What becomes of values whose rows have equal keys.
    extra: &'static str,
    comment: String,
}

pub async fn columns(
    context: &SessionContext,
    rows: &mut Rows,
    name: &ObjectName,
    full: bool,
    like: Option<&str>,
) -> Result<()> {
    let database = name.database().or(context.database.as_deref());
    let columns = if database == Some(INFORMATION_SCHEMA) {
        let query = format!("SELECT * FROM {INFORMATION_SCHEMA}.{}", quote_ident(name.name()));
        of_query(context, &query, &[]).await?
    } else {
        match context.relation(name)? {
            Relation::Table(table) => of_table(table),
            Relation::View(view) => of_view(context, view).await?,
        }
    };
    let pattern = Pattern::new(like);
    for column in columns.into_iter().filter(|c| pattern.matches(&c.name)) {
        let null = yes_no(column.nullable);
        let key = Some(column.key.to_string());
        let extra = Some(column.extra.to_owned());
        rows.push_nullable(if full {
            let privileges = Some(String::new());
            let (name, data_type) = (Some(column.name), Some(column.data_type));
            vec![name, data_type, None, null, key, column.default, extra, privileges, Some(column.comment)]
        } else {
            vec![Some(column.name), Some(column.data_type), null, key, column.default, extra]
        });
    }
    Ok(())
}

fn of_table(table: &Table) -> Vec<Shown> {
    let shown = |column: &Column| {
        let info = table.columns.get(&column.id).cloned().unwrap_or_default();
        let is_increment = info.default == Some(DefaultValue::AutoIncrement);
        Shown {
            name: column.name.clone(),
            data_type: column.data_type.to_string(),
            nullable: column.nullable,
            key: table.schema.keys.contains(&column.id),
            default: info.default.and_then(|default| match default {
                DefaultValue::Constant(text) => Some(text),
                DefaultValue::CurrentTimestamp => Some("CURRENT_TIMESTAMP".to_owned()),
                DefaultValue::AutoIncrement => None,
            }),
            extra: if is_increment { "AUTO_INCREMENT" } else { extra(&table.schema, column) },
            comment: info.comment,
        }
    };
    table.schema.columns.iter().map(shown).collect()
}

/// Nothing for a key; for a value its aggregation, in StarRocks' words.
fn extra(schema: &TableSchema, column: &Column) -> &'static str {
    match (schema.model, column.aggregation) {
        _ if schema.keys.contains(&column.id) => "",
        (TableModel::Duplicate, _) => "NONE",
        (TableModel::PrimaryKey, _) => "REPLACE",
        (TableModel::Aggregate | TableModel::Unique, aggregation) => aggregation.map_or("", Aggregation::name),
    }
}

/// Plans the view's query: its columns are what that gives today.
async fn of_view(context: &SessionContext, view: &View) -> Result<Vec<Shown>> {
    let database = context.catalog.database_by_id(view.database).map(|d| d.name.clone());
    let context = SessionContext { database, ..context.clone() };
    of_query(&context, &view.query, &view.columns).await.map_err(|error| EngineError {
        message: format!("view `{}` cannot be read any more: {error}", view.name),
        ..error
    })
}

/// The columns of a query, under `names` if there are any.
async fn of_query(context: &SessionContext, query: &str, names: &[String]) -> Result<Vec<Shown>> {
    let query = parse_one(query).map_err(Error::from)?;
    let prepared = query::prepare(context, &query).await?;
    let own = prepared.schema.fields().iter().map(|f| f.name().clone());
    let names: Vec<String> = if names.is_empty() { own.collect() } else { names.to_vec() };
    let shown = names.into_iter().zip(prepared.schema.fields()).map(|(name, field)| Shown {
        name,
        data_type: declared_type(field).map_or_else(|| field.data_type().to_string(), |t| t.to_string()),
        nullable: field.is_nullable(),
        key: false,
        default: None,
        extra: "",
        comment: String::new(),
    });
    Ok(shown.collect())
}

pub async fn files(context: &SessionContext, rows: &mut Rows, properties: &[(String, String)]) -> Result<()> {
    for (name, data_type, nullable) in query::describe_files(context, properties).await? {
        rows.push_nullable(vec![Some(name), Some(data_type.to_string()), yes_no(nullable)]);
    }
    Ok(())
}

fn yes_no(yes: bool) -> Option<String> {
    Some(if yes { "YES" } else { "NO" }.to_owned())
}
