//! A storage node on another machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, SchemaAsIpc};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    CatchUp, CompactionScope, Conversion, Converted, Copies, FileKey, IndexFileKey, LoadSpec, OpenTablet,
    PublishTablet, Result, RowsChecksum, RowsetWriter, StoreError, TabletStore, Unpublished, leader,
};
use crate::channel;
use crate::query_id::QueryId;
use crate::volume::Volume;
use crate::wire::storage_service_client::StorageServiceClient;
use crate::wire::{self, CompactionReport, Manifest, RowsetSummary, TabletReport};
use crate::{ErrorKind, TableSchema, TabletId, Term, TxnId, Version};

/// Messages hold at most one record batch or a piece of a segment; both are far smaller.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Longest wait for a call that changes or lists tablets. A node whose disk is stuck answers pings and nothing else; whoever
/// asked must be able to go on with other nodes. All these calls can be repeated.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Batches on their way to one storage node: enough to overlap encoding with the network, few enough to bound memory.
const WRITE_QUEUE: usize = 4;

/// A storage node reached by gRPC. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct GrpcTabletStore {
    address: String,
    query: Option<QueryId>,
    leader: Option<Term>,
    channel: Channel,
    answer_within: Duration,
}

impl GrpcTabletStore {
    /// A client of the node at `address` (`host:port`), connected by the first call.
    pub fn new(address: &str) -> Result<Self> {
        let channel = channel::connect(address).map_err(|e| invalid(address, &e))?;
        Ok(Self { address: address.to_owned(), query: None, leader: None, channel, answer_within: ANSWER_WITHIN })
    }

    fn client(&self) -> StorageServiceClient<Channel> {
        StorageServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn read<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(query) = &self.query {
            query.mark(request.metadata_mut());
        }
        request
    }

    /// A request to change which tablets there are.
    fn lead<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(term) = self.leader {
            leader::mark(term, request.metadata_mut());
        }
        request
    }

    fn error(&self, status: Status) -> StoreError {
        from_status(&self.address, &status)
    }

    /// Byte ranges of a segment's rows, or of an index of it.
    async fn ranges(
        &self,
        file: FileKey,
        index: Option<IndexFileKey>,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<Bytes>> {
        let FileKey { segment, checksum } = file;
        let request = wire::ReadRangesRequest {
            tablet_id: segment.tablet.get(),
            rowset_id: segment.rowset.get(),
            segment: segment.segment,
            checksum,
            ranges: ranges.iter().map(|r| wire::ByteRange { offset: r.start, length: r.end - r.start }).collect(),
            index: index.map(|IndexFileKey { index, checksum }| wire::SegmentIndex {
                column: index.column.get(),
                kind: wire::IndexKind::from(index.kind).into(),
                checksum,
                ..wire::SegmentIndex::default()
            }),
        };
        let mut stream = self.client().read_ranges(self.read(request)).await.map_err(|s| self.error(s))?.into_inner();
        let mut pieces = BytesMut::new();
        let mut out = Vec::with_capacity(ranges.len());
        for range in ranges {
            let length = (range.end - range.start) as usize;
            while pieces.len() < length {
                match stream.message().await.map_err(|s| self.error(s))? {
                    // The common case, one message for one range, copies nothing.
                    Some(piece) if pieces.is_empty() => {
                        pieces = piece.data.try_into_mut().unwrap_or_else(|data| BytesMut::from(&data[..]));
                    }
                    Some(piece) => pieces.extend_from_slice(&piece.data),
                    None => {
                        return Err(StoreError {
                            kind: ErrorKind::Unavailable,
                            address: self.address.clone(),
                            message: format!("the stream of {} ended early", segment.tablet),
                        });
                    }
                }
            }
            out.push(pieces.split_to(length).freeze());
        }
        Ok(out)
    }

    /// The answer to a call, within its time.
    async fn answer<T>(
        &self,
        call: impl Future<Output = std::result::Result<Response<T>, Status>> + Send,
    ) -> Result<T> {
        match timeout(self.answer_within, call).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(|s| self.error(s)),
            Err(_) => Err(StoreError {
                kind: ErrorKind::Unavailable,
                address: self.address.clone(),
                message: format!(
                    "it has not answered within {} s: look at its disk and its load, see SHOW STORAGE NODES",
                    self.answer_within.as_secs()
                ),
            }),
        }
    }
}

