//! The rows of a compaction, from its inputs to its output segments.

use std::iter::Peekable;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use parking_lot::Mutex;
use tarn_proto::merge::{SortedMerge, Step};

use super::merge::Rows;
use super::read::{Input, Layout};
use super::usage::{Held, memory_of};
use super::{Job, Stop};
use crate::engine::Engine;
use crate::memtable::bytes_of;
use crate::tablet::Tablet;
use crate::{Error, Result};

/// The inputs' rows in the order of the sort key, equal keys oldest first.
pub(super) struct Merged {
    engine: Arc<Engine>,
    tablet: Arc<Tablet>,
    layout: Arc<Layout>,
    /// The layout's columns, and the number of the input.
    schema: SchemaRef,
    merge: SortedMerge,
    inputs: Vec<Input>,
    /// The batch of each input.
    held: Vec<Held>,
    stop: Stop,
}

/// Rows, and the input that each comes from.
pub(super) struct Numbered {
    pub batch: RecordBatch,
    pub inputs: UInt32Array,
}

impl Merged {
    /// Merges a job's inputs, oldest first, by the columns at the positions `sort_key` of their layout, to batches of about
    /// `batch_rows` rows. Ends with an error when it is told to stop or the tablet is dropped.
    pub(super) fn new(
        job: &Job,
        layout: Arc<Layout>,
        sort_key: Vec<usize>,
        inputs: Vec<Input>,
        batch_rows: usize,
        engine: Arc<Engine>,
        stop: Stop,
    ) -> Result<Self> {
        let number = Arc::new(Field::new("input", DataType::UInt32, false));
        let fields = layout.stored.fields().iter().cloned().chain([number]).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new(fields));
        let merge = SortedMerge::new(schema.clone(), sort_key, inputs.len(), batch_rows);
        let merge = merge.map_err(|source| Error::Rows { tablet: job.tablet.id, source })?;
        let held = inputs.iter().map(|_| Held::new(job.usage.clone())).collect();
        Ok(Self { engine, tablet: job.tablet.clone(), layout, schema, merge, inputs, held, stop })
    }

    fn refused(&self, source: ArrowError) -> Error {
        Error::Rows { tablet: self.tablet.id, source }
    }

    fn step(&mut self) -> Result<Option<Numbered>> {
        loop {
            self.stop.check(&self.tablet)?;
            match self.merge.step().map_err(|e| self.refused(e))? {
                Step::Need(input) => {
                    let batch = self.inputs[input].next(&self.engine)?;
                    self.held[input].set(batch.as_ref().map_or(0, |batch| memory_of(batch.columns())));
                    let batch = batch.map(|batch| self.numbered(input, batch)).transpose();
                    batch.and_then(|batch| self.merge.push(input, batch)).map_err(|e| self.refused(e))?;
                }
                Step::Rows(batch) => return self.split(batch).map(Some).map_err(|e| self.refused(e)),
                Step::Done => return Ok(None),
            }
        }
    }

    fn numbered(&self, input: usize, batch: RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let numbers: ArrayRef = Arc::new(UInt32Array::from_value(input as u32, batch.num_rows()));
        let (_, mut columns, _) = batch.into_parts();
        columns.push(numbers);
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    fn split(&self, batch: RecordBatch) -> std::result::Result<Numbered, ArrowError> {
        let last = batch.num_columns() - 1;
        let inputs = batch.column(last).as_primitive::<UInt32Type>().clone();
        let (_, mut columns, _) = batch.into_parts();
        columns.truncate(last);
        Ok(Numbered { batch: RecordBatch::try_new(self.layout.stored.clone(), columns)?, inputs })
    }
}

impl Iterator for Merged {
    type Item = Result<Numbered>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

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
