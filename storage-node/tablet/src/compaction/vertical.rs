//! The rows of a wide table, merged by groups of columns.
//!
//! ```text
//!  keys    sort key of all inputs, merged ──► which input each row of the next slab comes from
//!  groups  for each few columns: the slab's rows of each input, read by themselves ──► in the slab's order
//!          (AGGREGATE, UNIQUE: with the key beside them, equal keys combined)
//!  slab    all columns side by side ──► batches of the output
//! ```
//!
//! A slab has as many rows as a segment, so that what is in memory is one segment, the inputs' rows of one group for it, and a
//! batch of keys for each input: it does not grow with columns times inputs, as it does when whole rows are merged. Rows of
//! one key stay in one slab where equal keys are combined.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{concat, interleave, partition};
use arrow::error::ArrowError;
use tarn_proto::merge::Combiner;

use super::merge::{OUTPUT_ROWS, Run, SharedMap, row_bytes};
use super::rows::{Merged, Numbered};
use super::{Job, Stop, read};
use crate::engine::Engine;
use crate::error::IoContext;
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

/// The most columns that are read and put in order together.
const GROUP_COLUMNS: usize = 16;
/// The fewest rows of a slab, however long they are.
const LEAST_ROWS: u64 = 64;

/// The output's rows.
pub(super) struct Vertical {
    engine: Arc<Engine>,
    tablet: Arc<Tablet>,
    shape: Arc<Shape>,
    stop: Stop,
    map: Option<SharedMap>,
    reader: read::Reader,
    /// By input.
    runs: Vec<Segments>,
    keys: Merged,
    /// Rows of keys that belong to the next slab.
    held: Option<Numbered>,
    groups: Vec<Group>,
    slab_rows: usize,
    ready: VecDeque<RecordBatch>,
}

/// An input's segments.
struct Segments {
    segments: Vec<read::Segment>,
    /// Rows of each that are not deleted.
    live: Vec<u64>,
    /// Rows that earlier slabs have taken.
    taken: u64,
}

/// Columns that are merged together.
struct Group {
    /// Their positions in the table.
    positions: Vec<usize>,
    layout: Arc<read::Layout>,
    /// How equal keys are combined, if they are: of the keys, then of the columns.
    combined: Option<Vec<Option<tarn_proto::Aggregation>>>,
}

impl Vertical {
    /// Merges runs, oldest first. Batches of keys have `batch_rows` rows, or more as they are narrower than rows.
    pub(super) fn new(
        engine: Arc<Engine>,
        job: &Job,
        runs: Vec<Run>,
        map: Option<SharedMap>,
        stop: Stop,
        batch_rows: u64,
    ) -> Result<Self> {
        let shape = job.shape.clone();
        let sort_key = shape.sort_columns.clone();
        let wider = (shape.schema.columns.len() / sort_key.len().max(1)) as u64;
        let reader = read::Reader::new(batch_rows.saturating_mul(wider).min(65_536));
        let layout = Arc::new(read::Layout::of_columns(&shape, &sort_key));
        let inputs = runs.iter().map(|run| read::Input::new(&reader, &layout, run.clone())).collect();
        let positions = (0..sort_key.len()).collect();
        let rows = 8 * OUTPUT_ROWS as usize;
        // A group is half as wide as the widest table that is merged in whole rows.
        let engine_columns = engine.options.vertical_columns;
        let keys = Merged::new(&job.tablet, layout, positions, inputs, rows, engine.clone(), stop.clone())?;
        Ok(Self {
            slab_rows: (engine.options.segment_bytes / row_bytes(job)).max(LEAST_ROWS) as usize,
            engine,
            tablet: job.tablet.clone(),
            stop,
            map,
            reader,
            runs: runs.into_iter().map(Segments::new).collect(),
            keys,
            held: None,
            groups: groups(&shape, (engine_columns / 2).clamp(1, GROUP_COLUMNS)),
            shape,
            ready: VecDeque::new(),
        })
    }

