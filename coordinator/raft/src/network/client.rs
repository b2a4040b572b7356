//! Calls to one peer. Every call ends within its time, and a peer that does not answer is an error that openraft backs
//! off from: it never holds up consensus with the others.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarn_proto::NodeId;
use tarn_proto::wire::RaftMessage;
use tarn_proto::wire::raft_service_client::RaftServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::wire::{self, Envelope, SnapshotHeader};
use super::{Lane, MAX_MESSAGE_BYTES, Peers};
use crate::storage::PIECE_BYTES;
use crate::types::{Snapshot, TypeConfig, Vote};

/// Shortest time given to a peer to make log entries durable. (openraft would give it less than a heartbeat interval,
/// which is short for an fsync; heartbeats go another way and are not delayed by it.)
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Makes the clients of one node.
pub(crate) struct NetworkFactory {
    me: NodeId,
    peers: Arc<Peers>,
}

impl NetworkFactory {
    pub fn new(me: NodeId, peers: Arc<Peers>) -> Self {
        Self { me, peers }
    }

    fn network(&self, target: NodeId, node: &BasicNode, lane: Lane) -> Network {
        // An address that cannot be parsed makes a peer unreachable; it may be corrected by adding the node anew.
        let channel = self.peers.channel(&node.addr, lane).map_err(|e| tarn_proto::error::chain(&e));
        Network { me: self.me, target, lane, channel }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Network {
        self.network(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &BasicNode) -> Network {
        self.network(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &BasicNode) -> Network {
        self.network(target, node, Lane::Snapshot)
    }
}

/// One peer.
pub(crate) struct Network {
    me: NodeId,
    target: NodeId,
    lane: Lane,
    channel: Result<Channel, String>,
}

impl Network {
    fn client(&self) -> Rpc<RaftServiceClient<Channel>> {
        match &self.channel {
            Ok(channel) => Ok(RaftServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)),
            Err(reason) => Err(RPCError::Unreachable(Unreachable::from_string(reason))),
        }
    }

    async fn call<Q, A, F>(
        &self,
        action: RPCTypes,
        within: Duration,
        request: Q,
        rpc: impl FnOnce(RaftServiceClient<Channel>, RaftMessage) -> F + Send,
    ) -> Rpc<A>
    where
        Q: Serialize + Send,
        A: DeserializeOwned,
        F: Future<Output = Result<Response<RaftMessage>, Status>> + Send,
    {
        let client = self.client()?;
        let message = wire::encode(&Envelope { to: self.target, body: request });
        match tokio::time::timeout(within, rpc(client, message)).await {
            Ok(Ok(reply)) => wire::decode(reply.get_ref()).map_err(|e| RPCError::Network(NetworkError::new(&e))),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => Err(self.late(action, within)),
        }
    }

    fn failed(&self, status: &Status) -> RPCError<TypeConfig> {
        match status.code() {
            // The peer answered, but not as hoped: ask again soon.
            Code::Internal | Code::Aborted | Code::ResourceExhausted => RPCError::Network(NetworkError::new(status)),
            _ => RPCError::Unreachable(Unreachable::new(status)),
        }
    }

    fn late(&self, action: RPCTypes, timeout: Duration) -> RPCError<TypeConfig> {
        RPCError::Timeout(Timeout { action, id: self.me, target: self.target, timeout })
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let within = match self.lane {
            Lane::Heartbeat => option.hard_ttl(),
            Lane::Log | Lane::Snapshot | Lane::Forward => option.soft_ttl().max(APPEND_TIMEOUT),
        };
        self.call(RPCTypes::AppendEntries, within, rpc, |mut client, message| async move {
            client.append_entries(message).await
        })
        .await
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.call(
            RPCTypes::Vote,
            option.soft_ttl(),
            rpc,
            |mut client, message| async move { client.vote(message).await },
        )
        .await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.call(RPCTypes::Vote, option.soft_ttl(), rpc, |mut client, message| async move {
            client.pre_vote(message).await
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let data = snapshot.snapshot;
        let header = SnapshotHeader { vote, meta: snapshot.meta, bytes: data.len() as u64 };
        let header = wire::encode(&Envelope { to: self.target, body: header });
        let pieces = (0..data.len().div_ceil(PIECE_BYTES)).map(move |i| {
            let end = data.len().min((i + 1) * PIECE_BYTES);
            RaftMessage { payload: data.slice(i * PIECE_BYTES..end) }
        });
        let messages = stream::iter(std::iter::once(header).chain(pieces));
        let within = option.soft_ttl();
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            reply = tokio::time::timeout(within, client.install_snapshot(messages)) => match reply {
                Ok(Ok(reply)) => {
                    wire::decode(reply.get_ref()).map_err(|e| StreamingError::Network(NetworkError::new(&e)))
                }
                Ok(Err(status)) => Err(self.failed(&status).into()),
                Err(_) => Err(self.late(RPCTypes::InstallSnapshot, within).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        self.call(RPCTypes::TransferLeader, option.soft_ttl(), req, |mut client, message| async move {
            client.transfer_leader(message).await
        })
        .await
    }
}
