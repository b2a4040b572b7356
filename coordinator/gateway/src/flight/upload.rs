//! What clients send in `DoPut`: parameters of prepared statements and rows of bulk ingests.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::sql::server::PeekableFlightDataStream;
use futures::{Stream, StreamExt, TryStreamExt};

use super::error::Error;
use crate::engine::EngineError;

/// The most bytes of parameters that are held for one statement.
const MAX_PARAMETER_BYTES: usize = 64 << 20;

/// Reads all parameters: one column for each, one row for each execution. `None` if the client bound none.
pub(crate) async fn parameters(stream: PeekableFlightDataStream) -> Result<Option<RecordBatch>, Error> {
    let mut decoder = decoder(stream);
    let Some(schema) = schema(&mut decoder).await? else { return Ok(None) };
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Some(message) = decoder.try_next().await? {
        if let DecodedPayload::RecordBatch(batch) = message.payload {
            bytes += batch.get_array_memory_size();
            if bytes > MAX_PARAMETER_BYTES {
                return Err(Error::ParametersTooLarge(MAX_PARAMETER_BYTES));
            }
            batches.push(batch);
        }
    }
    // Drivers that have nothing to bind send a schema without columns.
    Ok(if schema.fields().is_empty() { None } else { Some(concat_batches(&schema, &batches)?) })
}

/// Reads the schema of a bulk ingest; its rows follow as they arrive.
pub(crate) async fn rows(
    stream: PeekableFlightDataStream,
) -> Result<(SchemaRef, impl Stream<Item = Result<RecordBatch, EngineError>> + Send), Error> {
    let mut decoder = decoder(stream);
    let schema = schema(&mut decoder)
        .await?
        .ok_or_else(|| Error::Malformed("a bulk ingest begins with the schema of its rows".to_owned()))?;
    let batches = decoder
        .try_filter_map(async |message| {
            Ok(match message.payload {
                DecodedPayload::RecordBatch(batch) => Some(batch),
                DecodedPayload::None | DecodedPayload::Schema(_) => None,
            })
        })
        .map_err(|e| {
            let error = Error::from(e);
            EngineError { kind: error.kind(), message: format!("the rows stopped: {error}") }
        });
    Ok((schema, batches))
}

/// A first message may carry the command alone, without data.
fn decoder(stream: PeekableFlightDataStream) -> FlightDataDecoder {
    let data = stream.try_filter(|data| std::future::ready(!data.data_header.is_empty()));
    FlightDataDecoder::new(data.map_err(Into::into).boxed())
}

async fn schema(decoder: &mut FlightDataDecoder) -> Result<Option<SchemaRef>, Error> {
    while let Some(message) = decoder.try_next().await? {
        match message.payload {
            DecodedPayload::Schema(schema) => return Ok(Some(Arc::clone(&schema))),
            DecodedPayload::RecordBatch(_) => return Err(Error::Malformed("rows before their schema".to_owned())),
            DecodedPayload::None => {}
        }
    }
    Ok(None)
}
