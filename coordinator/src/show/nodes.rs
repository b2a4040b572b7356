//! `SHOW COORDINATORS`, `SHOW COMPUTE NODES`, `SHOW STORAGE NODES`.

use std::time::Instant;

use tarn_catalog::{Node, Role};
use tarn_proto::NodeId;
use tarn_proto::wire::{DiskLevel, NodeLoad};

use super::format::{ago, bytes, percent};
use super::rows::Rows;
use crate::session::SessionContext;

pub const COORDINATORS: &[&str] = &[
    "Id",
    "Role",
    "Address",
    "FlightAddress",
    "Alive",
    "LastHeartbeat",
    "Version",
    "CpuCores",
    "CpuUsed",
    "MemUsed",
    "MemTotal",
    "DiskUsed",
    "DiskTotal",
    "Queries",
];
pub const COMPUTE_NODES: &[&str] = &[
    "Id",
    "Role",
    "Address",
    "Alive",
    "Draining",
    "LastHeartbeat",
    "Version",
    "CpuCores",
    "CpuUsed",
    "MemUsed",
    "MemTotal",
    "DiskUsed",
    "DiskTotal",
    "Tasks",
    "Spilled",
];
pub const STORAGE_NODES: &[&str] = &[
    "Id",
    "Role",
    "Address",
    "Alive",
    "Draining",
    "LastHeartbeat",
    "Version",
    "CpuCores",
    "CpuUsed",
    "MemUsed",
    "MemTotal",
    "DiskUsed",
    "DiskTotal",
    "Loads",
    "Tablets",
    "DataUsed",
    "SystemDecommissioned",
    "Location",
    "DiskLevel",
];

pub fn coordinators(context: &SessionContext, rows: &mut Rows) {
    let status = context.shared.raft.status();
    let leader = status.leader.as_ref().map(|(id, _)| *id);
    let (members, now) = (context.shared.members.read(), Instant::now());
    let voters = status.voters.iter().map(|v| (v, true));
    for ((id, address), voter) in voters.chain(status.observers.iter().map(|o| (o, false))) {
        let member = members.get(*id);
        let role = match voter {
            true if leader == Some(*id) => "LEADER",
            true => "FOLLOWER",
            false => "OBSERVER",
        };
        let alive = *id == context.shared.node || members.is_alive(*id, now);
        let mut row = vec![
            Some(id.get().to_string()),
            Some(role.to_owned()),
            Some(address.clone()),
            member.map(|m| m.flight_address.clone()),
            Some(alive.to_string()),
            ago(members.silence(*id, now)),
            member.map(|m| m.version.clone()),
        ];
        row.extend(machine(member.map(|m| &m.load)));
        row.push(member.map(|m| m.load.running.to_string()));
        rows.push_nullable(row);
    }
}

pub fn compute_nodes(context: &SessionContext, rows: &mut Rows) {
    for node in context.catalog.nodes_of(Role::Compute) {
        let (mut row, load) = worker(context, node);
        row.push(load.map(|l| bytes(l.data_bytes)));
        rows.push_nullable(row);
    }
}

pub fn storage_nodes(context: &SessionContext, rows: &mut Rows) {
    for node in context.catalog.nodes_of(Role::Storage) {
        let (mut row, load) = worker(context, node);
        row.push(Some(tablets(context, node.id).to_string()));
        row.push(load.map(|l| bytes(l.data_bytes)));
        row.push(Some(node.draining.to_string()));
        row.push(Some(node.location.clone().unwrap_or_default()));
        row.push(load.map(|load| disk_level(load.disk_level()).to_owned()));
        rows.push_nullable(row);
    }
}

/// Whether the node's disk takes more: `LOW` above `disk_warn_percent`, `FULL` where it takes nothing.
const fn disk_level(level: DiskLevel) -> &'static str {
    match level {
        DiskLevel::Ok => "OK",
        DiskLevel::Low => "LOW",
        DiskLevel::Full => "FULL",
    }
}

/// What storage and compute nodes have in common.
fn worker(context: &SessionContext, node: &Node) -> (Vec<Option<String>>, Option<NodeLoad>) {
    let (members, now) = (context.shared.members.read(), Instant::now());
    let member = members.get(node.id);
    let load = member.map(|m| m.load);
    let mut row = vec![
        Some(node.id.get().to_string()),
        Some(node.role.to_string().to_uppercase()),
        Some(node.address.clone()),
        Some(members.is_alive(node.id, now).to_string()),
        Some(node.draining.to_string()),
        ago(members.silence(node.id, now)),
        member.map(|m| m.version.clone()),
    ];
    row.extend(machine(load.as_ref()));
    row.push(load.map(|l| l.running.to_string()));
    (row, load)
}

/// Nothing where the node could not tell.
fn machine(load: Option<&NodeLoad>) -> [Option<String>; 6] {
    let Some(load) = load else { return Default::default() };
    let known = |value: u64, total: u64| (total > 0).then(|| bytes(value));
    [
        (load.cores > 0).then(|| load.cores.to_string()),
        Some(percent(load.cpu)),
        known(load.memory_used_bytes, load.memory_total_bytes),
        known(load.memory_total_bytes, load.memory_total_bytes),
        known(load.disk_used_bytes, load.disk_total_bytes),
        known(load.disk_total_bytes, load.disk_total_bytes),
    ]
}

/// Tablets that the catalog has placed on a node.
fn tablets(context: &SessionContext, node: NodeId) -> usize {
    let placed = |relation: &tarn_catalog::Relation| match relation {
        tarn_catalog::Relation::Table(table) => {
            table.tablets().filter(|(_, _, tablet)| tablet.replica(node).is_some()).count()
        }
        tarn_catalog::Relation::View(_) => 0,
    };
    context.catalog.relations.values().map(placed).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_tells_what_it_knows() {
        let mut load = NodeLoad { cores: 8, cpu: 0.5, memory_used_bytes: 1 << 30, ..NodeLoad::default() };
        load.memory_total_bytes = 2 << 30;
        let shown = machine(Some(&load)).map(Option::unwrap_or_default);
        assert_eq!(shown, ["8", "50.0 %", "1.000GB", "2.000GB", "", ""]);
        assert_eq!(machine(None), [const { None }; 6]);
    }
}
