//! The rows of a wide table, merged by groups of columns.
//!
//! ```text
//!  keys    sort key of all inputs, merged ──► which input each row of the next slab comes from
//!  groups  for each few columns: the slab's rows of each input, read by themselves ──► in the slab's order
//!          (AGGREGATE, UNIQUE: with the key beside them, equal keys combined)
//!  slab    all columns side by side ──► batches of the output
//! ```
//!
//! A slab has as many rows as fit into its part of the merge's memory, which does not grow with columns times inputs as it
//! does when whole rows are merged. Two are in memory, as the segment that is written has not done with one when the next is
//! begun, beside what a group was read of and a batch of keys for each input. Rows of one key stay in one slab where equal
//! keys are combined.
//!
//! A file is opened once (`read::Opened`), and its columns are read as often as slabs take rows of it: larger slabs read
//! less.

mod groups;
mod segments;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{concat, interleave, partition};
use arrow::error::ArrowError;

use groups::Group;
use segments::Segments;

use super::merge::{OUTPUT_ROWS, Run, SharedMap, batch_rows, row_bytes};
use super::rows::{Merged, Numbered};
use super::usage::{Held, memory_of};
use super::{Job, Stop, read};
use crate::engine::Engine;
use crate::error::IoContext;
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

pub(super) use groups::groups;

/// The most columns that are read and put in order together.
pub(super) const GROUP_COLUMNS: usize = 16;
/// The fewest rows of a slab, however long they are.
const LEAST_ROWS: u64 = 64;
/// The part of a merge's memory that is for a slab: besides the one that is written there are the rows that a group of it was
/// read of, those laid side by side, and those in order.
const SLAB_PART: u64 = 4;
/// The part that is for the batches of keys.
const KEYS_PART: u64 = 8;

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
    rest: Option<Numbered>,
    groups: Vec<Group>,
    slab: SlabSize,
    ready: VecDeque<RecordBatch>,
    /// The slab that is made, with what it is made of.
    held: Held,
    /// The one before it.
    written: Held,
}

/// How many rows the next slab takes.
struct SlabSize {
    bytes: u64,
    rows: u64,
}

impl Vertical {
    /// Merges runs, oldest first, in `memory` bytes.
    pub(super) fn new(
        engine: Arc<Engine>,
        job: &Job,
        runs: Vec<Run>,
        map: Option<SharedMap>,
        stop: Stop,
        memory: u64,
    ) -> Result<Self> {
        let shape = job.shape.clone();
        let sort_key = shape.sort_columns.clone();
        let row = row_bytes(job);
        let key = (row * sort_key.len() as u64).div_ceil(shape.schema.columns.len().max(1) as u64);
        let reader = read::Reader::counted(batch_rows(memory / KEYS_PART, runs.len(), key), job.usage.clone());
        let layout = Arc::new(read::Layout::of_columns(&shape, &sort_key));
        let inputs = runs.iter().map(|run| read::Input::new(&reader, &layout, run.clone())).collect();
        let positions = (0..sort_key.len()).collect();
        let rows = 8 * OUTPUT_ROWS as usize;
        let keys = Merged::new(job, layout, positions, inputs, rows, engine.clone(), stop.clone())?;
        Ok(Self {
            slab: SlabSize::new((memory / SLAB_PART).min(engine.options.segment_bytes), row),
            tablet: job.tablet.clone(),
            stop,
            map,
            reader,
            runs: runs.into_iter().map(Segments::new).collect(),
            keys,
            rest: None,
            groups: groups(&shape, engine.group_columns()),
            engine,
            shape,
            ready: VecDeque::new(),
            held: Held::new(job.usage.clone()),
            written: Held::new(job.usage.clone()),
        })
    }