fn invalid(address: &str, error: &channel::InvalidAddress) -> StoreError {
    StoreError { kind: ErrorKind::Invalid, address: address.to_owned(), message: error.to_string() }
}

fn from_status(address: &str, status: &Status) -> StoreError {
    // What the node answers has no source. A peer that goes away in the middle of a call shows as `Unknown` or `Internal`.
    let transport = std::error::Error::source(status).is_some();
    let (kind, message) = match status.code() {
        Code::Unknown | Code::Internal | Code::Unavailable if transport => {
            let message = format!(
                "it does not answer ({}); its tablets are away until it is back, see SHOW STORAGE NODES",
                status.message()
            );
            (ErrorKind::Unavailable, message)
        }
        code => (ErrorKind::from_grpc_code(code), status.message().to_owned()),
    };
    StoreError { kind, address: address.to_owned(), message }
}

fn ids(tablets: &[TabletId]) -> Vec<u64> {
    tablets.iter().map(|t| t.get()).collect()
}

#[async_trait]
impl TabletStore for GrpcTabletStore {
    async fn create_tablets(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()> {
        let request = wire::CreateTabletsRequest { schema: Some(schema.into()), tablet_ids: ids(tablets) };
        self.answer(self.client().create_tablets(self.lead(request))).await?;
        Ok(())
    }

    async fn open_tablets(&self, schema: &TableSchema, volume: &Volume, tablets: &[OpenTablet]) -> Result<()> {
        let request = wire::OpenTabletsRequest {
            schema: Some(schema.into()),
            volume: Some(volume.into()),
            tablets: tablets.iter().map(|tablet| (*tablet).into()).collect(),
        };
        self.answer(self.client().open_tablets(self.lead(request))).await?;
        Ok(())
    }

    async fn purge_tablets(&self, volume: &Volume, tablets: &[TabletId]) -> Result<()> {
        let request = wire::PurgeTabletsRequest { volume: Some(volume.into()), tablet_ids: ids(tablets) };
        self.answer(self.client().purge_tablets(self.lead(request))).await?;
        Ok(())
    }

    async fn drop_tablets(&self, tablets: &[TabletId]) -> Result<()> {
        let request = wire::DropTabletsRequest { tablet_ids: ids(tablets) };
        self.answer(self.client().drop_tablets(self.lead(request))).await?;
        Ok(())
    }

    async fn write(&self, txn: TxnId, load_id: &str, spec: &LoadSpec) -> Result<Box<dyn RowsetWriter>> {
        let (sender, receiver) = mpsc::channel(WRITE_QUEUE);
        let start = wire::WriteStream {
            txn_id: txn.get(),
            load_id: load_id.to_owned(),
            schema: Some((&spec.schema).into()),
            update: spec.update.as_ref().map(Into::into),
            delete: spec.delete.as_ref().map(Into::into),
        };
        let descriptor = FlightDescriptor::new_cmd(start.encode_to_vec());
        let mut client = FlightServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let address = self.address.clone();
        let reply = crate::task::spawn("storage-write", async move {
            let response = client.do_put(messages(receiver)).await.map_err(|s| from_status(&address, &s))?;
            last_result(&address, response.into_inner()).await
        });
        Ok(Box::new(GrpcRowsetWriter {
            address: self.address.clone(),
            sender,
            descriptor: Some(descriptor),
            reply: Some(reply),
        }))
    }

    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<Vec<Unpublished>> {
        let tablets = tablets
            .iter()
            .map(|t| wire::TabletVersion {
                tablet_id: t.tablet.get(),
                version: t.version.get(),
                has_rowset: t.has_rowset,
            })
            .collect();
        let request = wire::PublishRequest { txn_id: txn.get(), tablets };
        let answer = self.answer(self.client().publish(request)).await?;
        Ok(answer.unpublished.into_iter().map(Into::into).collect())
    }

    async fn abort(&self, txn: TxnId) -> Result<()> {
        let request = wire::AbortTransactionRequest { txn_id: txn.get() };
        self.answer(self.client().abort_transaction(request)).await?;
        Ok(())
    }

    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        let tablets =
            tablets.iter().map(|(t, v)| wire::TabletAtVersion { tablet_id: t.get(), version: v.get() }).collect();
        let request = wire::GetManifestsRequest { tablets };
        Ok(self.client().get_manifests(self.read(request)).await.map_err(|s| self.error(s))?.into_inner().manifests)
    }