    /// Which input each row of the next slab comes from; none at the end.
    fn next_slab(&mut self) -> Result<Vec<u32>> {
        let combines = self.shape.schema.model.merges_on_read();
        let mut slab = Vec::new();
        loop {
            let next = match self.held.take() {
                Some(held) => held,
                None => match self.keys.next() {
                    Some(next) => next?,
                    None => return Ok(slab),
                },
            };
            let rows = next.inputs.len();
            let room = self.slab_rows.saturating_sub(slab.len());
            let cut = if rows <= room {
                rows
            } else if combines {
                // Before the last key that begins in the room; the first one of the batch may have begun before it.
                let keys = partition(next.batch.columns()).map_err(|e| self.refused(e))?;
                let starts = keys.ranges().into_iter().map(|range| range.start).filter(|start| *start > 0);
                let (within, beyond): (Vec<usize>, Vec<usize>) = starts.partition(|start| *start <= room);
                within.last().or(beyond.first()).copied().unwrap_or(rows)
            } else {
                room
            };
            slab.extend_from_slice(&next.inputs.values()[..cut]);
            if cut < rows {
                let (batch, inputs) = (next.batch.slice(cut, rows - cut), next.inputs.slice(cut, rows - cut));
                self.held = Some(Numbered { batch, inputs });
                return Ok(slab);
            }
        }
    }

