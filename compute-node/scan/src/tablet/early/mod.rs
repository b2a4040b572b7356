//! Partial aggregation inside the scan.
//!
//! Where a partial aggregation of plain columns stands right above a scan, each output partition of the scan aggregates
//! chunks as Vortex decodes them: numbers in the width that they are stored in, groups by the codes of a dictionary or by
//! small integers. Nothing of such a chunk becomes an Arrow array, is widened to a declared type (16 bytes for a decimal)
//! or hashed. A chunk that does not fit (texts without a dictionary, too many groups, columns older than the query's
//! schema, filters that Vortex cannot evaluate, rows that are merged) goes through the stock operator as rows. That one's
//! states and the scan's own are passed on together: the final aggregation takes any number of states of a group.
//!
//! ```text
//!  AggregateExec (final)
//!    EarlyAggregateExec       states of the stock operator, then those of the scan's partition
//!      AggregateExec (partial)  rows that do not fit
//!        DataSourceExec: TabletSource { early }   what fits ends here
//! ```
//!
//! Plans are planned, sent and explained without this; [`aggregated_early`] puts it in place where they run.

mod chunk;
mod exec;
mod groups;
mod numbers;
mod spec;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::physical_plan::metrics::Count;
use parking_lot::Mutex;
use vortex::array::{ArrayRef, ExecutionCtx};
use vortex::error::VortexResult;

use self::groups::Aggregated;
use self::spec::Spec;

pub use exec::aggregated_early;

/// After so many chunks that did not fit, a partition tries no more.
const MOST_REFUSED: usize = 4;

/// What the output partitions of a scan aggregate.
#[derive(Debug)]
pub(crate) struct Early {
    spec: Spec,
    partitions: Vec<Partition>,
}

#[derive(Default)]
struct Partition {
    aggregated: Mutex<Aggregated>,
    /// Chunks that did not fit.
    refused: AtomicUsize,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("refused", &self.refused).finish_non_exhaustive()
    }
}

/// Where one output partition puts what it reads of a segment.
#[derive(Clone)]
pub(super) struct Sink {
    pub early: Arc<Early>,
    pub partition: usize,
    /// Rows that were aggregated.
    pub rows: Count,
}

impl Early {
    fn new(spec: Spec, partitions: usize) -> Self {
        Self { spec, partitions: (0..partitions).map(|_| Partition::default()).collect() }
    }

    /// Begins a partition anew.
    pub fn begin(&self, partition: usize) {
        if let Some(partition) = self.partitions.get(partition) {
            *partition.aggregated.lock() = Aggregated::default();
            partition.refused.store(0, Ordering::Relaxed);
        }
    }

    /// Takes the states of what a partition aggregated.
    fn finish(&self, partition: usize) -> Result<Option<RecordBatch>, ArrowError> {
        let Some(partition) = self.partitions.get(partition) else { return Ok(None) };
        let aggregated = std::mem::take(&mut *partition.aggregated.lock());
        aggregated.finish(&self.spec)
    }
}

impl Sink {
    /// Aggregates a chunk, whose fields `positions` names for each column of the scan's output. `false`, and nothing is
    /// done, if it does not fit.
    pub fn take(
        &self,
        chunk: &ArrayRef,
        positions: &[usize],
        types: &[DataType],
        ctx: &mut ExecutionCtx,
    ) -> VortexResult<bool> {
        let Some(partition) = self.early.partitions.get(self.partition) else { return Ok(false) };
        if chunk.is_empty() {
            return Ok(true);
        }
        if partition.refused.load(Ordering::Relaxed) >= MOST_REFUSED {
            return Ok(false);
        }
        let taken = self.aggregate(partition, chunk, positions, types, ctx)?;
        if taken {
            self.rows.add(chunk.len());
            crate::metrics::rows(chunk.len());
        } else {
            partition.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(taken)
    }

    fn aggregate(
        &self,
        partition: &Partition,
        chunk: &ArrayRef,
        positions: &[usize],
        types: &[DataType],
        ctx: &mut ExecutionCtx,
    ) -> VortexResult<bool> {
        let spec = &self.early.spec;
        let Some(fields) = chunk::columns(chunk) else { return Ok(false) };
        let field = |column: &usize| positions.get(*column).and_then(|position| fields.get(*position)).cloned();
        let keys = spec.keys.iter().map(|column| Some((field(column)?, types.get(*column)?.clone())));
        let Some(keys) = keys.collect::<Option<Vec<_>>>() else { return Ok(false) };
        let Some(keyed) = chunk::keyed(keys, chunk.len(), ctx)? else { return Ok(false) };
        // A column is decoded once for all its aggregates.
        let mut decoded: Vec<Option<Arc<groups::Argument>>> = vec![None; positions.len()];
        let mut arguments = Vec::with_capacity(spec.aggregates.len());
        for aggregate in &spec.aggregates {
            let Some(column) = aggregate.column else {
                arguments.push(None);
                continue;
            };
            let Some(field) = field(&column) else { return Ok(false) };
            if decoded[column].is_none() {
                decoded[column] = chunk::argument(field, ctx)?.map(Arc::new);
            }
            match &decoded[column] {
                Some(argument) => arguments.push(Some(argument.clone())),
                None => return Ok(false),
            }
        }
        Ok(partition.aggregated.lock().add(spec, chunk.len(), &keyed, &arguments))
    }
}
