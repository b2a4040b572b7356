//! Random changes of replicas, of nodes' locations and of colocation groups.

use tarn_catalog::command::{AddReplica, BucketNodes, CaughtUp, ReplicaKey};
use tarn_catalog::*;
use tarn_proto::*;

/// How many kinds there are.
pub const KINDS: u8 = 14;

fn nth<T: Copy>(all: impl Iterator<Item = T>, n: u8) -> Option<T> {
    let all: Vec<T> = all.collect();
    (!all.is_empty()).then(|| all[n as usize % all.len()])
}

/// A change of `kind`, of what the numbers pick from the catalog.
pub fn operation(catalog: &Catalog, kind: u8, pick: [u8; 4], flag: bool) -> Operation {
    let [a, b, c, d] = pick;
    let tablet = nth(catalog.tablets.keys().copied(), a).unwrap_or(TabletId(0));
    let replicas = catalog.tablet(tablet).map(|(_, tablet)| tablet.replicas.clone()).unwrap_or_default();
    let node = nth(catalog.nodes.keys().copied(), b).unwrap_or(NodeId(0));
    let held = nth(replicas.iter().map(|replica| replica.node), c).unwrap_or(NodeId(0));
    let joining = nth(replicas.iter().filter(|r| !r.is_member()).map(|r| r.node), c).unwrap_or(held);
    let table = nth(catalog.relations.keys().copied(), d).unwrap_or(TableId(0));
    let key: ReplicaKey = (tablet, held);
    match kind {
        0..=3 => {
            let replaces = (flag || d < 128).then_some(held);
            Operation::AddReplicas { replicas: vec![AddReplica { tablet, node, replaces }] }
        }
        4 => Operation::RemoveReplicas { replicas: vec![key, (tablet, joining)] },
        5..=8 => {
            let partition = catalog.tablets.get(&tablet).and_then(|owner| {
                catalog.table_by_id(owner.table).and_then(|table| table.partition_by_id(owner.partition))
            });
            let versions = partition.map(|p| [p.visible_version, p.committed_version, Version::FIRST]);
            let version = versions.and_then(|versions| nth(versions.into_iter(), d)).unwrap_or(Version(7));
            Operation::ReplicasCaughtUp { replicas: vec![CaughtUp { tablet, node: joining, version }] }
        }
        9 => Operation::ReplicasBehind { replicas: vec![key] },
        10 => Operation::ForgetReplicas { replicas: catalog.dropped_replicas.iter().take(3).copied().collect() },
        11 => Operation::SetReplication { table, replication: u32::from(c) % 7 },
        12 if flag => {
            let location = Some(format!("rack:r{}", c % 3)).filter(|_| d > 32);
            Operation::SetNodeLocation { node, location }
        }
        12 => {
            let placement = catalog.storage_nodes().map(|node| node.id).collect();
            Operation::SetColocation {
                table,
                group: [None, Some("g".to_owned())][usize::from(d > 64)].clone(),
                placement,
            }
        }
        _ => {
            let group = nth(catalog.colocation_groups.keys().copied(), a).unwrap_or(GroupId(0));
            let buckets = catalog.colocation_groups.get(&group).map_or(&[][..], |group| &group.sequence);
            let bucket = u32::from(b) % 3;
            let before = buckets.get(bucket as usize).cloned().unwrap_or_default();
            let mut nodes: Vec<NodeId> = before.iter().copied().filter(|other| *other != node).collect();
            nodes.insert(0, node);
            nodes.truncate(before.len().max(1));
            Operation::MoveBuckets { group, buckets: vec![BucketNodes { bucket, before, nodes }] }
        }
    }
}
