//! Bulk ingest: what `CommandStatementIngest` asks for, as the engine takes it.

use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption};

use super::error::{Error, NO_TRANSACTIONS};
use super::metadata::CATALOG;
use crate::engine::{IfTable, IngestRequest};

/// The ingest option that names the load's label.
const LABEL: &str = "label";

/// Checks a request and translates it.
pub(crate) fn request(command: CommandStatementIngest) -> Result<IngestRequest, Error> {
    let CommandStatementIngest { table_definition_options, table, schema, catalog, temporary, transaction_id, options } =
        command;
    refuse_transaction(transaction_id.as_deref())?;
    if temporary {
        return Err(Error::Unsupported(
            "temporary tables are not supported: ingest into a table and drop it after use",
        ));
    }
    if catalog.is_some_and(|c| !c.is_empty() && c != CATALOG) {
        return Err(Error::Unsupported("rows can be ingested into `default_catalog` alone: leave the catalog out"));
    }
    if table.is_empty() {
        return Err(Error::Malformed("a bulk ingest names its table".to_owned()));
    }
    let mut label = None;
    for (name, value) in options {
        match name.as_str() {
            LABEL => label = Some(value),
            _ => return Err(Error::Malformed(format!("unknown ingest option `{name}`: the only one is `{LABEL}`"))),
        }
    }
    let (if_absent, if_exists) = definition(table_definition_options)?;
    Ok(IngestRequest { database: schema.filter(|s| !s.is_empty()), table, if_absent, if_exists, label })
}

/// Nothing said means: add to a table that exists.
fn definition(options: Option<TableDefinitionOptions>) -> Result<(IfTable, IfTable), Error> {
    let Some(options) = options else { return Ok((IfTable::Fail, IfTable::Append)) };
    let if_absent = match TableNotExistOption::try_from(options.if_not_exist) {
        Ok(TableNotExistOption::Create) => IfTable::Create,
        Ok(TableNotExistOption::Fail) => IfTable::Fail,
        Ok(TableNotExistOption::Unspecified) | Err(_) => {
            return Err(Error::Malformed("`if_not_exist` must be CREATE or FAIL".to_owned()));
        }
    };
    let if_exists = match TableExistsOption::try_from(options.if_exists) {
        Ok(TableExistsOption::Fail) => IfTable::Fail,
        Ok(TableExistsOption::Append) => IfTable::Append,
        Ok(TableExistsOption::Replace) => IfTable::Replace,
        Ok(TableExistsOption::Unspecified) | Err(_) => {
            return Err(Error::Malformed("`if_exists` must be FAIL, APPEND or REPLACE".to_owned()));
        }
    };
    Ok((if_absent, if_exists))
}

/// Refuses a call that belongs to a transaction.
pub(crate) fn refuse_transaction(transaction_id: Option<&[u8]>) -> Result<(), Error> {
    match transaction_id {
        Some(id) if !id.is_empty() => Err(Error::Unsupported(NO_TRANSACTIONS)),
        _ => Ok(()),
    }
}
