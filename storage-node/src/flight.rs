//! Rows come by Arrow Flight `DoPut`: the first message's descriptor names transaction, attempt and schema, each batch its
//! tablet, and the last who gets copies. The answer, one `WriteResult`, comes when all rows are durable on enough nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::future::ready;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tarn_proto::storage::{Copies, DeletePredicate, LoadSpec, TabletStore};
use tarn_proto::wire::{BatchTag, WriteEnd, WriteResult, WriteStream};
use tarn_proto::{TableSchema, TabletId, TxnId};
use tonic::{Request, Response, Status, Streaming};

use crate::service::status;
use crate::store::LocalStore;

/// The service.
pub(crate) struct FlightServer {
    pub store: Arc<LocalStore>,
}

type Answer<T> = BoxStream<'static, Result<T, Status>>;

impl FlightServer {
    async fn put(&self, mut messages: Streaming<FlightData>) -> Result<WriteResult, Status> {
        let Some(first) = messages.message().await? else { return Ok(WriteResult::default()) };
        let start = first
            .flight_descriptor
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("the first message of a write has no descriptor"))?;
        let start = WriteStream::decode(start.cmd.clone())
            .map_err(|e| Status::invalid_argument(format!("the descriptor is no WriteStream: {e}")))?;
        let schema = start.schema.ok_or_else(|| Status::invalid_argument("the WriteStream has no schema"))?;
        let schema =
            TableSchema::try_from(schema).map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let delete = start.delete.map(DeletePredicate::try_from).transpose();
        let delete = delete.map_err(|e| Status::invalid_argument(tarn_proto::error::chain(&e)))?;
        let spec = LoadSpec { schema, update: start.update.map(Into::into), delete };
        let mut writer = self.store.write(TxnId(start.txn_id), &start.load_id, &spec).await.map_err(status)?;

        // A stream that breaks off is an error here, so the writer is dropped and its rows are forgotten.
        let messages = stream::once(async { Ok(first) }).chain(messages.map_err(FlightError::from));
        let end = Arc::new(OnceLock::new());
        let found = end.clone();
        let messages = messages.try_take_while(move |message| {
            let found = end_of(message).map(|end| end.is_some_and(|end| found.set(end).is_ok()));
            ready(found.map(|ended| !ended))
        });
        let mut batches = FlightDataDecoder::new(messages);
        while let Some(message) = batches.next().await {
            let message = message.map_err(unreadable)?;
            if let DecodedPayload::RecordBatch(rows) = message.payload {
                let tag = BatchTag::decode(message.inner.app_metadata)
                    .map_err(|e| Status::invalid_argument(format!("a batch names no tablet: {e}")))?;
                writer.write(TabletId(tag.tablet_id), rows).await.map_err(status)?;
            }
        }
        let end = end.get().ok_or_else(|| Status::invalid_argument("the write broke off before its end"))?;
        let copies: BTreeMap<_, _> = end.copies.iter().cloned().map(Copies::from_wire).collect();
        let rowsets = writer.finish(&copies).await.map_err(status)?;
        Ok(WriteResult { rowsets })
    }
}

/// The end of a write, if a message is one: it has no data, and a descriptor.
fn end_of(message: &FlightData) -> Result<Option<WriteEnd>, FlightError> {
    match &message.flight_descriptor {
        Some(descriptor) if message.data_header.is_empty() => {
            let unreadable = |e| FlightError::DecodeError(format!("the end of the write is no WriteEnd: {e}"));
            WriteEnd::decode(descriptor.cmd.clone()).map(Some).map_err(unreadable)
        }
        _ => Ok(None),
    }
}

fn unreadable(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        error => Status::invalid_argument(format!("unreadable rows: {}", tarn_proto::error::chain(&error))),
    }
}

fn unsupported<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("storage nodes take rows by DoPut; everything else is in StorageService"))
}

#[tonic::async_trait]
impl FlightService for FlightServer {
    type DoPutStream = Answer<PutResult>;
    type HandshakeStream = Answer<HandshakeResponse>;
    type ListFlightsStream = Answer<FlightInfo>;
    type DoGetStream = Answer<FlightData>;
    type DoExchangeStream = Answer<FlightData>;
    type DoActionStream = Answer<arrow_flight::Result>;
    type ListActionsStream = Answer<ActionType>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let result = self.put(request.into_inner()).await?;
        let result = PutResult { app_metadata: result.encode_to_vec().into() };
        Ok(Response::new(stream::once(async { Ok(result) }).boxed()))
    }

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unsupported()
    }

    async fn list_flights(&self, _request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unsupported()
    }

    async fn get_flight_info(&self, _request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unsupported()
    }

    async fn poll_flight_info(&self, _request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unsupported()
    }

    async fn get_schema(&self, _request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unsupported()
    }

    async fn do_get(&self, _request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        unsupported()
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        unsupported()
    }

    async fn do_action(&self, _request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        unsupported()
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        unsupported()
    }
}
