//! `tarn admin`: the operator's client of a coordinator's admin service.

mod segment;

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use tarn_proto::channel::connect_with_timeout;
use tarn_proto::wire::admin_service_client::AdminServiceClient;
use tarn_proto::wire::{
    AddCoordinatorRequest, ClusterStatusRequest, ClusterStatusResponse, DrainNodeRequest, NodeRole,
    RemoveCoordinatorRequest, RemoveNodeRequest, TakeSnapshotRequest, TransferLeadershipRequest,
};
use tonic::Status;
use tonic::transport::Channel;

use crate::cli::{AdminArgs, AdminCommand, SegmentCommand};
use crate::sql::table::render;

/// Longest wait for an answer: adding a coordinator waits until it has caught up.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs one command.
pub async fn run(args: AdminArgs) -> anyhow::Result<()> {
    if let AdminCommand::Segment { command: SegmentCommand::Inspect { path, json } } = args.command {
        return segment::inspect(&path, json);
    }
    let channel = connect_with_timeout(&args.coordinator, CALL_TIMEOUT)?;
    let mut client = AdminServiceClient::new(channel);
    perform(&mut client, args.command)
        .await
        .map_err(|status| anyhow!("{}", status.message()))
        .with_context(|| format!("coordinator {}", args.coordinator))
}

async fn perform(client: &mut AdminServiceClient<Channel>, command: AdminCommand) -> Result<(), Status> {
    match command {
        AdminCommand::Status { json } => {
            let status = client.cluster_status(ClusterStatusRequest {}).await?.into_inner();
            if json {
                println!("{}", as_json(&status));
            } else {
                print_status(&status);
            }
        }
        AdminCommand::AddCoordinator { node_id, address, observer } => {
            client.add_coordinator(AddCoordinatorRequest { node_id, address, voter: !observer }).await?;
            println!("coordinator {node_id} added as {}", if observer { "an observer" } else { "a voter" });
        }
        AdminCommand::RemoveCoordinator { node_id } => {
            client.remove_coordinator(RemoveCoordinatorRequest { node_id }).await?;
            println!("coordinator {node_id} removed");
        }
        AdminCommand::TransferLeadership { to } => {
            let reply = client.transfer_leadership(TransferLeadershipRequest { node_id: to }).await?.into_inner();
            println!("coordinator {} leads", reply.leader_id);
        }
        AdminCommand::Drain { node_id } => {
            client.drain_node(DrainNodeRequest { node_id, undo: false }).await?;
            println!("node {node_id} gets no new work");
        }
        AdminCommand::Undrain { node_id } => {
            client.drain_node(DrainNodeRequest { node_id, undo: true }).await?;
            println!("node {node_id} gets work again");
        }
        AdminCommand::RemoveNode { node_id } => {
            client.remove_node(RemoveNodeRequest { node_id }).await?;
            println!("node {node_id} removed");
        }
        AdminCommand::Snapshot => {
            let reply = client.take_snapshot(TakeSnapshotRequest {}).await?.into_inner();
            println!("snapshot at log index {}", reply.snapshot_index);
        }
        // Needs no coordinator.
        AdminCommand::Segment { .. } => {}
    }
    Ok(())
}

fn role(role: i32) -> &'static str {
    match NodeRole::try_from(role) {
        Ok(NodeRole::Coordinator) => "coordinator",
        Ok(NodeRole::Storage) => "storage",
        Ok(NodeRole::Compute) => "compute",
        Ok(NodeRole::Unspecified) | Err(_) => "unknown",
    }
}

fn print_status(status: &ClusterStatusResponse) {
    println!(
        "cluster {}  leader {}  term {}  last log index {}  snapshot index {}",
        status.cluster_id, status.leader_id, status.term, status.last_log_index, status.snapshot_index
    );
    let coordinators = status.coordinators.iter().map(|c| {
        vec![
            c.node_id.to_string(),
            c.role.clone(),
            c.address.clone(),
            c.flight_address.clone(),
            c.alive.to_string(),
            c.version.clone(),
            c.last_applied.to_string(),
        ]
    });
    let header = ["coordinator", "role", "address", "flight", "alive", "version", "applied"];
    print!("{}", render(&header, coordinators.collect()));
    let nodes = status.nodes.iter().map(|n| {
        vec![
            n.node_id.to_string(),
            role(n.role).to_owned(),
            n.address.clone(),
            n.alive.to_string(),
            n.draining.to_string(),
            n.version.clone(),
            format!("{} ms", n.last_heartbeat_age_ms),
        ]
    });
    let header = ["node", "role", "address", "alive", "draining", "version", "heard"];
    print!("{}", render(&header, nodes.collect()));
}

fn as_json(status: &ClusterStatusResponse) -> serde_json::Value {
    json!({
        "cluster_id": status.cluster_id,
        "leader_id": status.leader_id,
        "term": status.term,
        "last_log_index": status.last_log_index,
        "snapshot_index": status.snapshot_index,
        "coordinators": status.coordinators.iter().map(|c| json!({
            "node_id": c.node_id, "address": c.address, "flight_address": c.flight_address, "role": c.role,
            "alive": c.alive, "version": c.version, "last_applied": c.last_applied,
        })).collect::<Vec<_>>(),
        "nodes": status.nodes.iter().map(|n| json!({
            "node_id": n.node_id, "role": role(n.role), "address": n.address, "alive": n.alive,
            "draining": n.draining, "version": n.version, "last_heartbeat_age_ms": n.last_heartbeat_age_ms,
        })).collect::<Vec<_>>(),
    })
}
