//! Clusters that live through random events: what is planned is applied to a real catalog, and what nodes have is modelled.

mod decisions;
mod events;

use std::collections::{BTreeMap, BTreeSet};

use tarn_catalog::command::{CaughtUp, ReplicaKey, TableSpec};
use tarn_catalog::{
    Catalog, Command, Context, LOCATION, Operation, Partition, Replica, ReplicaState, Response, Role, Table,
    TabletWrite,
};
use tarn_proto::{DatabaseId, NodeId, RowsetId, TableId, TabletId, Version};

use super::*;
use crate::ddl::spec_of;

/// A catalog, the nodes' health, and what their disks hold.
struct World {
    catalog: Catalog,
    requests: u128,
    database: DatabaseId,
    health: Health,
    limits: Limits,
    /// The version that each replica's files are at.
    has: BTreeMap<ReplicaKey, Version>,
    /// Replicas that were added for any reason.
    added: usize,
}

impl World {
    /// A cluster of nodes at these locations, an empty one being none.
    fn new(locations: &[&str]) -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            requests: 0,
            database: DatabaseId(0),
            health: Health::default(),
            limits: Limits { balanced_bytes: 0, ..Limits::default() },
            has: BTreeMap::new(),
            added: 0,
        };
        for location in locations {
            world.add_node(location);
        }
        let create = Operation::CreateDatabase { name: "d".to_owned(), if_not_exists: false };
        let Response::Database(database) = world.run(create) else { panic!("no database") };
        world.database = database;
        world
    }

    fn run(&mut self, operation: Operation) -> Response {
        self.requests += 1;
        let command = Command { request_id: self.requests, operation };
        self.catalog.apply(&command, &Context { now_ms: 1 })
    }

    fn add_node(&mut self, location: &str) -> NodeId {
        let address = format!("s{}:1", self.health.nodes.len());
        let register = Operation::RegisterNode { role: Role::Storage, address, node_id: None };
        let Response::Node(node) = self.run(register) else { panic!("no node") };
        let location = Some(location.to_owned()).filter(|location| !location.is_empty());
        assert_eq!(self.run(Operation::SetNodeLocation { node, location }), Response::Done);
        self.health.nodes.insert(node, NodeHealth { life: Life::Alive, ..NodeHealth::default() });
        node
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.health.nodes.keys().copied().collect()
    }

    fn set_life(&mut self, node: NodeId, life: Life) {
        self.health.nodes.get_mut(&node).unwrap().life = life;
    }

    fn drain(&mut self, node: NodeId, draining: bool) {
        assert_eq!(self.run(Operation::SetDraining { node, draining }), Response::Done);
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.health.nodes.get(&node).is_some_and(|node| node.life == Life::Alive)
    }

    fn set_disk(&mut self, node: NodeId, disk: Disk) {
        self.health.nodes.get_mut(&node).unwrap().disk = disk;
    }

    fn create(&mut self, buckets: u32, replication: u32, group: Option<&str>) -> Response {
        self.create_at(buckets, replication, group, None)
    }

    /// A table for some locations.
    fn create_at(&mut self, buckets: u32, replication: u32, group: Option<&str>, locations: Option<&str>) -> Response {
        let name = format!("t{}", self.requests);
        let sql = format!("create table {name} (k bigint) duplicate key(k) distributed by hash(k) buckets {buckets}");
        let colocate_with = group.map(str::to_owned);
        let mut spec = TableSpec { replication, colocate_with, ..spec_of(&sql) };
        spec.properties.extend(locations.map(|locations| (LOCATION.to_owned(), locations.to_owned())));
        let (database, placement) = (self.database, cycle(&self.catalog, &self.health));
        let table = Box::new(spec);
        let response = self.run(Operation::CreateTable { database, table, if_not_exists: false, placement });
        if let Response::Table(table) = response {
            let table = self.catalog.table_by_id(table).unwrap().clone();
            let keys = table.tablets().flat_map(|(_, _, tablet)| tablet.nodes().map(|node| (tablet.id, node)));
            self.has.extend(keys.map(|key| (key, Version::FIRST)));
            self.check_dealt(&table);
        }
        response
    }

    fn table(&mut self, buckets: u32, replication: u32, group: Option<&str>) -> TableId {
        match self.create(buckets, replication, group) {
            Response::Table(table) => table,
            other => panic!("no table: {other:?}"),
        }
    }

    fn tables(&self) -> Vec<TableId> {
        self.catalog.relations.keys().copied().collect()
    }

    fn partition(&self, table: TableId) -> Partition {
        Partition::clone(self.catalog.table_by_id(table).unwrap().partitions.values().next().unwrap())
    }

    /// Loads so many bytes into a tablet, on all replicas whose nodes live and have what is visible; not at all if they are
    /// no quorum somewhere.
    fn load(&mut self, table: TableId, bytes: &dyn Fn(u32) -> u64) {
        let partition = self.partition(table);
        let (visible, next) = (partition.visible_version, partition.visible_version.next());
        let takes = |tablet: TabletId, replica: &Replica| {
            self.is_alive(replica.node) && self.has.get(&(tablet, replica.node)) == Some(&visible)
        };
        let enough = |tablet: &tarn_catalog::Tablet| {
            tablet.members().filter(|member| takes(tablet.id, member)).count() >= tablet.quorum()
        };
        if !partition.tablets.iter().all(enough) {
            return;
        }
        let mut writes = Vec::new();
        let mut changed = Vec::new();
        let mut published = Vec::new();
        for (tablet, bucket) in partition.tablets.iter().zip(0..) {
            let takers: Vec<&Replica> = tablet.replicas.iter().filter(|r| takes(tablet.id, r)).collect();
            let holders: Vec<NodeId> = takers.iter().map(|replica| replica.node).collect();
            published.extend(holders.iter().map(|node| (tablet.id, *node)));
            for replica in &tablet.replicas {
                let current = holders.contains(&replica.node);
                if current != (replica.state == ReplicaState::Current) {
                    changed.push((tablet.id, replica.node, current));
                }
            }
            writes.push(TabletWrite { tablet: tablet.id, rowset: RowsetId(1), rows: 1, bytes: bytes(bucket), holders });
        }
        let (database, label) = (self.database, format!("l{}", self.requests));
        let owner = (NodeId(1), "start".to_owned());
        let begin = Operation::BeginTransaction { database, label, table, owner, timeout_ms: 1000 };
        let Response::Begun(txn) = self.run(begin) else { panic!("not begun") };
        let committed = self.run(Operation::CommitTransaction { txn, writes });
        assert!(matches!(committed, Response::Committed { .. }), "{committed:?}");
        assert_eq!(self.run(Operation::MakeVisible { txn, changed }), Response::Done);
        self.has.extend(published.into_iter().map(|key| (key, next)));
        self.check();
    }

    /// One plan, carried out. What it adds must be accepted.
    fn round(&mut self) -> Plan {
        let plan = plan(&self.catalog, &self.health, &self.limits);
        let before = self.catalog.clone();
        self.run(Operation::RemoveReplicas { replicas: plan.remove.clone() });
        for (group, buckets) in plan.buckets.clone() {
            assert_eq!(self.run(Operation::MoveBuckets { group, buckets }), Response::Done);
        }
        let added = self.run(Operation::AddReplicas { replicas: plan.add.clone() });
        assert_eq!(added, Response::Replicas { refused: Vec::new() }, "{plan:?}");
        self.added += plan.add.len();
        self.check_added(&before, &plan);
        for (node, site) in &self.health.nodes {
            let joining = self.replicas().filter(|(_, r)| r.node == *node && !r.is_member()).count();
            assert!(joining <= self.limits.joining_per_node, "{node} fills {joining}, {site:?}");
        }
        self.check_step(&before);
        plan
    }

    /// Nodes do what they were asked to: fill replicas, and drop the files of removed ones. Those of `lazy` do not.
    fn fill(&mut self, lazy: &BTreeSet<NodeId>) {
        let mut filled = Vec::new();
        for table in self.tables() {
            let partition = self.partition(table);
            for tablet in &partition.tablets {
                if !tablet.readable().any(|replica| self.is_alive(replica.node)) {
                    continue;
                }
                let able =
                    |r: &&Replica| r.state != ReplicaState::Current && self.is_alive(r.node) && !lazy.contains(&r.node);
                let version = partition.visible_version;
                let nodes = tablet.replicas.iter().filter(able).map(|replica| replica.node);
                filled.extend(nodes.map(|node| CaughtUp { tablet: tablet.id, node, version }));
            }
        }
        self.has.extend(filled.iter().map(|r| ((r.tablet, r.node), r.version)));
        let before = self.catalog.clone();
        let answer = self.run(Operation::ReplicasCaughtUp { replicas: filled });
        assert_eq!(answer, Response::Replicas { refused: Vec::new() });
        let dropped = self.catalog.dropped_replicas.iter().copied();
        let dropped: Vec<ReplicaKey> = dropped.filter(|key| self.is_alive(key.1) && !lazy.contains(&key.1)).collect();
        self.has.retain(|key, _| !dropped.contains(key));
        self.run(Operation::ForgetReplicas { replicas: dropped });
        self.check_step(&before);
    }

    /// Rounds until nothing is left to do.
    fn settle(&mut self) -> usize {
        let most = 50 + 4 * self.replicas().count();
        for round in 0..most {
            let idle = self.round().is_empty();
            self.fill(&BTreeSet::new());
            let joining = self.replicas().any(|(_, replica)| replica.state != ReplicaState::Current);
            if idle && !joining && plan(&self.catalog, &self.health, &self.limits).is_empty() {
                return round;
            }
        }
        panic!("{:?} is still planned after {most} rounds", plan(&self.catalog, &self.health, &self.limits));
    }

    fn all_tables(&self) -> impl Iterator<Item = &Table> {
        placed_tables(&self.catalog)
    }

    fn replicas(&self) -> impl Iterator<Item = (TabletId, Replica)> + '_ {
        let tablets = self.all_tables().flat_map(|table| table.tablets());
        tablets.flat_map(|(_, _, tablet)| tablet.replicas.iter().map(|replica| (tablet.id, *replica)))
    }

    fn count(&self, node: NodeId) -> usize {
        self.replicas().filter(|(_, replica)| replica.node == node).count()
    }

    fn bytes(&self, node: NodeId) -> u64 {
        let tablets = self.all_tables().flat_map(|table| table.tablets());
        tablets.filter(|(_, _, tablet)| tablet.replica(node).is_some()).map(|(_, _, tablet)| tablet.bytes).sum()
    }

    fn at(&self, node: NodeId) -> Option<&str> {
        self.catalog.nodes[&node].location.as_deref()
    }

    /// What is true at any time.
    fn check(&self) {
        for table in self.all_tables() {
            for partition in table.all_partitions() {
                for tablet in &partition.tablets {
                    let nodes: BTreeSet<NodeId> = tablet.nodes().collect();
                    assert_eq!(nodes.len(), tablet.replicas.len(), "two replicas of {} on a node", tablet.id);
                    assert!(tablet.readable().next().is_some(), "{} cannot be read", tablet.id);
                    for replica in tablet.readable() {
                        let has = self.has.get(&(tablet.id, replica.node));
                        assert!(has >= Some(&partition.visible_version), "{} on {}: {has:?}", tablet.id, replica.node);
                    }
                }
            }
        }
    }

    /// A change of replicas takes no tablet the quorum that it had.
    fn check_step(&self, before: &Catalog) {
        self.check();
        let current = |catalog: &Catalog, tablet: TabletId| {
            let (_, tablet) = catalog.tablet(tablet)?;
            let current = tablet.readable().filter(|replica| self.is_alive(replica.node)).count();
            Some((current >= tablet.quorum(), current))
        };
        for tablet in before.tablets.keys() {
            let (Some(before), Some(after)) = (current(before, *tablet), current(&self.catalog, *tablet)) else {
                continue;
            };
            assert!(after.0 || !before.0, "{tablet} lost its quorum: {before:?} to {after:?}");
        }
    }

    /// Whether a replica could be on the node beside others, and how much it is better elsewhere.
    fn rated(&self, table: &Table, node: NodeId, others: &[NodeId]) -> Option<(bool, bool)> {
        let (locations, health) = (table.locations(), self.health.nodes[&node]);
        let shares = |other: &NodeId| self.at(node).is_some() && self.at(*other) == self.at(node);
        let apart = self.catalog.stand_apart(&locations, table.replication);
        let takes = self.is_alive(node) && !self.catalog.nodes[&node].draining && health.disk != Disk::Full;
        let could = takes && !others.contains(&node) && !(apart && others.iter().any(shares));
        could.then(|| (!locations.allow(self.at(node)), health.disk == Disk::Low))
    }

    /// No replica is on a node whose disk fills up, or that its table is not for, if another could take it.
    fn check_placed(&self, table: &Table, node: NodeId, others: &[NodeId], replaces: Option<NodeId>) {
        let taken = (!table.locations().allow(self.at(node)), self.health.nodes[&node].disk == Disk::Low);
        for other in self.nodes().into_iter().filter(|other| *other != node && Some(*other) != replaces) {
            let rated = self.rated(table, other, others);
            assert!(rated.is_none_or(|rated| rated >= taken), "{node} beside {others:?} and not {other}");
        }
    }

    fn check_dealt(&self, table: &Table) {
        for (_, _, tablet) in table.tablets().filter(|_| table.colocation.is_none()) {
            for node in tablet.nodes() {
                let others: Vec<NodeId> = tablet.nodes().filter(|other| *other != node).collect();
                self.check_placed(table, node, &others, None);
            }
        }
    }

    /// The same of what a plan adds, which was made of the catalog `before`.
    fn check_added(&self, before: &Catalog, plan: &Plan) {
        let mut earlier: BTreeMap<TabletId, Vec<NodeId>> = BTreeMap::new();
        for add in &plan.add {
            let table = before.table_by_id(before.tablets[&add.tablet].table).unwrap();
            let (_, tablet) = before.tablet(add.tablet).unwrap();
            let earlier = earlier.entry(add.tablet).or_default();
            let others: Vec<NodeId> =
                tablet.nodes().filter(|node| Some(*node) != add.replaces).chain(earlier.iter().copied()).collect();
            assert_ne!(self.health.nodes[&add.node].disk, Disk::Full, "{add:?}");
            if table.colocation.is_none() {
                self.check_placed(table, add.node, &others, add.replaces);
            }
            earlier.push(add.node);
        }
    }

    /// What is true when there is nothing left to do and all nodes live.
    fn check_settled(&self) {
        let usable: Vec<NodeId> = self.nodes().into_iter().filter(|node| !self.catalog.nodes[node].draining).collect();
        for table in self.all_tables() {
            for (_, _, tablet) in table.tablets() {
                assert_eq!(tablet.replicas.len(), table.replication as usize, "{tablet:?}");
                assert!(tablet.nodes().all(|node| usable.contains(&node)), "{tablet:?} of {usable:?}");
                let locations = table.locations();
                if usable.iter().filter(|node| locations.allow(self.at(**node))).count() >= tablet.replicas.len() {
                    assert!(tablet.nodes().all(|node| locations.allow(self.at(node))), "{tablet:?} for {locations:?}");
                }
                if self.catalog.stand_apart(&locations, table.replication) {
                    let located: Vec<&str> = tablet.nodes().filter_map(|node| self.at(node)).collect();
                    let distinct: BTreeSet<&&str> = located.iter().collect();
                    assert_eq!(distinct.len(), located.len(), "{tablet:?} at {located:?}");
                }
            }
        }
        for group in self.catalog.colocation_groups.values() {
            assert!(self.catalog.is_stable(group), "{group:?}");
        }
    }
}
