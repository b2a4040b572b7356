//! Rows of equal keys to one row.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{SortOptions, concat_batches, partition, take};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::fold::{Groups, fold_of};
use crate::Aggregation;

/// Combines the rows of each key into one. Takes rows that are sorted by the key, equal keys oldest first.
///
/// A key may go on in the next batch: the rows of a batch are returned when the next one has come, or at the end.
#[derive(Debug)]
pub struct Combiner {
    schema: SchemaRef,
    keys: Vec<usize>,
    aggregations: Vec<Option<Aggregation>>,
    /// Combined rows. The last one's key may go on.
    held: Option<RecordBatch>,
}

impl Combiner {
    /// Combines batches of `schema`. `aggregations` has one element for each column: what its values of equal keys become,
    /// or `None` for the columns of the key.
    ///
    /// Fails if there is no key, or the numbers of columns differ.
    pub fn new(schema: SchemaRef, aggregations: Vec<Option<Aggregation>>) -> Result<Self, ArrowError> {
        let keys: Vec<usize> = (0..aggregations.len()).filter(|column| aggregations[*column].is_none()).collect();
        if keys.is_empty() || aggregations.len() != schema.fields().len() {
            return Err(ArrowError::InvalidArgumentError(format!(
                "rows of {} columns are to be combined by {} keys and {} aggregations",
                schema.fields().len(),
                keys.len(),
                aggregations.len() - keys.len()
            )));
        }
        Ok(Self { schema, keys, aggregations, held: None })
    }

    /// Takes the next rows. Returns rows whose keys are complete, if there are any.
    ///
    /// Fails if a column's type does not fit its aggregation.
    pub fn push(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let (complete, batch) = match self.held.take() {
            None => (None, batch),
            Some(held) if self.goes_on(&held, &batch)? => {
                let last = held.num_rows() - 1;
                let joined = concat_batches(&self.schema, &[held.slice(last, 1), batch])?;
                ((last > 0).then(|| held.slice(0, last)), joined)
            }
            Some(held) => (Some(held), batch),
        };
        self.held = Some(self.combine(batch)?);
        Ok(complete)
    }

    /// The last rows.
    pub fn finish(&mut self) -> Option<RecordBatch> {
        self.held.take()
    }

    /// Whether the first row of `batch` has the key of the last one of `held`.
    fn goes_on(&self, held: &RecordBatch, batch: &RecordBatch) -> Result<bool, ArrowError> {
        for key in &self.keys {
            let (last, first) = (held.column(*key).slice(held.num_rows() - 1, 1), batch.column(*key).slice(0, 1));
            let compare = arrow::array::make_comparator(&last, &first, SortOptions::default())?;
            if compare(0, 0).is_ne() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn combine(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| batch.column(*key).clone()).collect();
        let groups = partition(&keys)?;
        if groups.len() == batch.num_rows() {
            return Ok(batch);
        }
        let groups = Groups::new(groups.ranges());
        let columns = batch.columns().iter().zip(&self.aggregations).map(|(column, aggregation)| match aggregation {
            None => take(column, groups.last(), None),
            Some(aggregation) => fold_of(*aggregation)(column, &groups),
        });
        RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
    }
}
