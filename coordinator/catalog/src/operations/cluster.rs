//! The cluster's name and its nodes.

use std::sync::Arc;

use tarn_proto::{NodeId, TabletId};

use super::Outcome;
use crate::command::{MAX_COORDINATOR_ID, Response};
use crate::{Catalog, Error, Node, Relation, Role};

impl Catalog {
    pub(super) fn initialize_cluster(&mut self, cluster_id: &str) -> Response {
        Response::ClusterId(self.cluster_id.get_or_insert_with(|| Arc::from(cluster_id)).to_string())
    }

    pub(super) fn register_node(&mut self, role: Role, address: &str, asked: Option<NodeId>, now_ms: u64) -> Outcome {
        let id = self.id_for_node(role, address, asked)?;
        // Who listens at an address now is who registered last: calls for another node must not reach it.
        let losers: Vec<NodeId> =
            self.nodes.values().filter(|n| n.id != id && n.address == address).map(|n| n.id).collect();
        for loser in losers {
            if let Some(node) = self.nodes.get_mut(&loser) {
                Arc::make_mut(node).address.clear();
            }
        }
        match self.nodes.get_mut(&id) {
            Some(node) if node.address == address => {}
            Some(node) => Arc::make_mut(node).address = address.to_owned(),
            None => {
                let address = address.to_owned();
                let node = Node { id, role, address, draining: false, location: None, registered_ms: now_ms };
                self.nodes.insert(id, Arc::new(node));
            }
        }
        Ok(Response::Node(id))
    }

    fn id_for_node(&mut self, role: Role, address: &str, asked: Option<NodeId>) -> Result<NodeId, Error> {
        let holder = asked.and_then(|id| self.nodes.get(&id));
        match asked {
            // What a process calls itself counts for more than its address: addresses are given to other nodes in time,
            // and its tablets are registered under the id.
            Some(id) if holder.is_some_and(|node| node.role == role) => return Ok(id),
            Some(id) if role == Role::Coordinator => {
                return match holder {
                    Some(node) => Err(Error::Invalid(format!(
                        "node id {id} is that of the {} at {}: configure another id for the coordinator at {address}",
                        node.role, node.address
                    ))),
                    None => Ok(id),
                };
            }
            None if role == Role::Coordinator => {
                return Err(Error::Invalid(format!("the coordinator at {address} does not say its node id")));
            }
            _ => {}
        }
        // A process that does not know whose tablets it has has none, so it is not the node that should have them.
        let there = self.nodes.values().find(|n| n.role == role && n.address == address);
        if let Some(node) = there.filter(|n| self.tablets_on(n.id) == 0) {
            return Ok(node.id);
        }
        if let Some(id) = asked
            && id > MAX_COORDINATOR_ID
            && holder.is_none()
        {
            return Ok(id);
        }
        self.last_id = self.last_id.max(MAX_COORDINATOR_ID.get());
        loop {
            let id = NodeId(self.next_id());
            if !self.nodes.contains_key(&id) {
                return Ok(id);
            }
        }
    }

    pub(super) fn set_draining(&mut self, id: NodeId, draining: bool) -> Outcome {
        let node = self.nodes.get_mut(&id).ok_or(Error::UnknownNode(id))?;
        Arc::make_mut(node).draining = draining;
        Ok(Response::Done)
    }

    pub(super) fn set_node_location(&mut self, id: NodeId, location: Option<&str>) -> Outcome {
        let node = self.nodes.get_mut(&id).ok_or(Error::UnknownNode(id))?;
        if node.role != Role::Storage {
            return Err(Error::Invalid(format!("node {id} is a {}: only storage nodes have locations", node.role)));
        }
        check_location(location)?;
        Arc::make_mut(node).location = location.map(str::to_owned);
        Ok(Response::Done)
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Outcome {
        self.nodes.remove(&id).ok_or(Error::UnknownNode(id))?;
        let held = self.tablets_on(id);
        if held > 0 {
            return Err(Error::NodeHoldsTablets { node: id, tablets: held });
        }
        if let Some(group) = self.colocation_groups.values().find(|g| g.sequence.iter().any(|b| b.contains(&id))) {
            return Err(Error::NodeInGroup { node: id, group: group.name.clone() });
        }
        // The files of dropped tablets are gone with the node.
        self.dropped_replicas = self.dropped_replicas.iter().filter(|(_, node)| *node != id).copied().collect();
        let dropped: Vec<TabletId> =
            self.dropped_tablets.iter().filter(|(_, nodes)| nodes.contains(&id)).map(|(t, _)| *t).collect();
        for tablet in dropped {
            if let Some(nodes) = self.dropped_tablets.get_mut(&tablet) {
                nodes.retain(|n| *n != id);
                if nodes.is_empty() {
                    self.dropped_tablets.remove(&tablet);
                }
            }
        }
        Ok(Response::Done)
    }

    fn tablets_on(&self, node: NodeId) -> usize {
        let tables = self.relations.values().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            Relation::View(_) => None,
        });
        tables.flat_map(|table| table.tablets()).filter(|(_, _, t)| t.replica(node).is_some()).count()
    }

    pub(super) fn forget_tablets(&mut self, tablets: &[TabletId]) -> Response {
        for tablet in tablets {
            self.dropped_tablets.remove(tablet);
        }
        Response::Done
    }
}

/// Refuses a location that is not of the form `rack:r1`, as StarRocks has them.
fn check_location(location: Option<&str>) -> Result<(), Error> {
    let part = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
    };
    match location {
        Some(text) if !text.split_once(':').is_some_and(|(key, value)| part(key) && part(value)) => {
            Err(Error::Invalid(format!(
                "invalid location label `{text}`: write key:value in small letters, digits and `_`, such as \"rack:r1\""
            )))
        }
        Some(_) | None => Ok(()),
    }
}
