//! `ADMIN SHOW REPLICA STATUS`, and what replicas are called.

use std::time::Instant;

use tarn_catalog::{Partition, Replica, ReplicaState, Tablet};
use tarn_sql::ShowReplicaStatus;

use super::partitions::ordered;
use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const HEADER: &[&str] = &[
    "TabletId",
    "PartitionName",
    "Bucket",
    "BackendId",
    "Address",
    "Version",
    "CommittedVersion",
    "State",
    "Replaces",
    "Quorum",
    "Status",
];

/// StarRocks' word for a replica's state, and `BEHIND`, which it has no word for.
pub const fn state(replica: &Replica) -> &'static str {
    match replica.state {
        ReplicaState::Current => "NORMAL",
        ReplicaState::Behind => "BEHIND",
        ReplicaState::Joining { .. } => "CLONE",
    }
}

pub fn status(context: &SessionContext, rows: &mut Rows, show: &ShowReplicaStatus) -> Result<(), Error> {
    let table = context.table(&show.table)?;
    for partition in &show.partitions {
        crate::ddl::existing_partition(&table, partition)?;
    }
    let is_wanted =
        |name: &str| show.partitions.is_empty() || show.partitions.iter().any(|p| p.name.eq_ignore_ascii_case(name));
    for partition in ordered(&table).into_iter().filter(|p| is_wanted(&p.name)) {
        for (tablet, bucket) in partition.tablets.iter().zip(0_u32..) {
            for replica in &tablet.replicas {
                let status = status_of(context, replica);
                let fits = |(wanted, equal): &(String, bool)| wanted.eq_ignore_ascii_case(status) == *equal;
                if show.status.as_ref().is_none_or(fits) {
                    rows.push(row(context, &partition, tablet, bucket, replica, status));
                }
            }
        }
    }
    Ok(())
}

fn row(
    context: &SessionContext,
    partition: &Partition,
    tablet: &Tablet,
    bucket: u32,
    replica: &Replica,
    status: &str,
) -> [String; 11] {
    let address = context.catalog.nodes.get(&replica.node).map(|node| node.address.clone());
    let replaces = match replica.state {
        ReplicaState::Joining { replaces: Some(old) } => old.get().to_string(),
        ReplicaState::Joining { replaces: None } | ReplicaState::Current | ReplicaState::Behind => String::new(),
    };
    [
        tablet.id.get().to_string(),
        partition.name.clone(),
        bucket.to_string(),
        replica.node.get().to_string(),
        address.unwrap_or_default(),
        partition.visible_version.get().to_string(),
        partition.committed_version.get().to_string(),
        state(replica).to_owned(),
        replaces,
        tablet.quorum().to_string(),
        status.to_owned(),
    ]
}

/// StarRocks' word for how a replica does: `OK`, `DEAD` where its node is silent, `VERSION_ERROR` where it lacks versions.
fn status_of(context: &SessionContext, replica: &Replica) -> &'static str {
    let alive = context.shared.members.read().is_alive(replica.node, Instant::now());
    match replica.state {
        _ if !alive => "DEAD",
        ReplicaState::Current => "OK",
        ReplicaState::Behind | ReplicaState::Joining { .. } => "VERSION_ERROR",
    }
}
