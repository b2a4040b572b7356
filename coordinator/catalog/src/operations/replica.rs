//! Replicas of tablets: which there are and what each is to its tablet.
//!
//! What holds at every step, for a tablet whose members are M and whose quorum is `|M| / 2 + 1`:
//!
//! ```text
//!  visible    a version becomes visible only when a quorum of M is Current, which means: has it and all before it
//!  committed  a load is committed only if a quorum of M holds its rowset
//!  changes    whoever becomes Current has everything committed, so it counts for what is being published now, too;
//!             a swap or removal of members leaves a quorum of the new M holding each committed load, or no fewer holders
//! ```
//!
//! The second part of `changes` needs care where a load is committed and not yet visible: a replica that joins may hold all
//! that is visible and lack that load. It may still take the place of a member (a dead one may be what keeps the load from
//! becoming visible) where those that stay are enough by themselves; it is a member that is behind then.

use std::collections::BTreeMap;

use tarn_proto::{NodeId, TabletId, Version};

use super::Outcome;
use crate::command::{AddReplica, CaughtUp, ReplicaKey, Response};
use crate::{Catalog, Error, Node, Partition, Replica, ReplicaState, Role, Table, Tablet, TransactionState};

/// What committed loads that are not visible yet wrote to some tablets: the version of each, and who holds it.
type Committed = BTreeMap<TabletId, Vec<(Version, Vec<NodeId>)>>;

impl Catalog {
    pub(super) fn add_replicas(&mut self, replicas: &[AddReplica]) -> Outcome {
        Ok(each(replicas, |add| (add.tablet, add.node), |add| self.add_replica(add)))
    }

    pub(super) fn remove_replicas(&mut self, replicas: &[ReplicaKey]) -> Outcome {
        let committed = self.committed_to(replicas.iter().map(|key| key.0));
        Ok(each(replicas, |key| *key, |&(tablet, node)| self.remove_replica(tablet, node, &committed)))
    }

    pub(super) fn replicas_caught_up(&mut self, replicas: &[CaughtUp]) -> Outcome {
        let committed = self.committed_to(replicas.iter().map(|claim| claim.tablet));
        Ok(each(replicas, |claim| (claim.tablet, claim.node), |claim| self.replica_caught_up(claim, &committed)))
    }

    pub(super) fn replicas_behind(&mut self, replicas: &[ReplicaKey]) -> Outcome {
        Ok(each(replicas, |key| *key, |&(tablet, node)| self.replica_behind(tablet, node)))
    }

    pub(super) fn forget_replicas(&mut self, replicas: &[ReplicaKey]) -> Response {
        for key in replicas {
            self.dropped_replicas.remove(key);
        }
        Response::Done
    }

    fn add_replica(&mut self, add: &AddReplica) -> Result<(), Error> {
        let (table, _, tablet) = self.placed(add.tablet)?;
        let refuse = |why: String| Err(Error::Replica { tablet: add.tablet, node: add.node, why });
        if let Some(replica) = tablet.replica(add.node) {
            return match replica.state {
                ReplicaState::Joining { replaces } if replaces == add.replaces => Ok(()),
                state => refuse(format!("the node has one already, which is {}", state.name())),
            };
        }
        let node = match self.nodes.get(&add.node) {
            Some(node) if node.role == Role::Storage => node,
            Some(node) => return refuse(format!("the node is a {}", node.role)),
            None => return Err(Error::UnknownNode(add.node)),
        };
        if node.draining {
            return refuse("the node is drained".to_owned());
        }
        let joining = tablet.replicas.iter().filter_map(|replica| match replica.state {
            ReplicaState::Joining { replaces } => Some(replaces),
            ReplicaState::Current | ReplicaState::Behind => None,
        });
        match add.replaces {
            Some(old) if !tablet.replica(old).is_some_and(Replica::is_member) => {
                return refuse(format!("{old}, which it would replace, has no replica that votes"));
            }
            Some(old) if joining.clone().any(|replaces| replaces == Some(old)) => {
                return refuse(format!("{old} is being replaced by another"));
            }
            Some(_) => {}
            None => {
                let more = joining.filter(Option::is_none).count();
                if tablet.members().count() + more >= table.replication as usize {
                    return refuse(format!("table `{}` has replication_num {}", table.name, table.replication));
                }
            }
        }
        if let Some(other) = self.shares_location(table, tablet, node, add.replaces) {
            let location = node.location.as_deref().unwrap_or_default();
            return refuse(format!("the replica on {other} is at its location `{location}`, too"));
        }
        // Files of an earlier replica are not to be dropped any more: what of them is right need not be fetched.
        self.dropped_replicas.remove(&(add.tablet, add.node));
        if let Some(tablet) = self.tablet_mut(add.tablet) {
            tablet.replicas.push(Replica { node: add.node, state: ReplicaState::Joining { replaces: add.replaces } });
        }
        Ok(())
    }

