//! Rows of one load for one tablet that are not yet in a segment.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use crate::budget::Reservation;

/// Views that keep this many times the bytes they show are copied.
const VIEW_SLACK: usize = 2;

/// Batches in order of arrival, as segments hold them.
pub(crate) struct Memtable {
    batches: Vec<RecordBatch>,
    rows: usize,
    reserved: Reservation,
}

impl Memtable {
    /// A memtable of one batch, with its memory.
    pub(crate) fn new(batch: RecordBatch, reserved: Reservation) -> Self {
        Self { rows: batch.num_rows(), batches: vec![batch], reserved }
    }

    /// Adds a batch with its memory.
    pub(crate) fn push(&mut self, batch: RecordBatch, reserved: Reservation) {
        self.rows += batch.num_rows();
        self.reserved.merge(reserved);
        self.batches.push(batch);
    }

    /// Rows in it.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes reserved for it.
    pub(crate) const fn reserved(&self) -> u64 {
        self.reserved.bytes()
    }

    /// The batches' arrays, by column, and the memory reserved for them.
    pub(crate) fn into_columns(self) -> (Vec<Vec<ArrayRef>>, Reservation) {
        let width = self.batches.first().map_or(0, RecordBatch::num_columns);
        let mut columns: Vec<Vec<ArrayRef>> = (0..width).map(|_| Vec::with_capacity(self.batches.len())).collect();
        for batch in self.batches {
            let (_, arrays, _) = batch.into_parts();
            for (column, array) in columns.iter_mut().zip(arrays) {
                column.push(array);
            }
        }
        (columns, self.reserved)
    }
}

/// Copies views that hold on to far more memory than they show: rows of many tablets often come as selections of one
/// batch, each of which would keep the whole batch alive.
pub(crate) fn compact(batch: RecordBatch) -> RecordBatch {
    let (schema, columns, rows) = batch.into_parts();
    let columns = columns
        .into_iter()
        .map(|array| -> ArrayRef {
            match array.data_type() {
                DataType::Utf8View => {
                    let view = array.as_string_view();
                    let kept: usize = view.data_buffers().iter().map(|b| b.len()).sum();
                    if kept > VIEW_SLACK * view.total_buffer_bytes_used() { Arc::new(view.gc()) } else { array }
                }
                DataType::BinaryView => {
                    let view = array.as_binary_view();
                    let kept: usize = view.data_buffers().iter().map(|b| b.len()).sum();
                    if kept > VIEW_SLACK * view.total_buffer_bytes_used() { Arc::new(view.gc()) } else { array }
                }
                _ => array,
            }
        })
        .collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).expect("types and lengths are unchanged")
}

/// Bytes that a batch's rows take.
pub(crate) fn bytes_of(batch: &RecordBatch) -> u64 {
    batch
        .columns()
        .iter()
        .map(|array| {
            let data = array.to_data();
            let bytes = match array.data_type() {
                DataType::Utf8View => data.len() * 16 + array.as_string_view().total_buffer_bytes_used(),
                DataType::BinaryView => data.len() * 16 + array.as_binary_view().total_buffer_bytes_used(),
                _ => data.get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
            };
            bytes as u64
        })
        .sum()
}
