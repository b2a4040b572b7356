//! Properties of a table that exists.

use std::collections::BTreeMap;

use tarn_proto::TableId;

use super::Outcome;
use crate::command::Response;
use crate::{Catalog, Error};

impl Catalog {
    /// Refuses what was computed from other properties than the table has.
    pub(super) fn check_properties(&self, table: TableId, expected: &BTreeMap<String, String>) -> Result<(), Error> {
        let table = self.existing_table(table)?;
        match table.properties == *expected {
            true => Ok(()),
            false => Err(Error::PropertiesChanged { table: table.name.clone() }),
        }
    }

    pub(super) fn set_table_properties(&mut self, table: TableId, properties: &BTreeMap<String, String>) -> Outcome {
        let table = self.table_mut(table)?;
        for (name, value) in properties {
            if value.is_empty() {
                table.properties.remove(name);
            } else {
                table.properties.insert(name.clone(), value.clone());
            }
        }
        Ok(Response::Done)
    }
}