    /// Another replica of the tablet that stands where `node` does, though there are enough other locations. The one that
    /// is replaced does not count.
    fn shares_location(&self, table: &Table, tablet: &Tablet, node: &Node, replaces: Option<NodeId>) -> Option<NodeId> {
        let location = node.location.as_ref()?;
        let at = |other: NodeId| self.nodes.get(&other).and_then(|other| other.location.as_ref());
        let shares = |other: &NodeId| Some(*other) != replaces && at(*other) == Some(location);
        let other = tablet.nodes().find(shares)?;
        self.stand_apart(&table.locations(), table.replication).then_some(other)
    }

    fn remove_replica(&mut self, id: TabletId, node: NodeId, committed: &Committed) -> Result<(), Error> {
        let (table, _, tablet) = self.placed(id)?;
        let refuse = |why: String| Err(Error::Replica { tablet: id, node, why });
        let Some(replica) = tablet.replica(node) else { return Ok(()) };
        if replica.is_member() {
            let left: Vec<&Replica> = tablet.members().filter(|member| member.node != node).collect();
            if left.len() < table.replication as usize {
                return refuse(format!("table `{}` has replication_num {}", table.name, table.replication));
            }
            let quorum = left.len() / 2 + 1;
            let current = left.iter().filter(|member| member.state == ReplicaState::Current).count();
            if current < quorum {
                return refuse(format!("only {current} of the {} that are left are current", left.len()));
            }
            let nodes: Vec<NodeId> = left.iter().map(|member| member.node).collect();
            if !holds_quorum(committed.get(&id), None, &nodes) {
                return refuse("those that are left hold too few copies of a load that is committed".to_owned());
            }
        }
        self.take_replica(id, node);
        Ok(())
    }

    /// Takes a replica from its tablet, and notes that its files are to be dropped. What would have replaced it is one more.
    fn take_replica(&mut self, id: TabletId, node: NodeId) {
        let Some(tablet) = self.tablet_mut(id) else { return };
        tablet.replicas.retain(|replica| replica.node != node);
        for replica in &mut tablet.replicas {
            if replica.state == (ReplicaState::Joining { replaces: Some(node) }) {
                replica.state = ReplicaState::Joining { replaces: None };
            }
        }
        self.dropped_replicas.insert((id, node));
    }

    fn replica_behind(&mut self, id: TabletId, node: NodeId) -> Result<(), Error> {
        let (_, _, tablet) = self.placed(id)?;
        match tablet.replica(node) {
            Some(replica) if replica.state == ReplicaState::Current => {}
            Some(_) => return Ok(()),
            None => return Err(Error::Replica { tablet: id, node, why: "the node has none".to_owned() }),
        }
        if tablet.readable().all(|replica| replica.node == node) {
            return Err(Error::Replica { tablet: id, node, why: "it is the last one that can be read".to_owned() });
        }
        self.set_state_of(id, node, ReplicaState::Behind);
        Ok(())
    }

    fn replica_caught_up(&mut self, claim: &CaughtUp, committed: &Committed) -> Result<(), Error> {
        let (_, partition, tablet) = self.placed(claim.tablet)?;
        let refuse = |why: &str| Err(Error::Replica { tablet: claim.tablet, node: claim.node, why: why.to_owned() });
        let Some(replica) = tablet.replica(claim.node) else { return refuse("the node has none") };
        let complete = claim.version >= partition.committed_version;
        match replica.state {
            ReplicaState::Current => Ok(()),
            ReplicaState::Behind if complete => {
                self.set_state_of(claim.tablet, claim.node, ReplicaState::Current);
                Ok(())
            }
            // The publish of what it lacks tells.
            ReplicaState::Behind => refuse("it lacks versions that are committed"),
            ReplicaState::Joining { replaces } if complete => {
                self.join(claim.tablet, claim.node, replaces, ReplicaState::Current);
                Ok(())
            }
            ReplicaState::Joining { .. } if claim.version < partition.visible_version => {
                refuse("it lacks versions that are visible")
            }
            ReplicaState::Joining { replaces } => {
                let stay: Vec<&Replica> = tablet.members().filter(|member| Some(member.node) != replaces).collect();
                if !stay.iter().any(|member| member.state == ReplicaState::Current) {
                    return refuse("it lacks versions that are committed, and no other that stays could be read");
                }
                let stay: Vec<NodeId> = stay.iter().map(|member| member.node).collect();
                let with: Vec<NodeId> = stay.iter().copied().chain([claim.node]).collect();
                let waiting = committed.get(&claim.tablet);
                let since = Some(claim.version);
                if !holds_quorum(waiting, since, &with) && !holds_quorum(waiting, since, &stay) {
                    return refuse("a load that is committed would have too few copies");
                }
                self.join(claim.tablet, claim.node, replaces, ReplicaState::Behind);
                Ok(())
            }
        }
    }

