//! What has to be published where before a transaction may be seen. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tarn_catalog::{Catalog, Relation, Replica, ReplicaState, Tablet, Transaction, TransactionState};
use tarn_proto::storage::{Peer, PublishTablet};
use tarn_proto::{NodeId, TableSchema, TabletId, Version};

/// A committed transaction's tablets, as the catalog has them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The table's name.
    pub table: String,
    /// What replicas that are not there are made with; none if the table was dropped.
    pub schema: Option<TableSchema>,
    /// Every tablet of the partitions that it takes a version of. Those of dropped partitions are left out.
    pub tablets: BTreeMap<TabletId, Planned>,
    /// What each node has to publish: every replica, whatever its state.
    pub nodes: BTreeMap<NodeId, Vec<PublishTablet>>,
    /// Where the nodes are; those that cannot be called are left out.
    pub peers: BTreeMap<NodeId, Peer>,
}

/// One tablet of a transaction.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The version that it takes.
    pub version: Version,
    /// Its replicas.
    pub replicas: Vec<Replica>,
    /// So many members must have the version.
    pub quorum: usize,
}

impl Plan {
    /// What `txn` needs.
    pub fn of(catalog: &Catalog, txn: &Transaction) -> Self {
        let mut plan = Self { table: txn.table.to_string(), ..Self::default() };
        let TransactionState::Committed { writes, versions, .. } = &txn.state else { return plan };
        let Some(Relation::Table(table)) = catalog.relations.get(&txn.table) else { return plan };
        let written: HashSet<_> = writes.iter().map(|w| w.tablet).collect();
        for (id, version) in versions {
            for tablet in table.partition_by_id(*id).iter().flat_map(|partition| &partition.tablets) {
                plan.add(tablet, *version, written.contains(&tablet.id));
            }
        }
        for node in plan.nodes.keys().filter_map(|id| catalog.nodes.get(id)).filter(|node| !node.address.is_empty()) {
            plan.peers.insert(node.id, Peer { node: node.id, address: node.address.clone() });
        }
        (plan.table, plan.schema) = (table.name.clone(), Some(table.schema.clone()));
        plan
    }

    fn add(&mut self, tablet: &Tablet, version: Version, has_rowset: bool) {
        let publish = PublishTablet { tablet: tablet.id, version, has_rowset };
        for node in tablet.nodes() {
            self.nodes.entry(node).or_default().push(publish);
        }
        let planned = Planned { version, replicas: tablet.replicas.clone(), quorum: tablet.quorum() };
        self.tablets.insert(tablet.id, planned);
    }

    /// The nodes to ask: those that live, unless a quorum needs others.
    pub fn asked(&self, is_alive: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        let living: BTreeSet<NodeId> = self.peers.keys().copied().filter(|node| is_alive(*node)).collect();
        match self.tablets.values().all(|planned| planned.members_in(&living) >= planned.quorum) {
            true => living,
            false => self.peers.keys().copied().collect(),
        }
    }

    /// Whether the node has a replica that queries would not read any more without the version.
    pub fn is_read(&self, node: NodeId) -> bool {
        let tablets = self.nodes.get(&node).into_iter().flatten().filter_map(|t| self.tablets.get(&t.tablet));
        tablets.flat_map(|planned| &planned.replicas).any(|r| r.node == node && r.state == ReplicaState::Current)
    }
}

impl Planned {
    fn members_in(&self, nodes: &BTreeSet<NodeId>) -> usize {
        self.replicas.iter().filter(|replica| replica.is_member() && nodes.contains(&replica.node)).count()
    }
}
