//! Databases.

use std::sync::Arc;

use tarn_proto::{DatabaseId, TableId};

use super::{Outcome, check_name};
use crate::command::Response;
use crate::{Catalog, Database, Error};

impl Catalog {
    pub(super) fn create_database(&mut self, name: &str, if_not_exists: bool, now_ms: u64) -> Outcome {
        check_name("database", name)?;
        match self.database_names.get(name) {
            Some(id) if if_not_exists => return Ok(Response::Database(*id)),
            Some(_) => return Err(Error::DatabaseExists(name.to_owned())),
            None => {}
        }
        let id = DatabaseId(self.next_id());
        self.databases.insert(id, Arc::new(Database { id, name: name.to_owned(), created_ms: now_ms }));
        self.database_names.insert(Arc::from(name), id);
        Ok(Response::Database(id))
    }

    pub(super) fn drop_database(&mut self, name: &str, if_exists: bool) -> Outcome {
        let Some(id) = self.database_names.remove(name) else {
            return if if_exists { Ok(Response::Done) } else { Err(Error::UnknownDatabase(name.to_owned())) };
        };
        self.databases.remove(&id);
        let relations: Vec<TableId> = self.relations(id).map(|r| r.id()).collect();
        for relation in relations {
            self.drop_relation(relation);
        }
        Ok(Response::Done)
    }

    pub(super) fn rename_database(&mut self, name: &str, new_name: &str) -> Outcome {
        check_name("database", new_name)?;
        let id = self.database(name)?.id;
        if self.database_names.contains_key(new_name) {
            return Err(Error::DatabaseExists(new_name.to_owned()));
        }
        self.database_names.remove(name);
        self.database_names.insert(Arc::from(new_name), id);
        if let Some(database) = self.databases.get_mut(&id) {
            Arc::make_mut(database).name = new_name.to_owned();
        }
        Ok(Response::Done)
    }
}
