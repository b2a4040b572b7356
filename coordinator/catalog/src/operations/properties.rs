//! Properties of a table that exists.

use std::collections::BTreeMap;

use tarn_proto::TableId;

use super::Outcome;
use crate::Catalog;
use crate::command::Response;

impl Catalog {
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
