//! Properties of a table that exists.

use std::collections::BTreeMap;

use tarn_proto::TableId;

use super::Outcome;
use crate::command::Response;
use crate::{Catalog, Error, LOCATION, Locations, Table};

/// The property of a table that says which partitions live, by a condition over their columns.
pub const RETENTION_CONDITION: &str = "partition_retention_condition";

/// Sets a property: one without a value goes, but for [`LOCATION`], which says something by it.
pub fn set_property(properties: &mut BTreeMap<String, String>, name: &str, value: &str) {
    if value.is_empty() && name != LOCATION {
        properties.remove(name);
    } else {
        properties.insert(name.to_owned(), value.to_owned());
    }
}

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
        let mut after = table.properties.clone();
        for (name, value) in properties {
            set_property(&mut after, name, value);
        }
        check_locations(table, &after)?;
        table.properties = after;
        Ok(Response::Done)
    }
}

/// Refuses locations for replicas that are placed by something else.
pub(super) fn check_locations(table: &Table, properties: &BTreeMap<String, String>) -> Result<(), Error> {
    let Some(text) = properties.get(LOCATION) else { return Ok(()) };
    if Locations::parse(text)? == Locations::Every {
        return Ok(());
    }
    let name = &table.name;
    if table.volume.is_some() {
        return Err(Error::Invalid(format!(
            "table `{name}` is on a storage volume, which keeps its one copy: leave out \"{LOCATION}\""
        )));
    }
    if table.colocation.is_some() {
        return Err(Error::Colocate(format!(
            "table `{name}` is colocated, and its group places its replicas: take it out of the group first by ALTER TABLE .. \
             SET (\"colocate_with\" = \"\")"
        )));
    }
    Ok(())
}
