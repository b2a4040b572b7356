//! gRPC services of a coordinator.

mod admin;
mod coordinator;

pub use admin::Admin;
pub use coordinator::CoordinatorServer;

use tarn_proto::error::chain;
use tonic::Status;

/// The status of a failed change, with the leader's address when this coordinator does not lead.
fn status(error: &tarn_raft::Error) -> Status {
    let mut status = match error {
        tarn_raft::Error::NotLeader { .. } => Status::failed_precondition(error.to_string()),
        _ => Status::new(error.kind().grpc_code(), chain(error)),
    };
    if let tarn_raft::Error::NotLeader { leader: Some((id, address)) } = error {
        let metadata = status.metadata_mut();
        metadata.insert(tarn_raft::LEADER_ID, id.get().into());
        if let Ok(address) = address.parse() {
            metadata.insert(tarn_raft::LEADER_ADDRESS, address);
        }
    }
    status
}
