//! `ALTER TABLE table SET (..)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tarn_catalog::{LOCATION, Operation, STORAGE_VOLUME, Table, set_property};
use tarn_sql::{ObjectName, Property};

use super::indexes::BLOOM_FILTER_COLUMNS;
use super::replicas::{self, COLOCATE_WITH, DEFAULT_REPLICATION_NUM, REPLICATION_NUM, StorageNodes};
use super::{alter, lifetime, properties, volume};
use crate::reconcile::partitions;
use crate::session::{Error, SessionContext};

/// Sets properties that a table may change. Partitions follow their new rule at once.
pub async fn set(context: &SessionContext, name: &ObjectName, declared: &[Property]) -> Result<(), Error> {
    if let [property] = declared {
        match property.name.trim().to_ascii_lowercase().as_str() {
            REPLICATION_NUM | DEFAULT_REPLICATION_NUM => {
                return replicas::set_replication(context, name, property).await;
            }
            COLOCATE_WITH => return replicas::set_colocation(context, name, property).await,
            BLOOM_FILTER_COLUMNS => return alter::set_bloom_columns(context, name, property).await,
            STORAGE_VOLUME => return volume::relocate(context, name, property).await,
            _ => {}
        }
    }
    let table = context.table(name)?;
    let mut set = BTreeMap::new();
    for property in declared {
        let name = property.name.trim().to_ascii_lowercase();
        if name == LOCATION {
            let all = StorageNodes::of(context).await;
            let meant = all.meant(std::slice::from_ref(property))?;
            // Nodes that are away keep nobody from meaning all.
            if meant.alive != all.alive {
                meant.check(&table.name, table.replication, property.at)?;
            }
        } else if !lifetime::is_lifetime(&name) {
            if matches!(
                name.as_str(),
                REPLICATION_NUM | DEFAULT_REPLICATION_NUM | COLOCATE_WITH | BLOOM_FILTER_COLUMNS | STORAGE_VOLUME
            ) {
                return Err(Error::at(property.at, format!("property `{name}` is set by a statement of its own")));
            }
            // Says what is wrong with a name that no table has.
            properties::lower(std::slice::from_ref(property))?;
            let message = format!("property `{name}` cannot be changed: it is given when the table is created");
            return Err(Error::at(property.at, message));
        }
        set.insert(name, property.value.clone());
    }
    let mut after = table.properties.clone();
    set.iter().for_each(|(name, value)| set_property(&mut after, name, value));
    lifetime::check(&after, &table.partitioning, &table.schema, &table.distribution, declared)?;
    let before = table.properties.clone();
    let new = Table { properties: after, ..Table::clone(&table) };
    partitions::check(&context.shared.planner, &context.catalog, &Arc::new(new), declared).await?;
    context.propose(Operation::SetTableProperties { table: table.id, properties: set, before }).await?;
    partitions::follow(&context.shared.catalog, &context.shared.planner, table.id).await
}
