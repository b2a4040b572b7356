//! Streams of encoded rows. Dropping one, or cancelling it, drops the engine's stream and with it the query.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tonic::Status;

use super::error::Error;
use super::statements::Running;
use super::wire;
use crate::engine::BatchStream;
use crate::metrics;

/// Encoded rows on their way to a client.
pub(crate) type FlightDataStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// A stream without columns and rows: the result of a statement that returns none.
pub(crate) fn empty() -> FlightDataStream {
    encode(Arc::new(Schema::empty()), stream::empty())
}

/// One batch.
pub(crate) fn single(batch: RecordBatch) -> FlightDataStream {
    encode(batch.schema(), stream::iter([Ok(batch)]))
}

/// The rows of a query, as they are computed.
pub(crate) fn stream(schema: SchemaRef, batches: BatchStream, running: Running) -> FlightDataStream {
    let wire_schema = Arc::clone(&schema);
    let pieces = batches
        .map(move |batch| {
            let pieces = wire::to_wire(&batch.map_err(Error::Engine)?, &wire_schema)?;
            metrics::sent_rows(pieces.iter().map(RecordBatch::num_rows).sum());
            Ok::<_, Error>(stream::iter(pieces.into_iter().map(Ok::<_, Error>)))
        })
        .try_flatten()
        .map_err(|e: Error| FlightError::from(Status::from(e)));
    let delivery = Delivery { data: encode(schema, pieces), running, started: Instant::now(), outcome: "abandoned" };
    stream::unfold(Some(delivery), |delivery| async move {
        let mut delivery = delivery?;
        let next = tokio::select! {
            biased;
            () = delivery.running.cancel.cancelled() => Some(Err(Error::Cancelled.into())),
            next = delivery.data.next() => next,
        };
        match next {
            Some(Ok(data)) => {
                metrics::sent_bytes(data.data_body.len() + data.data_header.len());
                Some((Ok(data), Some(delivery)))
            }
            Some(Err(status)) => {
                delivery.outcome = "failed";
                Some((Err(status), None))
            }
            None => {
                delivery.outcome = "complete";
                None
            }
        }
    })
    .boxed()
}

fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> FlightDataStream {
    FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(Status::from).boxed()
}

/// A result being sent, counted when it ends in whatever way.
struct Delivery {
    data: FlightDataStream,
    running: Running,
    started: Instant,
    outcome: &'static str,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        metrics::result(self.outcome, self.started.elapsed());
    }
}
