//! Rows of equal keys of several segments to one row, while they are read.
//!
//! ```text
//!  segments of a tablet, oldest first
//!    each: filters on keys, then the keys and the values that are needed ──► SortedMerge ──► Combiner
//!                                                                                             │ one row a key
//!                                                       filters on values, then the projection ◄┘
//! ```
//!
//! A large tablet is cut into ranges of the key, at entries of its short-key indexes, so that several output partitions
//! can merge it: rows of one key have one short key, and are in one range.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use tarn_proto::merge::{Combiner, SortedMerge, Step};
use tarn_proto::segment::storage_type;
use tarn_proto::short_key::{ShortKey, ShortKeyIndex};
use tarn_proto::{Aggregation, TableSchema};

use super::execution::{Execution, READ_AHEAD};
use super::key_range::KeyRange;
use super::morsel::{Morsel, PER_PARTITION};
use super::older::named;
use super::partition::Batches;
use super::{Preaggregation, TabletSource, Wanted, pushdown};
use crate::segment::ReadMetrics;

/// Rows of a tablet that are worth another piece: some of what Vortex decodes at a time is decoded by both.
const MIN_ROWS: u64 = 262_144;

/// Inputs that are read ahead. With more of them, each waits for its rows: what all hold together stays small.
const FEW_INPUTS: usize = 8;

/// Segments of one tablet, oldest first, of which rows are merged: the rows, and the segments' short-key indexes.
pub(super) struct Overlapping(pub Vec<(Morsel, Bytes)>);

/// A range of keys of one tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where its rows are, oldest first. There may be others beside them.
    inputs: Vec<Morsel>,
    /// The short key from which it goes, if it is not from the first.
    lower: Option<Vec<u8>>,
    /// The short key to which it goes, without it.
    upper: Option<Vec<u8>>,
}

impl Unit {
    /// Rows that are read.
    pub fn rows(&self) -> u64 {
        self.inputs.iter().map(Morsel::len).sum()
    }
}

/// How a scan merges.
pub(super) struct Merging {
    /// The sort key and the values that the output and the filters need, without filters on values.
    read: Wanted,
    /// The sort key's positions in what is read.
    keys: Vec<usize>,
    short_key: ShortKey,
    /// By column of what is read.
    aggregations: Vec<Option<Aggregation>>,
    /// Filters on values, over what is read.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// The positions of the output's columns in what is read.
    projection: Vec<usize>,
    output: SchemaRef,
}

impl Merging {
    /// `None` if the scan merges nothing.
    pub fn of(source: &TabletSource) -> Result<Option<Self>> {
        let TabletSource { schema, filters, projection, output, .. } = source;
        if !schema.model.merges_on_read() {
            return Ok(None);
        }
        let (on_keys, on_values): (Vec<_>, Vec<_>) =
            filters.iter().cloned().partition(|filter| pushdown::is_over_keys(schema, filter));
        if source.preaggregation == Preaggregation::On && on_values.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<usize> = schema.sort_key.iter().filter_map(|id| schema.index_of(*id)).collect();
        let keys = (0..columns.len()).collect();
        let filtered = on_values.iter().flat_map(named);
        for column in projection.iter().copied().chain(filtered) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let place = |column: usize| columns.iter().position(|c| *c == column);
        let filters = on_values.into_iter().map(|filter| {
            let read = |c: &Column| Some(Arc::new(Column::new(c.name(), place(c.index())?)) as Arc<dyn PhysicalExpr>);
            let lacking = || DataFusionError::Internal("a filter names a column that the table lacks".to_owned());
            pushdown::map_columns(filter, read).ok_or_else(lacking)
        });
        let read_schema = TableSchema {
            columns: columns.iter().map(|i| schema.columns[*i].clone()).collect(),
            ..schema.as_ref().clone()
        };
        let aggregation = |column: &tarn_proto::Column| {
            let is_key = schema.keys.contains(&column.id);
            (!is_key).then(|| column.aggregation.unwrap_or(Aggregation::Replace))
        };
        Ok(Some(Self {
            keys,
            filters: filters.collect::<Result<_>>()?,
            projection: projection.iter().filter_map(|column| place(*column)).collect(),
            output: output.clone(),
            short_key: ShortKey::of(&read_schema),
            aggregations: read_schema.columns.iter().map(aggregation).collect(),
            read: Wanted { output: read_schema.to_arrow(), columns, filters: on_keys },
        }))
    }

