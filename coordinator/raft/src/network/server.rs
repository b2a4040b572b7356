//! What peers ask of this node.

use std::time::Duration;

use bytes::BytesMut;
use openraft::errors::{Fatal, RaftError};
use serde::Serialize;
use tarn_proto::NodeId;
use tarn_proto::wire::RaftMessage;
use tarn_proto::wire::raft_service_server::RaftService;
use tonic::{Request, Response, Status, Streaming};

use super::wire::{self, SnapshotHeader};
use crate::types::{Raft, Snapshot, TypeConfig};

/// Longest silence in a snapshot's transmission.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// The service.
pub(crate) struct Server {
    me: NodeId,
    raft: Raft,
}

impl Server {
    pub fn new(me: NodeId, raft: Raft) -> Self {
        Self { me, raft }
    }
}

type Reply = Result<Response<RaftMessage>, Status>;

fn reply<T: Serialize>(body: &T) -> Reply {
    Ok(Response::new(wire::encode(body)))
}

fn stopped(reason: &Fatal<TypeConfig>) -> Status {
    Status::unavailable(format!("consensus has stopped: {reason}"))
}

fn failed(error: &RaftError<TypeConfig>) -> Status {
    match error {
        RaftError::APIError(never) => match *never {},
        RaftError::Fatal(reason) => stopped(reason),
    }
}

#[tonic::async_trait]
impl RaftService for Server {
    async fn append_entries(&self, request: Request<RaftMessage>) -> Reply {
        let rpc = wire::open(self.me, request.get_ref())?;
        reply(&self.raft.append_entries(rpc).await.map_err(|e| failed(&e))?)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Reply {
        let rpc = wire::open(self.me, request.get_ref())?;
        reply(&self.raft.vote(rpc).await.map_err(|e| failed(&e))?)
    }

    async fn pre_vote(&self, request: Request<RaftMessage>) -> Reply {
        let rpc = wire::open(self.me, request.get_ref())?;
        reply(&self.raft.pre_vote(rpc).await.map_err(|e| failed(&e))?)
    }

    async fn install_snapshot(&self, request: Request<Streaming<RaftMessage>>) -> Reply {
        let mut pieces = request.into_inner();
        let first = next(&mut pieces).await?.ok_or_else(|| Status::invalid_argument("a snapshot without a header"))?;
        let header: SnapshotHeader = wire::open(self.me, &first)?;
        let length = usize::try_from(header.bytes).map_err(|_| Status::invalid_argument("a snapshot too long"))?;
        let mut data = BytesMut::new();
        while let Some(piece) = next(&mut pieces).await? {
            data.extend_from_slice(&piece.payload);
            if data.len() > length {
                break;
            }
        }
        if data.len() != length {
            return Err(Status::invalid_argument(format!("a snapshot of {length} bytes came with {}", data.len())));
        }
        let snapshot = Snapshot { meta: header.meta, snapshot: data.freeze() };
        reply(&self.raft.install_full_snapshot(header.vote, snapshot).await.map_err(|e| stopped(&e))?)
    }

    async fn transfer_leader(&self, request: Request<RaftMessage>) -> Reply {
        let rpc = wire::open(self.me, request.get_ref())?;
        reply(&self.raft.handle_transfer_leader(rpc).await.map_err(|e| stopped(&e))?)
    }
}

async fn next(pieces: &mut Streaming<RaftMessage>) -> Result<Option<RaftMessage>, Status> {
    tokio::time::timeout(PIECE_TIMEOUT, pieces.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the snapshot's sender has gone silent"))?
}
