//! `StorageService`: the calls of [`TabletStore`] over gRPC. Rows come by Arrow Flight, see `flight`.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tarn_proto::schema::WireSchemaError;
use tarn_proto::storage::{
    CatchUp, CompactionScope, Conversion, FileKey, IndexFileKey, IndexKey, OpenTablet, PublishTablet, RowsChecksum,
    SegmentKey, StoreError, TabletStore, leader_of,
};
use tarn_proto::wire::storage_service_server::StorageService;
use tarn_proto::wire::{
    AbortTransactionRequest, AbortTransactionResponse, AdoptSchemaRequest, AdoptSchemaResponse, CatchUpRequest,
    CatchUpResponse, CompactTabletsRequest, CompactTabletsResponse, ConvertRequest, ConvertResponse,
    CreateTabletsRequest, CreateTabletsResponse, DropTabletsRequest, DropTabletsResponse, GetChecksumRequest,
    GetChecksumResponse, GetManifestsRequest, GetManifestsResponse, ListCompactionsRequest, ListCompactionsResponse,
    ListPendingRequest, ListPendingResponse, ListTabletsRequest, ListTabletsResponse, OpenTabletsRequest,
    OpenTabletsResponse, PublishRequest, PublishResponse, PurgeTabletsRequest, PurgeTabletsResponse, ReadRangesRequest,
    ReadRangesResponse, TabletAtVersion,
};
use tarn_proto::{ColumnId, RowsetId, TableSchema, TabletId, TxnId, Version};
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

use crate::store::LocalStore;

/// Bytes read from the disk at a time for one call; a longer range is read in pieces.
const READ_BYTES: u64 = 16 << 20;

/// The service.
pub(crate) struct StorageServer {
    pub store: Arc<LocalStore>,
}

/// A failure as the client's [`StoreError`] is made of: kind and message; the client adds the address.
pub(crate) fn status(error: StoreError) -> Status {
    Status::new(error.kind.grpc_code(), error.message)
}

fn ids(ids: Vec<u64>) -> Vec<TabletId> {
    ids.into_iter().map(TabletId).collect()
}

#[tonic::async_trait]
impl StorageService for StorageServer {
    async fn create_tablets(
        &self,
        request: Request<CreateTabletsRequest>,
    ) -> Result<Response<CreateTabletsResponse>, Status> {
        let store = self.store.led(leader_of(request.metadata()));
        let request = request.into_inner();
        let schema = request.schema.ok_or_else(|| Status::invalid_argument("the request has no schema"))?;
        let schema =
            TableSchema::try_from(schema).map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        store.create_tablets(&schema, &ids(request.tablet_ids)).await.map_err(status)?;
        Ok(Response::new(CreateTabletsResponse {}))
    }

    async fn open_tablets(
        &self,
        request: Request<OpenTabletsRequest>,
    ) -> Result<Response<OpenTabletsResponse>, Status> {
        let store = self.store.led(leader_of(request.metadata()));
        let request = request.into_inner();
        let schema = request.schema.ok_or_else(|| Status::invalid_argument("the request has no schema"))?;
        let schema =
            TableSchema::try_from(schema).map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let volume = request.volume.ok_or_else(|| Status::invalid_argument("the request has no storage volume"))?;
        let tablets: Vec<OpenTablet> = request.tablets.into_iter().map(Into::into).collect();
        store.open_tablets(&schema, &volume.into(), &tablets).await.map_err(status)?;
        Ok(Response::new(OpenTabletsResponse {}))
    }

    async fn purge_tablets(
        &self,
        request: Request<PurgeTabletsRequest>,
    ) -> Result<Response<PurgeTabletsResponse>, Status> {
        let store = self.store.led(leader_of(request.metadata()));
        let request = request.into_inner();
        let volume = request.volume.ok_or_else(|| Status::invalid_argument("the request has no storage volume"))?;
        store.purge_tablets(&volume.into(), &ids(request.tablet_ids)).await.map_err(status)?;
        Ok(Response::new(PurgeTabletsResponse {}))
    }