    /// Makes the batches of the next slab; false at the end.
    fn fill(&mut self) -> Result<bool> {
        let slab = self.next_slab()?;
        if slab.is_empty() {
            return Ok(false);
        }
        if let Some(map) = &self.map {
            map.lock().push(&slab).doing("write", self.engine.dir.tablet(self.tablet.id))?;
        }
        let mut counts = vec![0; self.runs.len()];
        let mut order = Vec::with_capacity(slab.len());
        for input in slab {
            let count: &mut usize = &mut counts[input as usize];
            order.push((input as usize, *count));
            *count += 1;
        }
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.shape.schema.columns.len()];
        for group in &self.groups {
            self.stop.check(&self.tablet)?;
            let batch = self.read(group, &counts, &order)?;
            let keys = batch.num_columns() - group.positions.len();
            for (position, column) in group.positions.iter().zip(&batch.columns()[keys..]) {
                columns[*position] = Some(column.clone());
            }
        }
        for (run, count) in self.runs.iter_mut().zip(counts) {
            run.taken += count as u64;
        }
        let columns = columns.into_iter().flatten().collect();
        let slab = RecordBatch::try_new(self.shape.stored.clone(), columns).map_err(|e| self.refused(e))?;
        let starts = (0..slab.num_rows()).step_by(OUTPUT_ROWS as usize);
        self.ready = starts.map(|at| slab.slice(at, (slab.num_rows() - at).min(OUTPUT_ROWS as usize))).collect();
        Ok(true)
    }

    /// The slab's rows of a group's columns, in order.
    fn read(&self, group: &Group, counts: &[usize], order: &[(usize, usize)]) -> Result<RecordBatch> {
        let width = group.layout.stored.fields().len();
        // By column, then by the inputs that have rows.
        let mut arrays: Vec<Vec<ArrayRef>> = vec![Vec::new(); width];
        let mut slots = vec![0; counts.len()];
        for (input, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            slots[input] = arrays.first().map_or(0, Vec::len);
            let rows = self.runs[input].next(*count as u64);
            let mut rows = read::Input::new(&self.reader, &group.layout, rows);
            let mut pieces: Vec<Vec<ArrayRef>> = vec![Vec::new(); width];
            while let Some(batch) = rows.next(&self.engine)? {
                pieces.iter_mut().zip(batch.columns()).for_each(|(pieces, column)| pieces.push(column.clone()));
            }
            for (arrays, pieces) in arrays.iter_mut().zip(pieces) {
                let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
                arrays.push(concat(&pieces).map_err(|e| self.refused(e))?);
            }
        }
        let is_one = arrays.first().is_none_or(|arrays| arrays.len() == 1);
        let order: Vec<(usize, usize)> = match is_one {
            true => Vec::new(),
            false => order.iter().map(|(input, row)| (slots[*input], *row)).collect(),
        };
        let columns = arrays.iter().map(|arrays| match arrays.as_slice() {
            [one] => Ok(one.clone()),
            many => interleave(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>(), &order),
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, ArrowError>>();
        let batch = columns.and_then(|columns| RecordBatch::try_new(group.layout.stored.clone(), columns));
        let batch = batch.map_err(|e| self.refused(e))?;
        match &group.combined {
            None => Ok(batch),
            Some(aggregations) => combine(batch, aggregations).map_err(|e| self.refused(e)),
        }
    }

    fn refused(&self, source: ArrowError) -> Error {
        Error::Rows { tablet: self.tablet.id, source }
    }
}

impl Iterator for Vertical {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Segments {
    fn new(run: Run) -> Self {
        let segments: Vec<read::Segment> = run.into();
        let live = segments.iter().map(|s| s.record.rows - s.deleted.as_ref().map_or(0, |deleted| deleted.len()));
        Self { live: live.collect(), segments, taken: 0 }
    }

    /// The next rows that are not deleted, as rows of segments.
    fn next(&self, rows: u64) -> VecDeque<read::Segment> {
        let (mut skip, mut left) = (self.taken, rows);
        let mut chosen = VecDeque::new();
        for (segment, live) in self.segments.iter().zip(&self.live) {
            if skip >= *live {
                skip -= live;
                continue;
            }
            let end = (skip + left).min(*live);
            if end == skip {
                break;
            }
            let rows = nth(segment, skip)..nth(segment, end - 1) + 1;
            chosen.push_back(read::Segment { rows, ..segment.clone() });
            left -= end - skip;
            skip = 0;
        }
        chosen
    }
}

/// The number of a segment's row, counted from 0 without deleted ones, among all of its rows.
fn nth(segment: &read::Segment, row: u64) -> u64 {
    let Some(deleted) = &segment.deleted else { return row };
    // The first row that has `row + 1` live ones up to it.
    let live = |to: u64| to + 1 - deleted.rank(to);
    let (mut least, mut most) = (row, segment.record.rows.saturating_sub(1));
    while least < most {
        let middle = least + (most - least) / 2;
        if live(middle) > row { most = middle } else { least = middle + 1 }
    }
    least
}

/// The table's columns, a few at a time.
fn groups(shape: &Shape, width: usize) -> Vec<Group> {
    let schema = &shape.schema;
    let group = |positions: &[usize], keys: &[usize], combined| {
        let layout = Arc::new(read::Layout::of_columns(shape, &[keys, positions].concat()));
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

fn combine(
    batch: RecordBatch,
    aggregations: &[Option<tarn_proto::Aggregation>],
) -> std::result::Result<RecordBatch, ArrowError> {
    let mut combiner = Combiner::new(batch.schema(), aggregations.to_vec())?;
    let empty = RecordBatch::new_empty(batch.schema());
    let complete = combiner.push(batch)?;
    debug_assert!(complete.is_none(), "one batch is complete when it ends");
    Ok(combiner.finish().unwrap_or(empty))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use roaring::RoaringTreemap;
    use tarn_proto::storage::SegmentKey;
    use tarn_proto::{RowsetId, SchemaVersion, TabletId};

    use super::*;
    use crate::record::SegmentRecord;

    proptest! {
        #[test]
        fn rows_are_counted_without_deleted_ones(
            segments in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..40), 0..5),
            slabs in prop::collection::vec(1u64..50, 1..10),
        ) {
            let segment = |(number, rows): (usize, &Vec<bool>)| {
                let deleted: RoaringTreemap = (0u64..).zip(rows).filter(|(_, dead)| **dead).map(|(row, _)| row).collect();
                let record = SegmentRecord { rows: rows.len() as u64, bytes: 0, checksum: 0, indexes: Vec::new() };
                let key = SegmentKey { tablet: TabletId(1), rowset: RowsetId(1), segment: number as u32 };
                let rows = 0..record.rows;
                let deleted = Some(Arc::new(deleted)).filter(|deleted| !deleted.is_empty());
                read::Segment { key, record, schema_version: SchemaVersion(1), rows, deleted }
            };
            let expected: Vec<(usize, u64)> = segments
                .iter()
                .enumerate()
                .flat_map(|(number, rows)| {
                    (0u64..).zip(rows).filter(|(_, dead)| !**dead).map(move |(row, _)| (number, row))
                })
                .collect();
            let mut run = Segments::new(segments.iter().enumerate().map(segment).collect());
            let mut got = Vec::new();
            for rows in slabs {
                let rows = rows.min(expected.len() as u64 - run.taken);
                for part in run.next(rows) {
                    let dead = part.deleted.clone().unwrap_or_default();
                    got.extend(part.rows.filter(|row| !dead.contains(*row)).map(|row| (part.key.segment as usize, row)));
                }
                run.taken += rows;
            }
            prop_assert_eq!(&got[..], &expected[..run.taken as usize]);
        }
    }
}
