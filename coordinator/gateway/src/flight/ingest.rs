//! Bulk ingest: what `CommandStatementIngest` asks for, as the engine takes it.

use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use tarn_proto::storage::UpdateMode;

use super::error::{Error, NO_TRANSACTIONS};
use super::metadata::CATALOG;
use crate::engine::{IfTable, IngestRequest, UpdateOptions};

/// The ingest option that names the load's label.
const LABEL: &str = "label";
/// Whether columns that the rows lack keep their values where the key is there: `true` or `false`.
const PARTIAL_UPDATE: &str = "partial_update";
/// How: `auto`, `row` or `column`.
const PARTIAL_UPDATE_MODE: &str = "partial_update_mode";
/// The column by which rows take the place of those that are there.
const MERGE_CONDITION: &str = "merge_condition";

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
    let (mut label, mut partial, mut mode, mut merge_condition) = (None, false, UpdateMode::Row, None);
    for (name, value) in options {
        let wanted = |values: &str| Error::Malformed(format!("ingest option `{name}` takes {values}, not `{value}`"));
        match name.as_str() {
            LABEL => label = Some(value),
            PARTIAL_UPDATE => partial = value.parse().map_err(|_| wanted("true or false"))?,
            PARTIAL_UPDATE_MODE => {
                mode = match value.as_str() {
                    "auto" | "row" => UpdateMode::Row,
                    "column" => UpdateMode::Column,
                    _ => return Err(wanted("auto, row or column")),
                }
            }
            MERGE_CONDITION => merge_condition = Some(value).filter(|column| !column.is_empty()),
            _ => {
                return Err(Error::Malformed(format!(
                    "unknown ingest option `{name}`: there are `{LABEL}`, `{PARTIAL_UPDATE}`, `{PARTIAL_UPDATE_MODE}` and \
                     `{MERGE_CONDITION}`"
                )));
            }
        }
    }
    let update = UpdateOptions { partial: partial.then_some(mode), merge_condition };
    let (if_absent, if_exists) = definition(table_definition_options)?;
    Ok(IngestRequest { database: schema.filter(|s| !s.is_empty()), table, if_absent, if_exists, label, update })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn update(options: &[(&str, &str)]) -> Result<UpdateOptions, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let command = CommandStatementIngest {
            table_definition_options: None,
            table: "t".to_owned(),
            schema: None,
            catalog: None,
            temporary: false,
            transaction_id: None,
            options,
        };
        request(command).map(|request| request.update).map_err(|error| error.to_string())
    }

    #[test]
    fn options_say_what_becomes_of_rows_that_are_there() {
        assert_eq!(update(&[("label", "x")]), Ok(UpdateOptions::default()));
        let partial = |mode| UpdateOptions { partial: Some(mode), merge_condition: None };
        assert_eq!(update(&[("partial_update", "true")]), Ok(partial(UpdateMode::Row)));
        let by_column = [("partial_update", "true"), ("partial_update_mode", "column")];
        assert_eq!(update(&by_column), Ok(partial(UpdateMode::Column)));
        let merge_condition = Some("at".to_owned());
        let conditional = UpdateOptions { partial: None, merge_condition };
        assert_eq!(update(&[("merge_condition", "at"), ("partial_update_mode", "row")]), Ok(conditional));
        assert!(update(&[("partial_update", "yes")]).unwrap_err().contains("takes true or false, not `yes`"));
        assert!(update(&[("partial_update_mode", "page")]).unwrap_err().contains("auto, row or column"));
    }
}