    async fn drop_tablets(
        &self,
        request: Request<DropTabletsRequest>,
    ) -> Result<Response<DropTabletsResponse>, Status> {
        let store = self.store.led(leader_of(request.metadata()));
        store.drop_tablets(&ids(request.into_inner().tablet_ids)).await.map_err(status)?;
        Ok(Response::new(DropTabletsResponse {}))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let request = request.into_inner();
        let tablets: Vec<PublishTablet> = request
            .tablets
            .iter()
            .map(|t| PublishTablet {
                tablet: TabletId(t.tablet_id),
                version: Version(t.version),
                has_rowset: t.has_rowset,
            })
            .collect();
        let unpublished = self.store.publish(TxnId(request.txn_id), &tablets).await.map_err(status)?;
        Ok(Response::new(PublishResponse { unpublished: unpublished.iter().map(Into::into).collect() }))
    }

    async fn abort_transaction(
        &self,
        request: Request<AbortTransactionRequest>,
    ) -> Result<Response<AbortTransactionResponse>, Status> {
        self.store.abort(TxnId(request.into_inner().txn_id)).await.map_err(status)?;
        Ok(Response::new(AbortTransactionResponse {}))
    }

    async fn get_manifests(
        &self,
        request: Request<GetManifestsRequest>,
    ) -> Result<Response<GetManifestsResponse>, Status> {
        let tablets: Vec<(TabletId, Version)> =
            request.into_inner().tablets.iter().map(|t| (TabletId(t.tablet_id), Version(t.version))).collect();
        let manifests = self.store.manifests(&tablets).await.map_err(status)?;
        Ok(Response::new(GetManifestsResponse { manifests }))
    }

    type ReadRangesStream = BoxStream<'static, Result<ReadRangesResponse, Status>>;

    async fn read_ranges(
        &self,
        request: Request<ReadRangesRequest>,
    ) -> Result<Response<Self::ReadRangesStream>, Status> {
        let request = request.into_inner();
        let segment = SegmentKey {
            tablet: TabletId(request.tablet_id),
            rowset: RowsetId(request.rowset_id),
            segment: request.segment,
        };
        let key = FileKey { segment, checksum: request.checksum };
        let index = request.index.map(|index| {
            let kind = index.kind().try_into().map_err(|e: WireSchemaError| Status::invalid_argument(e.to_string()))?;
            let checksum = index.checksum;
            Ok::<_, Status>(IndexFileKey { index: IndexKey { column: ColumnId(index.column), kind }, checksum })
        });
        let index = index.transpose()?;
        let mut ranges = Vec::with_capacity(request.ranges.len());
        for range in &request.ranges {
            let end = range.offset.checked_add(range.length);
            ranges.push(range.offset..end.ok_or_else(|| Status::invalid_argument("a range ends beyond 2^64"))?);
        }
        // One group of ranges is in memory per call; the next is read when the client has taken this one.
        let store = self.store.clone();
        // The stream is read after this call has returned.
        let span = Span::current();
        let pieces = stream::iter(groups(&ranges))
            .then(move |group| {
                let store = store.clone();
                let read = async move {
                    match index {
                        Some(index) => store.read_index(key, index, &group).await,
                        None => store.read_ranges(key, &group).await,
                    }
                    .map_err(status)
                };
                read.instrument(span.clone())
            })
            .map_ok(|pieces| stream::iter(pieces).map(|data| Ok(ReadRangesResponse { data })))
            .try_flatten();
        Ok(Response::new(pieces.boxed()))
    }

    async fn catch_up(&self, request: Request<CatchUpRequest>) -> Result<Response<CatchUpResponse>, Status> {
        let store = self.store.led(leader_of(request.metadata()));
        let replicas = request.into_inner().replicas.into_iter().map(CatchUp::try_from);
        let replicas: Vec<CatchUp> =
            replicas.collect::<Result<_, _>>().map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let there = store.catch_up(&replicas).await.map_err(status)?;
        let at = |(tablet, version): (TabletId, Version)| TabletAtVersion {
            tablet_id: tablet.get(),
            version: version.get(),
        };
        Ok(Response::new(CatchUpResponse { tablets: there.into_iter().map(at).collect() }))
    }

