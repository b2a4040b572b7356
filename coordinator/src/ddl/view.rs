//! Views.

use tarn_catalog::Operation;
use tarn_sql::{CreateView, Ident, ObjectName, Statement};

use super::columns::check_distinct;
use super::names::check_name;
use crate::query;
use crate::session::{Error, SessionContext};

/// `CREATE VIEW`: the query is planned, so that a view that cannot be read is never made.
pub async fn create(context: &SessionContext, create: &CreateView) -> Result<(), Error> {
    check_name(create.name.ident(), "view")?;
    let database = context.database_of(&create.name)?.clone();
    // Unqualified names in it are of the view's database.
    let planned_in = SessionContext { database: Some(database.name.clone()), ..context.clone() };
    let prepared = query::prepare(&planned_in, &Statement::Query(create.query.clone()))
        .await
        .map_err(|e| Error::Propose(tarn_ingest::catalog::ProposeError { kind: e.kind, message: e.message }))?;
    if !prepared.parameters.fields().is_empty() {
        return Err(Error::at(create.name.at(), "a view's query can have no parameters"));
    }
    let own: Vec<&str> = prepared.schema.fields().iter().map(|f| f.name().as_str()).collect();
    let columns = columns(create, &own)?;
    let operation = Operation::CreateView {
        database: database.id,
        name: create.name.name().to_owned(),
        columns,
        query: create.query_text.clone(),
        comment: create.comment.clone().unwrap_or_default(),
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
    };
    context.propose(operation).await?;
    Ok(())
}

/// Names of the view's columns, or none where it takes its query's. Pure.
pub fn columns(create: &CreateView, own: &[&str]) -> Result<Vec<String>, Error> {
    let at = create.name.at();
    if create.columns.is_empty() {
        let idents: Vec<Ident> = own.iter().map(|name| Ident { name: (*name).to_owned(), at }).collect();
        check_distinct(&idents, "column")?;
        return Ok(Vec::new());
    }
    if create.columns.len() != own.len() {
        let (named, given) = (create.columns.len(), own.len());
        return Err(Error::at(at, format!("the view names {named} columns, its query has {given}")));
    }
    let names: Vec<Ident> = create.columns.iter().map(|c| c.name.clone()).collect();
    names.iter().try_for_each(|name| check_name(name, "column"))?;
    check_distinct(&names, "column")?;
    if let Some(column) = create.columns.iter().find(|c| c.comment.is_some()) {
        return Err(Error::not_yet(column.name.at, "comments of a view's columns are"));
    }
    Ok(names.into_iter().map(|name| name.name).collect())
}

/// `DROP VIEW`
pub async fn drop(context: &SessionContext, if_exists: bool, name: &ObjectName) -> Result<(), Error> {
    let database = match context.database_of(name) {
        Err(Error::Catalog { source: tarn_catalog::Error::UnknownDatabase(_), .. }) if if_exists => return Ok(()),
        other => other?.id,
    };
    context.propose(Operation::DropView { database, name: name.name().to_owned(), if_exists }).await?;
    Ok(())
}
