//! Views.

use std::sync::Arc;

use tarn_proto::{DatabaseId, TableId};

use super::Outcome;
use crate::command::{Operation, Response};
use crate::{Catalog, Error, Relation, View};

impl Catalog {
    pub(super) fn create_view(&mut self, operation: &Operation) -> Outcome {
        let Operation::CreateView { database, name, columns, query, comment, or_replace, if_not_exists } = operation
        else {
            return Err(Error::Invalid("not a view".to_owned()));
        };
        self.existing_database(*database)?;
        let replaced = match self.relation(*database, name) {
            Some(Relation::View(view)) if *or_replace => Some(view.id),
            Some(Relation::View(view)) if *if_not_exists => return Ok(Response::Table(view.id)),
            Some(Relation::Table(_)) if *or_replace => return Err(Error::IsTable(name.clone())),
            _ => {
                self.check_relation_name_is_free(*database, name)?;
                None
            }
        };
        let id = replaced.unwrap_or_else(|| TableId(self.next_id()));
        let view = View {
            id,
            database: *database,
            name: name.clone(),
            columns: columns.clone(),
            query: query.clone(),
            comment: comment.clone(),
        };
        self.insert_relation(*database, Relation::View(Arc::new(view)));
        Ok(Response::Table(id))
    }

    pub(super) fn drop_view(&mut self, database: DatabaseId, name: &str, if_exists: bool) -> Outcome {
        self.existing_database(database)?;
        let id = match self.relation(database, name) {
            Some(Relation::View(view)) => view.id,
            Some(Relation::Table(_)) => return Err(Error::IsTable(name.to_owned())),
            None if if_exists => return Ok(Response::Done),
            None => return Err(Error::UnknownView(name.to_owned())),
        };
        self.drop_relation(id);
        Ok(Response::Done)
    }
}