    /// Which input each row of the next slab comes from; none at the end.
    fn next_slab(&mut self) -> Result<Vec<u32>> {
        let combines = self.shape.schema.model.merges_on_read();
        let mut slab = Vec::new();
        loop {
            let next = match self.rest.take() {
                Some(rest) => rest,
                None => match self.keys.next() {
                    Some(next) => next?,
                    None => return Ok(slab),
                },
            };
            let rows = next.inputs.len();
            let room = (self.slab.rows as usize).saturating_sub(slab.len());
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
                self.rest = Some(Numbered { batch, inputs });
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
        let parts: Vec<Run> = self.runs.iter_mut().zip(&counts).map(|(run, count)| run.take(*count as u64)).collect();
        // What is slow to write is still in memory.
        let last = self.held.bytes();
        self.held.set(0);
        self.written.set(last);
        let (mut made, mut most) = (0, 0);
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.shape.schema.columns.len()];
        for group in &self.groups {
            self.stop.check(&self.tablet)?;
            let (batch, taken) = self.read(group, &parts, &order)?;
            let keys = batch.num_columns() - group.positions.len();
            let in_order = &batch.columns()[keys..];
            most = most.max(made + taken);
            made += memory_of(in_order);
            self.held.set(most.max(made));
            for (position, column) in group.positions.iter().zip(in_order) {
                columns[*position] = Some(column.clone());
            }
        }
        self.slab.learn(order.len() as u64, most.max(made));
        self.held.set(made);
        let columns = columns.into_iter().flatten().collect();
        let slab = RecordBatch::try_new(self.shape.stored.clone(), columns).map_err(|e| self.refused(e))?;
        let starts = (0..slab.num_rows()).step_by(OUTPUT_ROWS as usize);
        self.ready = starts.map(|at| slab.slice(at, (slab.num_rows() - at).min(OUTPUT_ROWS as usize))).collect();
        Ok(true)
    }

    /// The slab's rows of a group's columns, in order, and the memory that it took to make them. `parts` are the rows of the
    /// inputs that it has, `order` tells each row's input and its number among these.
    fn read(&self, group: &Group, parts: &[Run], order: &[(usize, usize)]) -> Result<(RecordBatch, u64)> {
        let width = group.layout.stored.fields().len();
        // By column, then by the inputs that have rows.
        let mut arrays: Vec<Vec<ArrayRef>> = vec![Vec::new(); width];
        let mut slots = vec![0; parts.len()];
        let mut memory = 0;
        for (input, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            slots[input] = arrays.first().map_or(0, Vec::len);
            let mut rows = read::Input::new(&self.reader, &group.layout, part.clone());
            let mut pieces: Vec<Vec<ArrayRef>> = vec![Vec::new(); width];
            while let Some(batch) = rows.next(&self.engine)? {
                pieces.iter_mut().zip(batch.columns()).for_each(|(pieces, column)| pieces.push(column.clone()));
            }
            for (arrays, pieces) in arrays.iter_mut().zip(pieces) {
                memory += memory_of(&pieces);
                let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
                arrays.push(concat(&pieces).map_err(|e| self.refused(e))?);
            }
        }
        let order: Vec<(usize, usize)> = order.iter().map(|(input, row)| (slots[*input], *row)).collect();
        // Copied also if there is only one input: what is read may be a small part of a large buffer.
        let columns = arrays
            .iter()
            .map(|arrays| interleave(&arrays.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>(), &order));
        let columns = columns.collect::<std::result::Result<Vec<_>, ArrowError>>();
        let batch = columns.and_then(|columns| RecordBatch::try_new(group.layout.stored.clone(), columns));
        let batch = batch.map_err(|e| self.refused(e))?;
        memory += memory_of(batch.columns());
        Ok((group.combine(batch).map_err(|e| self.refused(e))?, memory))
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

impl SlabSize {
    /// Slabs of `bytes` bytes, of rows that take about so many each.
    fn new(bytes: u64, row_bytes: u64) -> Self {
        Self { bytes, rows: (bytes / row_bytes.max(1)).max(LEAST_ROWS) }
    }

    /// A slab of `rows` rows took `bytes` bytes. The next rows are likely to be as long, but not sure to.
    fn learn(&mut self, rows: u64, bytes: u64) {
        let row_bytes = (bytes / rows.max(1)).max(1);
        self.rows = (self.bytes / row_bytes).clamp(LEAST_ROWS, 2 * self.rows.max(LEAST_ROWS));
    }
}
