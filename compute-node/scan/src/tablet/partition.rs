//! What one output partition of a scan does: takes one piece of work after the other, and makes batches of fitting size
//! of their rows.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream::{self, BoxStream, Stream};
use futures::{StreamExt, TryStreamExt};

use super::TabletSource;
use super::early::Sink;
use super::execution::Execution;
use crate::metrics;
use crate::segment::ReadMetrics;

/// Batches of a piece of work.
pub(super) type Batches = BoxStream<'static, Result<RecordBatch>>;

/// What an output partition is doing.
pub(super) struct Partition {
    execution: Arc<Execution>,
    partition: usize,
    batch_size: usize,
    reads: ReadMetrics,
    memory: MemoryReservation,
    /// Takes rows that need not be returned.
    sink: Option<Sink>,
    current: Option<Batches>,
}

impl Partition {
    pub fn new(
        execution: Arc<Execution>,
        partition: usize,
        batch_size: usize,
        reads: ReadMetrics,
        memory: MemoryReservation,
        sink: Option<Sink>,
    ) -> Self {
        Self { execution, partition, batch_size, reads, memory, sink, current: None }
    }

    /// Its rows, in batches.
    pub fn rows(self) -> impl Stream<Item = Result<RecordBatch>> + Send + Unpin {
        Box::pin(stream::try_unfold(self, |mut partition| async move {
            Ok(partition.next().await?.map(|batch| (batch, partition)))
        }))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.execution.is_exhausted() {
                return Ok(None);
            }
            if let Some(batches) = &mut self.current {
                match batches.next().await.transpose()? {
                    None => self.current = None,
                    Some(batch) if batch.num_rows() == 0 => {}
                    Some(batch) => {
                        let batch = self.execution.grant(batch);
                        metrics::rows(batch.as_ref().map_or(0, RecordBatch::num_rows));
                        return Ok(batch);
                    }
                }
                continue;
            }
            let planned = self.execution.planned().await?;
            match planned.take(self.partition) {
                None => return Ok(None),
                Some(work) => {
                    let (reads, sink) = (&self.reads, self.sink.as_ref());
                    let batches = self.execution.read(&work, reads, self.batch_size, &self.memory, sink).await?;
                    self.current = Some(gather(self.execution.source(), batches, self.batch_size));
                }
            }
        }
    }
}

/// Makes batches of about `rows` rows of what a filter left of a morsel. Nothing is kept beyond the morsel: what comes
/// next may depend on what the operators above learn from these rows.
fn gather(source: &TabletSource, batches: Batches, rows: usize) -> Batches {
    if source.filters.is_empty() || source.output.fields().is_empty() {
        return batches;
    }
    let rows = source.limit.map_or(rows, |limit| rows.min(limit)).max(1);
    let gathered = BatchCoalescer::new(source.output.clone(), rows).with_biggest_coalesce_batch_size(Some(rows / 2));
    stream::try_unfold((Some(batches), gathered), |(mut batches, mut gathered)| async move {
        loop {
            if let Some(batch) = gathered.next_completed_batch() {
                return Ok(Some((batch, (batches, gathered))));
            }
            let Some(rest) = &mut batches else { return Ok(None) };
            match rest.try_next().await? {
                Some(batch) => gathered.push_batch(batch)?,
                None => {
                    gathered.finish_buffered_batch()?;
                    batches = None;
                }
            }
        }
    })
    .boxed()
}
