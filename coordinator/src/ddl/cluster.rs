//! `ALTER SYSTEM`, `CANCEL DECOMMISSION`: what operators say of storage nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use tarn_catalog::{Catalog, LOCATION, Node, Operation, Relation};
use tarn_proto::NodeId;
use tarn_sql::{AlterSystem, NodeAddress, Property};

use crate::session::{Error, SessionContext};

/// Carries out a statement.
pub async fn alter_system(context: &SessionContext, alter: &AlterSystem) -> Result<(), Error> {
    let catalog = &context.catalog;
    match alter {
        AlterSystem::Decommission { nodes } => {
            let ids: Vec<NodeId> =
                nodes.iter().map(|node| Ok(storage_node(catalog, node)?.id)).collect::<Result<_, Error>>()?;
            if let Some(first) = nodes.first() {
                check_enough(catalog, &ids).map_err(|message| Error::at(first.at, message))?;
            }
            drain(context, ids, true).await
        }
        AlterSystem::CancelDecommission { nodes } => {
            let ids = nodes.iter().map(|node| Ok(storage_node(catalog, node)?.id)).collect::<Result<_, Error>>()?;
            drain(context, ids, false).await
        }
        AlterSystem::Modify { node, properties } => {
            let id = storage_node(catalog, node)?.id;
            for property in properties {
                let location = location(property)?;
                context.propose(Operation::SetNodeLocation { node: id, location }).await?;
            }
            Ok(())
        }
    }
}

async fn drain(context: &SessionContext, nodes: Vec<NodeId>, draining: bool) -> Result<(), Error> {
    for node in nodes {
        context.propose(Operation::SetDraining { node, draining }).await?;
    }
    Ok(())
}

/// The storage node with this address.
fn storage_node<'a>(catalog: &'a Catalog, named: &NodeAddress) -> Result<&'a Arc<Node>, Error> {
    let address = named.address.trim();
    catalog.storage_nodes().find(|node| !address.is_empty() && node.address == address).ok_or_else(|| {
        Error::at(named.at, format!("Backend does not exist[{address}]: see the addresses of SHOW STORAGE NODES"))
    })
}

fn location(property: &Property) -> Result<Option<String>, Error> {
    if !property.name.trim().eq_ignore_ascii_case(LOCATION) {
        let message = format!("unsupported property: {}: the only one is `{LOCATION}`", property.name);
        return Err(Error::at(property.at, message));
    }
    Ok(Some(property.value.trim().to_owned()).filter(|value| !value.is_empty()))
}

/// Refuses to drain nodes whose tablets would find no other.
fn check_enough(catalog: &Catalog, leaving: &[NodeId]) -> Result<(), String> {
    let leaving: BTreeSet<&NodeId> = leaving.iter().collect();
    let left = catalog.storage_nodes().filter(|node| !node.draining && !leaving.contains(&node.id)).count();
    for relation in catalog.relations.values() {
        let Relation::Table(table) = relation else { continue };
        if table.replication as usize > left {
            let database = catalog.database_by_id(table.database).map(|database| database.name.as_str());
            return Err(format!(
                "It will cause insufficient storage nodes if these are decommissioned, because the table {}.{} requires {} \
                 replicas: add storage nodes first, or lower its replication_num",
                database.unwrap_or_default(),
                table.name,
                table.replication
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tarn_sql::Position;

    use super::*;

    #[test]
    fn a_location_is_the_only_property_of_a_node() {
        let property =
            |name: &str, value: &str| Property { name: name.into(), value: value.into(), at: Position::default() };
        let of = |name, value| location(&property(name, value));
        assert_eq!(of("labels.location", " rack:r1 ").unwrap(), Some("rack:r1".to_owned()));
        assert_eq!(of("Labels.Location", "").unwrap(), None);
        assert!(of("labels.rack", "r1").unwrap_err().to_string().starts_with("unsupported property: labels.rack"));
    }
}