    async fn read_ranges(&self, file: FileKey, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.ranges(file, None, ranges).await
    }

    async fn read_index(
        &self,
        file: FileKey,
        index: IndexFileKey,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<Bytes>> {
        self.ranges(file, Some(index), ranges).await
    }

    async fn catch_up(&self, replicas: &[CatchUp]) -> Result<Vec<(TabletId, Version)>> {
        let request = wire::CatchUpRequest { replicas: replicas.iter().map(Into::into).collect() };
        let answer = self.answer(self.client().catch_up(self.lead(request))).await?;
        Ok(answer.tablets.into_iter().map(|t| (TabletId(t.tablet_id), Version(t.version))).collect())
    }

    async fn checksum(&self, tablet: TabletId, version: Version) -> Result<RowsChecksum> {
        let request = wire::TabletAtVersion { tablet_id: tablet.get(), version: version.get() };
        let request = wire::GetChecksumRequest { tablet: Some(request) };
        let sum = self.client().get_checksum(request).await.map_err(|s| self.error(s))?.into_inner();
        Ok(RowsChecksum { rows: sum.rows, sum: sum.sum })
    }

    async fn compact(&self, tablets: &[TabletId], scope: CompactionScope) -> Result<()> {
        let tablet_ids = tablets.iter().map(|id| id.get()).collect();
        let request = wire::CompactTabletsRequest { tablet_ids, recent_only: scope == CompactionScope::Recent };
        self.answer(self.client().compact_tablets(request)).await.map(drop)
    }

    async fn compactions(&self) -> Result<Vec<CompactionReport>> {
        let request = wire::ListCompactionsRequest {};
        Ok(self.answer(self.client().list_compactions(request)).await?.compactions)
    }

    fn for_query(&self, query: &QueryId) -> Option<Arc<dyn TabletStore>> {
        Some(Arc::new(Self { query: Some(query.clone()), ..self.clone() }))
    }

    fn led_in(&self, term: Term) -> Option<Arc<dyn TabletStore>> {
        Some(Arc::new(Self { leader: Some(term), ..self.clone() }))
    }

    async fn adopt(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()> {
        let request = wire::AdoptSchemaRequest { schema: Some(schema.into()), tablet_ids: ids(tablets) };
        self.answer(self.client().adopt_schema(request)).await?;
        Ok(())
    }

    async fn convert(&self, conversion: &Conversion) -> Result<Vec<Converted>> {
        let request = wire::ConvertRequest::from(conversion);
        let answer = self.answer(self.client().convert(request)).await?;
        Ok(answer.tablets.into_iter().map(Into::into).collect())
    }

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        let request = wire::ListTabletsRequest {};
        Ok(self.answer(self.client().list_tablets(request)).await?.tablets)
    }

    async fn pending(&self) -> Result<Vec<TxnId>> {
        let pending = self.answer(self.client().list_pending(wire::ListPendingRequest {})).await?;
        Ok(pending.txn_ids.into_iter().map(TxnId).collect())
    }
}

async fn last_result(address: &str, mut results: Streaming<arrow_flight::PutResult>) -> Result<Vec<RowsetSummary>> {
    let mut rowsets = None;
    while let Some(result) = results.message().await.map_err(|s| from_status(address, &s))? {
        let result = wire::WriteResult::decode(result.app_metadata).map_err(|e| StoreError {
            kind: ErrorKind::Internal,
            address: address.to_owned(),
            message: format!("unreadable write result: {e}"),
        })?;
        rowsets = Some(result.rowsets);
    }
    rowsets.ok_or_else(|| StoreError {
        kind: ErrorKind::Unavailable,
        address: address.to_owned(),
        message: "the write ended without a result".to_owned(),
    })
}

/// What a writer has for the node.
enum ToNode {
    Data(FlightData),
    /// There is no more, and who gets copies: only then the node keeps the rows.
    End(FlightData),
}

/// The messages of a write. A dropped writer leaves the stream open: its call is cancelled, and must not look complete
/// to the node before it is.
fn messages(receiver: mpsc::Receiver<ToNode>) -> impl Stream<Item = FlightData> + Send + 'static {
    futures::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(ToNode::Data(data)) => Some((data, Some(receiver))),
            Some(ToNode::End(data)) => Some((data, None)),
            None => std::future::pending().await,
        }
    })
}