    /// Makes a replica that was filled a member, in the place of the one that it replaces.
    fn join(&mut self, id: TabletId, node: NodeId, replaces: Option<NodeId>, state: ReplicaState) {
        let Some(tablet) = self.tablet_mut(id) else { return };
        tablet.replicas.retain(|replica| replica.node != node);
        match tablet.replicas.iter_mut().find(|replica| Some(replica.node) == replaces) {
            Some(replica) => {
                let old = std::mem::replace(replica, Replica { node, state });
                self.dropped_replicas.insert((id, old.node));
            }
            None => tablet.replicas.push(Replica { node, state }),
        }
    }

    /// Takes what the publisher found: `current` tells that a replica is at the version that is being made visible.
    pub(super) fn note_published(&mut self, id: TabletId, node: NodeId, current: bool) {
        let state = if current { ReplicaState::Current } else { ReplicaState::Behind };
        self.set_state_of(id, node, state);
    }

    /// Replicas that joined and were published on have everything if nothing else is committed.
    pub(super) fn join_published(&mut self, changed: &[(TabletId, NodeId, bool)]) {
        for &(tablet, node, current) in changed {
            let Ok((_, partition, at)) = self.placed(tablet) else { continue };
            let complete = partition.visible_version == partition.committed_version;
            if let Some(Replica { state: ReplicaState::Joining { replaces }, .. }) = at.replica(node).copied()
                && current
                && complete
            {
                self.join(tablet, node, replaces, ReplicaState::Current);
            }
        }
    }

    /// Gives a member this state.
    fn set_state_of(&mut self, id: TabletId, node: NodeId, state: ReplicaState) {
        // Most are as they were: then nothing is copied.
        if self.tablet(id).and_then(|(_, tablet)| tablet.replica(node)).is_none_or(|replica| replica.state == state) {
            return;
        }
        if let Some(tablet) = self.tablet_mut(id)
            && let Some(replica) = tablet.replicas.iter_mut().find(|replica| replica.node == node)
            && replica.is_member()
        {
            replica.state = state;
        }
    }

    /// A tablet, and what it belongs to.
    fn placed(&self, id: TabletId) -> Result<(&Table, &Partition, &Tablet), Error> {
        let found = || {
            let owner = self.tablets.get(&id)?;
            let table = self.table_by_id(owner.table)?;
            let partition = table.partition_by_id(owner.partition)?;
            let tablet = partition.tablets.get(owner.bucket as usize).filter(|tablet| tablet.id == id)?;
            Some((&**table, &**partition, tablet))
        };
        found().ok_or(Error::UnknownTablet(id))
    }

    pub(super) fn tablet_mut(&mut self, id: TabletId) -> Option<&mut Tablet> {
        let owner = *self.tablets.get(&id)?;
        // One that a change of columns has replaced stands in nobody's place.
        let tablets = &mut self.partition_mut(owner.table, owner.partition)?.tablets;
        tablets.get_mut(owner.bucket as usize).filter(|tablet| tablet.id == id)
    }

    /// What committed loads wrote to these tablets.
    fn committed_to(&self, tablets: impl Iterator<Item = TabletId>) -> Committed {
        let mut committed: Committed = tablets.map(|tablet| (tablet, Vec::new())).collect();
        for transaction in self.committed_transactions() {
            let TransactionState::Committed { writes, versions, .. } = &transaction.state else { continue };
            for write in writes {
                let Some(waiting) = committed.get_mut(&write.tablet) else { continue };
                let version = self.tablets.get(&write.tablet).and_then(|owner| versions.get(&owner.partition));
                waiting.extend(version.map(|version| (*version, write.holders.clone())));
            }
        }
        committed
    }
}

/// Whether a quorum of `members` holds each committed load of a tablet that is above `since`.
fn holds_quorum(waiting: Option<&Vec<(Version, Vec<NodeId>)>>, since: Option<Version>, members: &[NodeId]) -> bool {
    let quorum = members.len() / 2 + 1;
    let mut later = waiting.into_iter().flatten().filter(|(version, _)| since.is_none_or(|since| *version > since));
    later.all(|(_, holders)| members.iter().filter(|member| holders.contains(member)).count() >= quorum)
}

/// Does each by itself, and answers what was refused.
fn each<T>(all: &[T], key: impl Fn(&T) -> ReplicaKey, mut apply: impl FnMut(&T) -> Result<(), Error>) -> Response {
    let refused = all.iter().filter_map(|one| apply(one).err().map(|error| (key(one), error))).collect();
    Response::Replicas { refused }
}