    /// Cuts tablets into pieces of work for `partitions` output partitions.
    pub fn cut(&self, tablets: &[Overlapping], partitions: usize) -> Vec<Unit> {
        let rows = |tablet: &Overlapping| tablet.0.iter().map(|(morsel, _)| morsel.len()).sum::<u64>();
        let total: u64 = tablets.iter().map(rows).sum();
        let least = if partitions > 1 { MIN_ROWS } else { u64::MAX };
        let piece = (total / (partitions.max(1) as u64 * PER_PARTITION)).max(least);
        tablets.iter().flat_map(|tablet| self.pieces(tablet, rows(tablet).div_ceil(piece))).collect()
    }

    /// At most `count` ranges of keys of about as many rows, which are all keys together.
    fn pieces(&self, tablet: &Overlapping, count: u64) -> Vec<Unit> {
        let bounds = if count > 1 { self.bounds(tablet, count as usize) } else { Vec::new() };
        let lowers = [None].into_iter().chain(bounds.iter().cloned().map(Some));
        let uppers = bounds.iter().cloned().map(Some).chain([None]);
        let units = lowers.zip(uppers).map(|(lower, upper)| {
            let range = KeyRange::between(self.short_key.clone(), lower.clone(), upper.clone());
            let inputs = tablet.0.iter().map(|(morsel, index)| {
                // The index tells of all rows of the segment.
                let rows = ShortKeyIndex::decode(index).map_or(morsel.rows.clone(), |index_of_all| {
                    let rows = range.rows(index, index_of_all.rows());
                    rows.start.max(morsel.rows.start)..rows.end.min(morsel.rows.end)
                });
                Morsel { segment: morsel.segment, rows }
            });
            Unit { inputs: inputs.filter(|morsel| !morsel.rows.is_empty()).collect(), lower, upper }
        });
        units.filter(|unit| !unit.inputs.is_empty()).collect()
    }

    /// Short keys that part the rows into `count` shares, as far as the indexes know.
    fn bounds(&self, tablet: &Overlapping, count: usize) -> Vec<Vec<u8>> {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        for (morsel, index) in &tablet.0 {
            let Ok(index) = ShortKeyIndex::decode(index) else { continue };
            if index.matches(&self.short_key) {
                let read = index.entries().filter(|(_, row)| morsel.rows.contains(row));
                entries.extend(read.map(|(entry, _)| entry.to_vec()));
            }
        }
        entries.sort_unstable();
        let mut bounds: Vec<Vec<u8>> =
            (1..count).filter_map(|share| entries.get(share * entries.len() / count).cloned()).collect();
        bounds.dedup();
        bounds
    }

    /// The rows of a batch, sorted by key, whose short keys are within the unit, and whether later rows are beyond it.
    fn within(&self, unit: &Unit, batch: &RecordBatch) -> Result<(RecordBatch, bool)> {
        if unit.lower.is_none() && unit.upper.is_none() {
            return Ok((batch.clone(), false));
        }
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        for column in columns.iter_mut().take(self.short_key.columns().len()) {
            *column = cast(column.as_ref(), &storage_type(column.data_type()))?;
        }
        let first_from = |bound: &[u8]| {
            let (mut low, mut high) = (0, batch.num_rows());
            while low < high {
                let middle = low + (high - low) / 2;
                if self.short_key.encode_row(&columns, middle).as_slice() < bound {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low
        };
        let start = unit.lower.as_deref().map_or(0, first_from);
        let end = unit.upper.as_deref().map_or(batch.num_rows(), first_from);
        Ok((batch.slice(start, end.saturating_sub(start)), end < batch.num_rows()))
    }

    /// The output of merged rows.
    fn finish(&self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for filter in &self.filters {
            let passed = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            batch = filter_record_batch(&batch, passed.as_boolean())?;
        }
        let columns = self.projection.iter().map(|column| batch.column(*column).clone()).collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.output.clone(), columns, &rows)?)
    }
}

