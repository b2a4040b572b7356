//! The rows of a compaction, from its inputs to its output segments.

use std::iter::Peekable;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parking_lot::Mutex;
use tarn_proto::merge::{SortedMerge, Step};

use super::Stop;
use super::read::Input;
use crate::engine::Engine;
use crate::memtable::bytes_of;
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

/// The inputs' rows in the order of the sort key, equal keys oldest first.
pub(super) struct Merged {
    engine: Arc<Engine>,
    tablet: Arc<Tablet>,
    merge: SortedMerge,
    inputs: Vec<Input>,
    stop: Stop,
}

impl Merged {
    /// Merges inputs, oldest first, to batches of about `batch_rows` rows. Ends with an error when it is told to stop or the tablet is dropped.
    pub(super) fn new(
        tablet: &Arc<Tablet>,
        shape: &Shape,
        inputs: Vec<Input>,
        batch_rows: usize,
        engine: Arc<Engine>,
        stop: Stop,
    ) -> Result<Self> {
        let merge = SortedMerge::new(shape.stored.clone(), shape.sort_columns.clone(), inputs.len(), batch_rows);
        let merge = merge.map_err(|source| Error::Rows { tablet: tablet.id, source })?;
        Ok(Self { engine, tablet: tablet.clone(), merge, inputs, stop })
    }

    fn refused(&self, source: ArrowError) -> Error {
        Error::Rows { tablet: self.tablet.id, source }
    }

    fn step(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.stop.is_asked() || self.tablet.state.read().dropped {
                return Err(Error::Stopped(self.tablet.id));
            }
            match self.merge.step().map_err(|e| self.refused(e))? {
                Step::Need(input) => {
                    let batch = self.inputs[input].next(&self.engine)?;
                    self.merge.push(input, batch).map_err(|e| self.refused(e))?;
                }
                Step::Rows(batch) => return Ok(Some(batch)),
                Step::Done => return Ok(None),
            }
        }
    }
}

impl Iterator for Merged {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

type Rows = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Rows that several segments are written of, one after the other.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Peekable<Rows>>>);

impl Shared {
    /// Shares rows.
    pub(super) fn new(rows: Rows) -> Self {
        Self(Arc::new(Mutex::new(rows.peekable())))
    }

    /// Whether there are more.
    pub(super) fn has_more(&self) -> Result<bool> {
        let mut rows = self.0.lock();
        if matches!(rows.peek(), Some(Err(_)))
            && let Some(Err(error)) = rows.next()
        {
            return Err(error);
        }
        Ok(rows.peek().is_some())
    }

    /// The next rows, until they take so much memory.
    pub(super) fn next_bytes(&self, bytes: u64) -> impl Iterator<Item = Result<RecordBatch>> + Send + 'static + use<> {
        let rows = self.0.clone();
        let mut left = bytes;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let next = rows.lock().next();
            if let Some(Ok(batch)) = &next {
                left = left.saturating_sub(bytes_of(batch));
            }
            next
        })
    }
}
