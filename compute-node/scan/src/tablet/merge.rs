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
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use tarn_proto::merge::{Combiner, SortedMerge, Step};
use tarn_proto::segment::storage_type;
use tarn_proto::short_key::{ShortKey, ShortKeyIndex};
use tarn_proto::{Aggregation, TableSchema};

use super::execution::{Execution, READ_AHEAD};
use super::morsel::{Morsel, PER_PARTITION};
use super::older::named;
use super::partition::Batches;
use super::{Preaggregation, TabletSource, Wanted, pushdown};
use crate::segment::ReadMetrics;

/// Rows of a tablet that are worth another piece.
const MIN_ROWS: u64 = 262_144;

/// The most rows of a piece, if it has few inputs. Each one looks at the dynamic filters anew.
const MAX_ROWS: u64 = 4 << 20;

/// Rows of a piece for each of its inputs, at least. What Vortex decodes at a time, 65,536 rows, is decoded by two pieces where
/// they meet.
const MIN_ROWS_OF_INPUT: u64 = 131_072;

/// Index entries per piece of which bounds are chosen.
const SAMPLES: usize = 64;

/// Inputs that are read ahead as far as a scan without a merge is.
const FEW_INPUTS: usize = 8;
/// Inputs that are read ahead at all. With more of them, each waits for its rows: what all hold together stays small.
const MANY_INPUTS: usize = 64;

/// Segments of one tablet, oldest first, of which rows are merged.
pub(super) struct Overlapping(pub Vec<OverlappingSegment>);

/// Rows of one segment that are merged with those of others.
pub(super) struct OverlappingSegment {
    /// The rows to read.
    pub morsel: Morsel,
    /// Rows of the whole segment.
    pub rows: u64,
    /// The segment's short-key index.
    pub index: Bytes,
}

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
        let rows = |tablet: &Overlapping| tablet.0.iter().map(|segment| segment.morsel.len()).sum::<u64>();
        let total: u64 = tablets.iter().map(rows).sum();
        let share = total / (partitions.max(1) as u64 * PER_PARTITION);
        let pieces = |tablet| self.pieces(tablet, rows(tablet).div_ceil(rows_of_piece(share, tablet.0.len())));
        tablets.iter().flat_map(pieces).collect()
    }

    /// At most `count` ranges of keys of about as many rows, which are all keys together.
    fn pieces(&self, tablet: &Overlapping, count: u64) -> Vec<Unit> {
        let segments = &tablet.0;
        if count <= 1 {
            let inputs = segments.iter().map(|segment| segment.morsel.clone()).collect();
            return vec![Unit { inputs, lower: None, upper: None }];
        }
        let indexes: Vec<Option<ShortKeyIndex>> = segments
            .iter()
            .map(|segment| {
                let index = ShortKeyIndex::decode(&segment.index).ok()?;
                (index.matches(&self.short_key) && index.rows() == segment.rows).then_some(index)
            })
            .collect();
        let bounds = bounds(segments, &indexes, count as usize);
        let lowers = [None].into_iter().chain(bounds.iter().cloned().map(Some));
        let uppers = bounds.iter().cloned().map(Some).chain([None]);
        let units = lowers.zip(uppers).map(|(lower, upper)| {
            let inputs = segments.iter().zip(&indexes).map(|(segment, index)| {
                let Morsel { segment, rows } = segment.morsel.clone();
                let rows = match index {
                    Some(index) => {
                        let held = index.row_range(lower.as_deref(), upper.as_deref());
                        held.start.max(rows.start)..held.end.min(rows.end)
                    }
                    None => rows,
                };
                Morsel { segment, rows }
            });
            let inputs = inputs.filter(|morsel| !morsel.rows.is_empty()).collect();
            Unit { inputs, lower, upper }
        });
        units.filter(|unit| !unit.inputs.is_empty()).collect()
    }

    /// What is read of each segment. Filters that change while the query runs are taken as they are now, for all segments:
    /// one that saw more than another could leave out the newest row of a key and let an older one pass.
    fn read_now(&self) -> Result<Wanted> {
        let Wanted { columns, output, filters } = &self.read;
        let mut now = Vec::with_capacity(filters.len());
        for filter in filters {
            let filter = snapshot_physical_expr(filter.clone())?;
            now.extend(split_conjunction(&filter).into_iter().cloned());
        }
        Ok(Wanted { columns: columns.clone(), output: output.clone(), filters: now })
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

/// Rows of a piece of a tablet with so many segments, where partitions have `share` rows for each piece.
fn rows_of_piece(share: u64, segments: usize) -> u64 {
    let least = MIN_ROWS.max(segments as u64 * MIN_ROWS_OF_INPUT);
    share.clamp(least, MAX_ROWS.max(least))
}

/// Short keys that part the rows into `count` shares, as far as the indexes know.
fn bounds(segments: &[OverlappingSegment], indexes: &[Option<ShortKeyIndex>], count: usize) -> Vec<Vec<u8>> {
    let read: Vec<&[u8]> = segments
        .iter()
        .zip(indexes)
        .filter_map(|(segment, index)| Some((&segment.morsel.rows, index.as_ref()?)))
        .flat_map(|(rows, index)| index.entries().filter(|(_, row)| rows.contains(row)).map(|(entry, _)| entry))
        .collect();
    let mut sample: Vec<&[u8]> = read.iter().copied().step_by((read.len() / (count * SAMPLES)).max(1)).collect();
    sample.sort_unstable();
    let mut bounds: Vec<Vec<u8>> =
        (1..count).filter_map(|share| sample.get(share * sample.len() / count).map(|entry| entry.to_vec())).collect();
    bounds.dedup();
    bounds
}

/// One segment's rows.
struct Input {
    /// `None` at the end.
    batches: Option<Batches>,
    /// For the batch that was handed out last: it is held until the next is asked for.
    memory: MemoryReservation,
}

impl Input {
    /// Its next rows within the unit.
    async fn next(&mut self, merging: &Merging, unit: &Unit) -> Result<Option<RecordBatch>> {
        self.memory.free();
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
                self.memory.try_resize(batch.get_array_memory_size())?;
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

/// The rows of a unit, one for each key, in batches of about `batch_size` rows before filters on values. What its inputs
/// hold is taken from the pool of `memory`.
pub(super) async fn rows(
    execution: &Arc<Execution>,
    merging: &Arc<Merging>,
    unit: &Unit,
    reads: &ReadMetrics,
    batch_size: usize,
    memory: &MemoryReservation,
) -> Result<Batches> {
    let ahead = match unit.inputs.len() {
        inputs if inputs <= FEW_INPUTS => READ_AHEAD,
        inputs if inputs <= MANY_INPUTS => 2,
        _ => 1,
    };
    let read = merging.read_now()?;
    let opening = unit.inputs.iter().map(|morsel| execution.segment_rows(morsel, &read, reads, ahead, None));
    let opened = try_join_all(opening).await?.into_iter();
    let mut inputs: Vec<Input> =
        opened.map(|batches| Input { batches: Some(batches), memory: memory.new_empty() }).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_neither_small_nor_large() {
        assert_eq!(rows_of_piece(0, 2), MIN_ROWS);
        assert_eq!(rows_of_piece(1_000_000, 2), 1_000_000);
        assert_eq!(rows_of_piece(u64::MAX, 2), MAX_ROWS);
        assert_eq!(rows_of_piece(1_000_000, 500), 500 * MIN_ROWS_OF_INPUT, "or most rows would be decoded often");
    }
}