struct GrpcRowsetWriter {
    address: String,
    sender: mpsc::Sender<ToNode>,
    /// Goes out with the schema, before the first batch.
    descriptor: Option<FlightDescriptor>,
    reply: Option<JoinHandle<Result<Vec<RowsetSummary>>>>,
}

impl GrpcRowsetWriter {
    /// The server's own reason, once the stream to it is broken.
    async fn failure(&mut self) -> StoreError {
        let reason = match self.reply.take() {
            Some(reply) => reply.await.ok().and_then(Result::err),
            None => None,
        };
        reason.unwrap_or_else(|| StoreError {
            kind: ErrorKind::Unavailable,
            address: self.address.clone(),
            message: "the write stream is closed".to_owned(),
        })
    }

    async fn send(&mut self, message: ToNode) -> Result<()> {
        if self.sender.send(message).await.is_ok() { Ok(()) } else { Err(self.failure().await) }
    }
}

impl Drop for GrpcRowsetWriter {
    fn drop(&mut self) {
        if let Some(reply) = &self.reply {
            reply.abort();
        }
    }
}

#[async_trait]
impl RowsetWriter for GrpcRowsetWriter {
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> Result<()> {
        let options = IpcWriteOptions::default();
        if let Some(descriptor) = self.descriptor.take() {
            let schema: FlightData = SchemaAsIpc::new(rows.schema_ref(), &options).into();
            self.send(ToNode::Data(schema.with_descriptor(descriptor))).await?;
        }
        // Columns have declared types, none of which is a dictionary.
        let mut tracker = DictionaryTracker::new(false);
        let (_, batch) = IpcDataGenerator::default()
            .encode(&rows, &mut tracker, &options, &mut IpcWriteContext::default())
            .map_err(|e| StoreError {
                kind: ErrorKind::Internal,
                address: self.address.clone(),
                message: format!("cannot encode rows for {tablet}: {e}"),
            })?;
        let tag = wire::BatchTag { tablet_id: tablet.get() };
        let data = FlightData::from(batch).with_app_metadata(tag.encode_to_vec());
        self.send(ToNode::Data(data)).await
    }

    async fn finish(mut self: Box<Self>, copies: &BTreeMap<TabletId, Copies>) -> Result<Vec<RowsetSummary>> {
        if self.descriptor.is_some() {
            return Ok(Vec::new());
        }
        let copies = copies.iter().map(|(tablet, copies)| copies.to_wire(*tablet)).collect();
        let end = wire::WriteEnd { copies };
        let end = FlightData::new().with_descriptor(FlightDescriptor::new_cmd(end.encode_to_vec()));
        self.send(ToNode::End(end)).await?;
        match self.reply.take() {
            Some(reply) => reply.await.unwrap_or_else(|e| {
                Err(StoreError {
                    kind: ErrorKind::Internal,
                    address: self.address.clone(),
                    message: format!("the write task failed: {e}"),
                })
            }),
            None => Err(self.failure().await),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_node_that_takes_calls_and_never_answers_is_unavailable_by_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut store = GrpcTabletStore::new(&address).unwrap();
        store.answer_within = Duration::from_millis(20);
        for error in [
            store.tablets().await.unwrap_err(),
            store.drop_tablets(&[TabletId(1)]).await.unwrap_err(),
            store.publish(TxnId(1), &[]).await.unwrap_err(),
            store.abort(TxnId(1)).await.unwrap_err(),
        ] {
            assert_eq!((error.kind, &error.address), (ErrorKind::Unavailable, &address));
            assert!(error.to_string().contains("has not answered"), "{error}");
        }
    }
}
