//! `ReplicationService`: what other storage nodes ask of this one.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tarn_proto::storage::{Peer, Unpublished};
use tarn_proto::wire::replication_service_server::ReplicationService;
use tarn_proto::wire::{
    GetReplicaRequest, GetReplicaResponse, ReadRowsetRequest, ReplicateRowsetsRequest, ReplicateRowsetsResponse,
    RowsetPiece, TabletRowset,
};
use tarn_proto::{RowsetId, TableSchema, TabletId, TxnId, task};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::Replication;
use crate::service::status;
use crate::store::store_error;

/// Rowsets of one load that are fetched at the same time: enough to wait for the disk and the network at once.
const AT_ONCE: usize = 4;
/// Pieces between the disk and the network.
const PIECES: usize = 4;

/// The service.
pub(crate) struct ReplicationServer {
    pub replication: Arc<Replication>,
}

#[tonic::async_trait]
impl ReplicationService for ReplicationServer {
    async fn replicate_rowsets(
        &self,
        request: Request<ReplicateRowsetsRequest>,
    ) -> Result<Response<ReplicateRowsetsResponse>, Status> {
        let request = request.into_inner();
        let txn = TxnId(request.txn_id);
        let schema = request.schema.ok_or_else(|| Status::invalid_argument("the request has no schema"))?;
        let schema =
            TableSchema::try_from(schema).map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let source = request.source.ok_or_else(|| Status::invalid_argument("the request names no source"))?;
        let source = self.replication.clients.get(&Peer::from(source)).map_err(status)?;
        let engine = &self.replication.engine;
        let copies = request.rowsets.into_iter().map(|TabletRowset { tablet_id, record }| {
            let (schema, source) = (&schema, &source);
            async move {
                let tablet = TabletId(tablet_id);
                let copied = engine.replicate(txn, tablet, &record, schema, source).await;
                copied.map(|()| tablet).map_err(|error| {
                    let reason = tarn_proto::error::chain(&error);
                    Unpublished { tablet, damaged: false, reason }
                })
            }
        });
        let copies: Vec<_> = stream::iter(copies).buffer_unordered(AT_ONCE).collect().await;
        let mut answer = ReplicateRowsetsResponse::default();
        for copy in copies {
            match copy {
                Ok(tablet) => answer.tablet_ids.push(tablet.get()),
                Err(refused) => answer.refused.push((&refused).into()),
            }
        }
        Ok(Response::new(answer))
    }

    async fn get_replica(&self, request: Request<GetReplicaRequest>) -> Result<Response<GetReplicaResponse>, Status> {
        let tablet = TabletId(request.into_inner().tablet_id);
        let engine = self.replication.engine.clone();
        let replica = tokio::task::spawn_blocking(move || engine.replica(tablet)).await;
        let replica = replica.map_err(|_| Status::unavailable("the node is stopping"))?;
        Ok(Response::new(replica.map_err(|error| status(store_error(&error)))?))
    }

    type ReadRowsetStream = BoxStream<'static, Result<RowsetPiece, Status>>;

    async fn read_rowset(
        &self,
        request: Request<ReadRowsetRequest>,
    ) -> Result<Response<Self::ReadRowsetStream>, Status> {
        let request = request.into_inner();
        let (tablet, rowset) = (TabletId(request.tablet_id), RowsetId(request.rowset_id));
        let engine = self.replication.engine.clone();
        let (sender, pieces) = mpsc::channel(PIECES);
        let span = Span::current();
        // It ends with the stream that takes its pieces.
        drop(task::spawn("rowset-read", async move {
            let read = tokio::task::spawn_blocking(move || {
                let _span = span.enter();
                let sent = |piece: Result<RowsetPiece, Status>| sender.blocking_send(piece).is_ok();
                let mut reader = match engine.read_rowset(tablet, rowset) {
                    Ok(reader) => reader,
                    Err(error) => {
                        sent(Err(status(store_error(&error))));
                        return;
                    }
                };
                loop {
                    let piece = match reader.next_piece() {
                        Ok(Some(piece)) => Ok(piece),
                        Ok(None) => return,
                        Err(error) => Err(status(store_error(&error))),
                    };
                    let ends = piece.is_err();
                    if !sent(piece) || ends {
                        return;
                    }
                }
            });
            drop(read.await);
        }));
        Ok(Response::new(ReceiverStream::new(pieces).boxed()))
    }
}
