//! `ALTER TABLE table SET (..)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tarn_catalog::{Operation, Table};
use tarn_sql::{ObjectName, Property};

use super::{lifetime, properties};
use crate::reconcile::partitions;
use crate::session::{Error, SessionContext};

/// Sets properties that a table may change. Partitions follow their new rule at once.
pub async fn set(context: &SessionContext, name: &ObjectName, declared: &[Property]) -> Result<(), Error> {
    let table = context.table(name)?;
    let mut set = BTreeMap::new();
    for property in declared {
        let name = property.name.trim().to_ascii_lowercase();
        if !lifetime::is_lifetime(&name) {
            // Says what is wrong with a name that no table has.
            properties::check_partition(std::slice::from_ref(property))?;
            let message = format!("property `{name}` cannot be changed: it is given when the table is created");
            return Err(Error::at(property.at, message));
        }
        set.insert(name, property.value.clone());
    }
    let mut after = table.properties.clone();
    after.extend(set.clone());
    after.retain(|_, value| !value.is_empty());
    lifetime::check(&after, &table.partitioning, &table.schema, &table.distribution, declared)?;
    let before = table.properties.clone();
    let new = Table { properties: after, ..Table::clone(&table) };
    partitions::check(&context.shared.planner, &context.catalog, &Arc::new(new), declared).await?;
    context.propose(Operation::SetTableProperties { table: table.id, properties: set, before }).await?;
    partitions::follow(&context.shared.catalog, &context.shared.planner, table.id).await
}