    async fn get_checksum(
        &self,
        request: Request<GetChecksumRequest>,
    ) -> Result<Response<GetChecksumResponse>, Status> {
        let tablet = request.into_inner().tablet.unwrap_or_default();
        let (tablet, version) = (TabletId(tablet.tablet_id), Version(tablet.version));
        let RowsChecksum { rows, sum } = self.store.checksum(tablet, version).await.map_err(status)?;
        Ok(Response::new(GetChecksumResponse { rows, sum }))
    }

    async fn list_tablets(
        &self,
        _request: Request<ListTabletsRequest>,
    ) -> Result<Response<ListTabletsResponse>, Status> {
        let tablets = self.store.tablets().await.map_err(status)?;
        Ok(Response::new(ListTabletsResponse { tablets }))
    }

    async fn compact_tablets(
        &self,
        request: Request<CompactTabletsRequest>,
    ) -> Result<Response<CompactTabletsResponse>, Status> {
        let CompactTabletsRequest { tablet_ids, recent_only } = request.into_inner();
        let scope = if recent_only { CompactionScope::Recent } else { CompactionScope::All };
        self.store.compact(&ids(tablet_ids), scope).await.map_err(status)?;
        Ok(Response::new(CompactTabletsResponse {}))
    }

    async fn list_compactions(
        &self,
        _request: Request<ListCompactionsRequest>,
    ) -> Result<Response<ListCompactionsResponse>, Status> {
        let compactions = self.store.compactions().await.map_err(status)?;
        Ok(Response::new(ListCompactionsResponse { compactions }))
    }

    async fn adopt_schema(
        &self,
        request: Request<AdoptSchemaRequest>,
    ) -> Result<Response<AdoptSchemaResponse>, Status> {
        let request = request.into_inner();
        let schema = request.schema.ok_or_else(|| Status::invalid_argument("the request has no schema"))?;
        let schema =
            TableSchema::try_from(schema).map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        self.store.adopt(&schema, &ids(request.tablet_ids)).await.map_err(status)?;
        Ok(Response::new(AdoptSchemaResponse {}))
    }

    async fn convert(&self, request: Request<ConvertRequest>) -> Result<Response<ConvertResponse>, Status> {
        let conversion = Conversion::try_from(request.into_inner())
            .map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let tablets = self.store.convert(&conversion).await.map_err(status)?;
        Ok(Response::new(ConvertResponse { tablets: tablets.iter().map(Into::into).collect() }))
    }

    async fn list_pending(
        &self,
        _request: Request<ListPendingRequest>,
    ) -> Result<Response<ListPendingResponse>, Status> {
        let txn_ids = self.store.pending().await.map_err(status)?.into_iter().map(TxnId::get).collect();
        Ok(Response::new(ListPendingResponse { txn_ids }))
    }
}

/// The ranges in their order, long ones cut, in groups of at most [`READ_BYTES`].
fn groups(ranges: &[Range<u64>]) -> Vec<Vec<Range<u64>>> {
    let mut groups: Vec<Vec<Range<u64>>> = Vec::new();
    let mut room = 0;
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            if room == 0 {
                groups.push(Vec::new());
                room = READ_BYTES;
            }
            let length = room.min(range.end - start);
            groups.last_mut().expect("a group was just made").push(start..start + length);
            room -= length;
            start += length;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_bounded_groups_and_in_order() {
        assert_eq!(groups(&[5..5, 7..9]), vec![vec![7..9]]);
        let long = 2 * READ_BYTES + 3;
        assert_eq!(
            groups(&[10..20, 100..100 + long, 4..5]),
            vec![
                vec![10..20, 100..100 + READ_BYTES - 10],
                vec![90 + READ_BYTES..90 + 2 * READ_BYTES],
                vec![90 + 2 * READ_BYTES..100 + long, 4..5],
            ]
        );
    }
}