/// One segment's rows.
struct Input {
    /// `None` at the end.
    batches: Option<Batches>,
}

impl Input {
    /// Its next rows within the unit.
    async fn next(&mut self, merging: &Merging, unit: &Unit) -> Result<Option<RecordBatch>> {
        while let Some(batches) = &mut self.batches {
            let Some(batch) = batches.try_next().await? else {
                self.batches = None;
                break;
            };
            let (batch, ends) = merging.within(unit, &batch)?;
            if ends {
                self.batches = None;
            }
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

struct Merge {
    merging: Arc<Merging>,
    unit: Unit,
    inputs: Vec<Input>,
    merge: SortedMerge,
    /// `None` if the last row of a key is all that is wanted.
    combiner: Option<Combiner>,
    ended: bool,
}

impl Merge {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.ended {
            let combined = match self.merge.step()? {
                Step::Need(input) => {
                    let batch = self.inputs[input].next(&self.merging, &self.unit).await?;
                    self.merge.push(input, batch)?;
                    continue;
                }
                Step::Rows(batch) => match &mut self.combiner {
                    Some(combiner) => combiner.push(batch)?,
                    None => Some(batch),
                },
                Step::Done => {
                    self.ended = true;
                    self.combiner.as_mut().and_then(Combiner::finish)
                }
            };
            if let Some(batch) = combined {
                let batch = self.merging.finish(batch)?;
                if batch.num_rows() > 0 {
                    return Ok(Some(batch));
                }
            }
            // Where filters leave nothing, others must have their turn.
            tokio::task::yield_now().await;
        }
        Ok(None)
    }
}

/// The rows of a unit, one for each key, in batches of about `batch_size` rows before filters on values.
pub(super) async fn rows(
    execution: &Arc<Execution>,
    merging: &Arc<Merging>,
    unit: &Unit,
    reads: &ReadMetrics,
    batch_size: usize,
) -> Result<Batches> {
    let ahead = if unit.inputs.len() > FEW_INPUTS { 1 } else { READ_AHEAD };
    let opening = unit.inputs.iter().map(|morsel| execution.segment_rows(morsel, &merging.read, reads, ahead));
    let mut inputs: Vec<Input> =
        try_join_all(opening).await?.into_iter().map(|batches| Input { batches: Some(batches) }).collect();
    let schema = merging.read.output.clone();
    let replaces = merging.aggregations.iter().flatten().all(|aggregation| *aggregation == Aggregation::Replace);
    let mut merge = SortedMerge::new(schema.clone(), merging.keys.clone(), inputs.len(), batch_size)?;
    if replaces {
        merge = merge.newest();
    }
    let first = try_join_all(inputs.iter_mut().map(|input| input.next(merging, unit))).await?;
    for (input, batch) in first.into_iter().enumerate() {
        merge.push(input, batch)?;
    }
    let combiner = if replaces { None } else { Some(Combiner::new(schema, merging.aggregations.clone())?) };
    let (merging, unit) = (merging.clone(), unit.clone());
    let merge = Merge { merging, unit, inputs, merge, combiner, ended: false };
    Ok(stream::try_unfold(merge, |mut merge| async move { Ok(merge.next().await?.map(|batch| (batch, merge))) })
        .boxed())
}
