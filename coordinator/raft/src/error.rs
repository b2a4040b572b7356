//! What can go wrong with the replicated catalog.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError,
};
use tarn_proto::channel::InvalidAddress;
use tarn_proto::error::chain;
use tarn_proto::{ErrorKind, NodeId};
use tonic::{Code, Status};

use crate::types::TypeConfig;

/// Metadata of a `FAILED_PRECONDITION` status: the leader's id.
pub const LEADER_ID: &str = "tarn-leader-id";
/// Metadata of a `FAILED_PRECONDITION` status: the leader's address.
pub const LEADER_ADDRESS: &str = "tarn-leader-address";

/// The leader's id and address, as far as known.
pub type LeaderHint = Option<(NodeId, String)>;

/// A failed operation on the replicated catalog.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("this coordinator does not lead{}", hint(leader))]
    NotLeader { leader: LeaderHint },
    #[error(transparent)]
    Refused(#[from] tarn_catalog::Error),
    #[error("{what} was not confirmed within {within:?}: it may still happen, check before repeating it")]
    Timeout { what: &'static str, within: Duration },
    #[error("leadership moved before the change was confirmed: it may still happen, check before repeating it")]
    LeadershipLost,
    #[error("the leader cannot reach a majority of the voters: check that they run")]
    NoQuorum,
    #[error("a catalog change of {bytes} bytes is too large, the limit is {limit}: split it")]
    TooLarge { bytes: usize, limit: usize },
    #[error("another change of the coordinators is under way: repeat this one later")]
    ChangeInProgress,
    #[error("coordinator {0} is not a member")]
    UnknownCoordinator(NodeId),
    #[error("{0}")]
    Membership(String),
    #[error("{0}")]
    Config(String),
    #[error("the data directory belongs to coordinator {found}, this is {expected}: use another directory")]
    WrongNode { found: NodeId, expected: NodeId },
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error("cannot create directory {}", dir.display())]
    Directory { dir: PathBuf, source: io::Error },
    #[error("cannot open the consensus log in {}", dir.display())]
    Open { dir: PathBuf, source: rocksdb::Error },
    #[error("the consensus log cannot be read or written")]
    Storage(#[from] io::Error),
    #[error("damaged answer from the leader")]
    Damaged(#[from] tarn_proto::encoding::Error),
    #[error("coordinator {address} failed: {}", status.message())]
    Remote { address: String, status: Box<Status> },
    #[error("consensus has stopped on this coordinator ({reason}): start it again")]
    Stopped { reason: String },
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refused) => refused.kind(),
            Self::NotLeader { .. }
            | Self::Timeout { .. }
            | Self::LeadershipLost
            | Self::NoQuorum
            | Self::ChangeInProgress
            | Self::Stopped { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. }
            | Self::Membership(_)
            | Self::Config(_)
            | Self::WrongNode { .. }
            | Self::Address(_) => ErrorKind::Invalid,
            Self::UnknownCoordinator(_) => ErrorKind::NotFound,
            Self::Directory { .. } | Self::Open { .. } | Self::Storage(_) | Self::Damaged(_) => ErrorKind::Internal,
            Self::Remote { status, .. } if is_transport(status) => ErrorKind::Unavailable,
            Self::Remote { status, .. } => ErrorKind::from_grpc_code(status.code()),
        }
    }

    /// Reads the status that a coordinator at `address` answered with.
    pub(crate) fn from_status(address: &str, status: Status) -> Self {
        if status.code() == Code::FailedPrecondition {
            let text = |key| status.metadata().get(key).and_then(|v| v.to_str().ok());
            let leader = match (text(LEADER_ID).and_then(|id| id.parse().ok()), text(LEADER_ADDRESS)) {
                (Some(id), Some(address)) => Some((NodeId(id), address.to_owned())),
                _ => None,
            };
            return Self::NotLeader { leader };
        }
        Self::Remote { address: address.to_owned(), status: Box::new(status) }
    }
}

/// Whether a connection broke, so that what came of the call is not known. What a coordinator answers has no source; a peer
/// that goes away in the middle of a call shows as `Unknown` or `Internal`.
pub(crate) fn is_transport(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Internal) && std::error::Error::source(status).is_some()
}

fn hint(leader: &LeaderHint) -> String {
    match leader {
        Some((id, address)) => format!(": ask coordinator {id} at {address}"),
        None => ", and no leader is known: repeat the request soon".to_owned(),
    }
}

impl From<Error> for Status {
    /// The answer of a gRPC service. "Not the leader" is `FAILED_PRECONDITION` with the leader in its metadata.
    fn from(error: Error) -> Self {
        let text = chain(&error);
        let Error::NotLeader { leader } = error else { return Self::new(error.kind().grpc_code(), text) };
        let mut status = Self::failed_precondition(text);
        if let Some((id, address)) = leader
            && let Ok(address) = address.parse()
        {
            status.metadata_mut().insert(LEADER_ID, id.get().into());
            status.metadata_mut().insert(LEADER_ADDRESS, address);
        }
        status
    }
}

impl From<ForwardToLeader<TypeConfig>> for Error {
    fn from(forward: ForwardToLeader<TypeConfig>) -> Self {
        Self::NotLeader { leader: forward.leader_id.zip(forward.leader_node.map(|node| node.addr)) }
    }
}

impl From<Fatal<TypeConfig>> for Error {
    fn from(fatal: Fatal<TypeConfig>) -> Self {
        Self::Stopped { reason: fatal.to_string() }
    }
}

impl From<RaftError<TypeConfig, ClientWriteError<TypeConfig>>> for Error {
    fn from(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Self {
        let error = match error {
            RaftError::Fatal(fatal) => return fatal.into(),
            RaftError::APIError(error) => error,
        };
        match error {
            ClientWriteError::ForwardToLeader(forward) => forward.into(),
            ClientWriteError::LogEntryDiscarded(_) => Self::LeadershipLost,
            ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
            ) => Self::ChangeInProgress,
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::EmptyMembership(_)) => {
                Self::Membership("the last voter cannot be removed".to_owned())
            }
            ClientWriteError::ChangeMembershipError(other) => Self::Membership(other.to_string()),
            ClientWriteError::PreconditionFailed(other) => Self::Membership(other.to_string()),
        }
    }
}

impl From<RaftError<TypeConfig, LinearizableReadError<TypeConfig>>> for Error {
    fn from(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> Self {
        match error {
            RaftError::Fatal(fatal) => fatal.into(),
            RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => forward.into(),
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => Self::NoQuorum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaders_address_travels_with_the_refusal() {
        let leader = Some((NodeId(3), "10.0.0.3:9030".to_owned()));
        let status = Status::from(Error::NotLeader { leader: leader.clone() });
        assert_eq!(status.code(), Code::FailedPrecondition);
        match Error::from_status("a:1", status) {
            Error::NotLeader { leader: read } => assert_eq!(read, leader),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_refused_command_keeps_its_kind_on_the_wire() {
        let status = Status::from(Error::Refused(tarn_catalog::Error::UnknownDatabase("sales".to_owned())));
        assert_eq!((status.code(), status.message()), (Code::NotFound, "database `sales` does not exist"));
    }
}
