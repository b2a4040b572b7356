//! The groups of columns that a wide table's rows are merged by.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use tarn_proto::Aggregation;
use tarn_proto::merge::Combiner;

use super::super::read::Layout;
use crate::tablet::Shape;

/// Columns that are merged together.
pub(in crate::compaction) struct Group {
    /// Their positions in the table.
    pub positions: Vec<usize>,
    pub layout: Arc<Layout>,
    /// How equal keys are combined, if they are: of the keys, then of the columns.
    combined: Option<Vec<Option<Aggregation>>>,
}

impl Group {
    /// Combines equal keys of rows in order, if the model says so.
    pub(super) fn combine(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let Some(aggregations) = &self.combined else { return Ok(batch) };
        let mut combiner = Combiner::new(batch.schema(), aggregations.clone())?;
        let empty = RecordBatch::new_empty(batch.schema());
        let complete = combiner.push(batch)?;
        debug_assert!(complete.is_none(), "one batch is complete when it ends");
        Ok(combiner.finish().unwrap_or(empty))
    }
}

/// The table's columns, a few at a time.
pub(in crate::compaction) fn groups(shape: &Shape, width: usize) -> Vec<Group> {
    let schema = &shape.schema;
    let group = |positions: &[usize], keys: &[usize], combined| {
        let layout = Arc::new(Layout::of_columns(shape, &[keys, positions].concat()));
        Group { positions: positions.to_vec(), layout, combined }
    };
    if !schema.model.merges_on_read() {
        let all: Vec<usize> = (0..schema.columns.len()).collect();
        return all.chunks(width).map(|positions| group(positions, &[], None)).collect();
    }
    let (keys, values): (Vec<usize>, Vec<usize>) =
        (0..schema.columns.len()).partition(|i| schema.columns[*i].aggregation.is_none());
    let aggregations =
        |positions: &[usize]| Some(positions.iter().map(|i| schema.columns[*i].aggregation).collect::<Vec<_>>());
    let first = group(&keys, &[], aggregations(&keys));
    let others = values.chunks(width).map(|positions| {
        let all = [&keys[..], positions].concat();
        group(positions, &keys, aggregations(&all))
    });
    std::iter::once(first).chain(others).collect()
}
