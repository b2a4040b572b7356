//! Calls of other storage nodes.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parking_lot::RwLock;
use tarn_proto::storage::{Peer, StoreError};
use tarn_proto::wire::replication_service_client::ReplicationServiceClient;
use tarn_proto::wire::{
    GetReplicaRequest, GetReplicaResponse, ReadRowsetRequest, ReplicateRowsetsRequest, ReplicateRowsetsResponse,
    RowsetPiece,
};
use tarn_proto::{ErrorKind, RowsetId, TabletId, channel};
use tarn_tablet::Source;
use tonic::Status;
use tonic::transport::Channel;

/// A replica's description holds a record for each rowset and delete vector.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Connections to other storage nodes, kept by address. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Clients(Arc<RwLock<HashMap<String, Channel>>>);

impl Clients {
    /// The node `peer`. Does not wait: a connection is made by the first call.
    pub(super) fn get(&self, peer: &Peer) -> Result<Remote, StoreError> {
        let known = self.0.read().get(&peer.address).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = channel::connect(&peer.address).map_err(|error| StoreError {
                    kind: ErrorKind::Invalid,
                    address: peer.address.clone(),
                    message: error.to_string(),
                })?;
                self.0.write().entry(peer.address.clone()).or_insert(channel).clone()
            }
        };
        let client = ReplicationServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Remote { peer: peer.clone(), client })
    }
}

/// Another storage node.
#[derive(Clone)]
pub(super) struct Remote {
    peer: Peer,
    client: ReplicationServiceClient<Channel>,
}

impl Remote {
    /// Asks it to fetch rowsets and to keep them.
    pub(super) async fn replicate(
        &self,
        request: ReplicateRowsetsRequest,
    ) -> Result<ReplicateRowsetsResponse, StoreError> {
        let answer = self.client.clone().replicate_rowsets(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(&self.peer, &status))
    }
}

impl Source for Remote {
    fn name(&self) -> String {
        format!("storage node {} ({})", self.peer.node, self.peer.address)
    }

    async fn replica(&self, tablet: TabletId) -> Result<GetReplicaResponse, StoreError> {
        let answer = self.client.clone().get_replica(GetReplicaRequest { tablet_id: tablet.get() }).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(&self.peer, &status))
    }

    async fn rowset(
        &self,
        tablet: TabletId,
        rowset: RowsetId,
    ) -> Result<BoxStream<'static, Result<RowsetPiece, StoreError>>, StoreError> {
        let request = ReadRowsetRequest { tablet_id: tablet.get(), rowset_id: rowset.get() };
        let answer = self.client.clone().read_rowset(request).await;
        let pieces = answer.map_err(|status| failed(&self.peer, &status))?.into_inner();
        let peer = self.peer.clone();
        Ok(pieces.map_err(move |status| failed(&peer, &status)).boxed())
    }
}

fn failed(peer: &Peer, status: &Status) -> StoreError {
    let kind = ErrorKind::from_grpc_code(status.code());
    StoreError { kind, address: peer.address.clone(), message: status.message().to_owned() }
}
