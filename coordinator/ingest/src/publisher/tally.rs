//! What storage nodes answered to a publish, and what follows from it. Pure.

use std::collections::BTreeMap;

use tarn_catalog::{Replica, ReplicaState};
use tarn_proto::storage::{CatchUp, Peer, StoreError, Unpublished};
use tarn_proto::{NodeId, TabletId, Version};

use super::plan::{Plan, Planned};

/// What is known of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has the version.
    Has,
    /// It has the version, and older files of it are damaged.
    Damaged,
    /// It has answered that it has not.
    Lacks,
    /// Its node has not answered.
    Silent,
}

/// The answers to one plan so far.
pub struct Tally<'a> {
    plan: &'a Plan,
    /// What each node that answered did not publish.
    answers: BTreeMap<NodeId, BTreeMap<TabletId, Unpublished>>,
    failures: BTreeMap<NodeId, StoreError>,
}

impl<'a> Tally<'a> {
    /// Nobody has answered.
    pub fn new(plan: &'a Plan) -> Self {
        Self { plan, answers: BTreeMap::new(), failures: BTreeMap::new() }
    }

    /// A node has answered, or failed to.
    pub fn take(&mut self, node: NodeId, answer: Result<Vec<Unpublished>, StoreError>) {
        match answer {
            Ok(unpublished) => {
                self.answers.insert(node, unpublished.into_iter().map(|u| (u.tablet, u)).collect());
            }
            Err(error) => {
                self.failures.insert(node, error);
            }
        }
    }

    /// Why nodes failed.
    pub fn failures(&self) -> impl Iterator<Item = &StoreError> {
        self.failures.values()
    }

    fn standing(&self, tablet: TabletId, node: NodeId) -> Standing {
        let Some(unpublished) = self.answers.get(&node) else { return Standing::Silent };
        match unpublished.get(&tablet) {
            None => Standing::Has,
            Some(Unpublished { damaged: true, .. }) => Standing::Damaged,
            Some(_) => Standing::Lacks,
        }
    }

    /// Whether a replica will be current once the version is visible.
    fn will_be_current(&self, tablet: TabletId, replica: &Replica) -> bool {
        match self.standing(tablet, replica.node) {
            Standing::Has => true,
            // It stays what it is: repairing it is another's work, and must not stop loads.
            Standing::Damaged => replica.state == ReplicaState::Current,
            Standing::Lacks | Standing::Silent => false,
        }
    }

    /// The first tablet whose members at the version are no quorum yet, and how many there are.
    pub fn short(&self) -> Option<(TabletId, &'a Planned, usize)> {
        self.plan.tablets.iter().find_map(|(tablet, planned)| {
            let have = self.members_at(*tablet, planned);
            (have < planned.quorum).then_some((*tablet, planned, have))
        })
    }

    fn members_at(&self, tablet: TabletId, planned: &Planned) -> usize {
        let members = planned.replicas.iter().filter(|replica| replica.is_member());
        members.filter(|replica| self.will_be_current(tablet, replica)).count()
    }

    /// Replicas whose state is another once the version is visible: whether they are current then.
    pub fn changed(&self) -> Vec<(TabletId, NodeId, bool)> {
        let mut changed = Vec::new();
        for (tablet, planned) in &self.plan.tablets {
            for replica in &planned.replicas {
                let current = self.will_be_current(*tablet, replica);
                if current != (replica.state == ReplicaState::Current) {
                    changed.push((*tablet, replica.node, current));
                }
            }
        }
        // Neither is one that joins and lacks the version current before or after.
        changed.retain(|(tablet, node, current)| *current || self.is_current_before(*tablet, *node));
        changed
    }

    fn is_current_before(&self, tablet: TabletId, node: NodeId) -> bool {
        let replicas = self.plan.tablets.get(&tablet).into_iter().flat_map(|planned| &planned.replicas);
        replicas.into_iter().any(|replica| replica.node == node && replica.state == ReplicaState::Current)
    }

    /// Replicas that answered that they lack the version, by their nodes, and whom they have to catch up from: replicas that
    /// have it; as long as there is none, current ones, whose version before is all that is missing to one that has the
    /// transaction's rowset.
    pub fn laggards(&self) -> BTreeMap<NodeId, Vec<CatchUp>> {
        let mut laggards: BTreeMap<NodeId, Vec<CatchUp>> = BTreeMap::new();
        let Some(schema) = &self.plan.schema else { return laggards };
        for (tablet, planned) in &self.plan.tablets {
            let nodes = || planned.replicas.iter().map(|replica| replica.node);
            let lacking: Vec<NodeId> = nodes().filter(|n| self.standing(*tablet, *n) == Standing::Lacks).collect();
            if lacking.is_empty() {
                continue;
            }
            let mut version = planned.version;
            let mut sources = self.peers(nodes().filter(|node| self.standing(*tablet, *node) == Standing::Has));
            if sources.is_empty() {
                version = Version(planned.version.get().saturating_sub(1));
                let current = planned.replicas.iter().filter(|replica| replica.state == ReplicaState::Current);
                sources = self.peers(current.map(|replica| replica.node).filter(|n| self.answers.contains_key(n)));
            }
            for node in lacking {
                let sources: Vec<Peer> = sources.iter().filter(|peer| peer.node != node).cloned().collect();
                if !sources.is_empty() {
                    let schema = schema.clone();
                    let behind = CatchUp { tablet: *tablet, schema, version, sources, repair: false };
                    laggards.entry(node).or_default().push(behind);
                }
            }
        }
        laggards
    }

    /// Whether a node has answered that it lacks a version.
    pub fn has_laggards(&self) -> bool {
        self.answers.values().flat_map(BTreeMap::values).any(|unpublished| !unpublished.damaged)
    }

    fn peers(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<Peer> {
        nodes.filter_map(|node| self.plan.peers.get(&node).cloned()).collect()
    }

    /// What each replica of a tablet said, for people.
    pub fn told(&self, tablet: TabletId) -> String {
        let replicas = self.plan.tablets.get(&tablet).into_iter().flat_map(|planned| &planned.replicas);
        let told = replicas.into_iter().map(|Replica { node, .. }| match self.answers.get(node) {
            Some(unpublished) => match unpublished.get(&tablet) {
                None => format!("{node} has it"),
                Some(unpublished) => format!("{node}: {}", unpublished.reason),
            },
            None => match self.failures.get(node) {
                Some(error) => format!("{node}: {error}"),
                None => format!("{node} has not answered"),
            },
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests;
