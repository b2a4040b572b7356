//! The merge of sorted inputs.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// Runs of rows of one input that are longer than this on average are copied run by run, shorter ones row by row.
const LONG_RUN: usize = 8;

/// What a merge wants or has.
#[derive(Debug)]
pub enum Step {
    /// The next batch of this input, by [`SortedMerge::push`].
    Need(usize),
    /// The next rows.
    Rows(RecordBatch),
    /// There are no more rows.
    Done,
}

/// Merges inputs that are sorted by the same columns into one sequence of rows. Rows of equal keys come in order of the
/// inputs, and within one input in its order.
///
/// Call [`step`](Self::step) until it is done, and give it what it needs. Holds at most the batches of the inputs that
/// are read now, those that the next output takes rows of, and the output. Rows that no other input has rows between are
/// passed on as slices of their batch, without a copy.
#[derive(Debug)]
pub struct SortedMerge {
    schema: SchemaRef,
    keys: Vec<usize>,
    converter: RowConverter,
    wanted: usize,
    /// Whether of rows of equal keys only the last is returned.
    newest: bool,
    inputs: Vec<Input>,
    /// Inputs that have not ended.
    live: usize,
    /// Inputs that have a current batch, as a binary heap: the one with the least row is first.
    heap: Vec<Head>,
    /// Rows of the next output: where they are in `sources`.
    runs: Vec<Run>,
    pending: usize,
    sources: Vec<RecordBatch>,
}

/// The next row of an input.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Of its key: most keys differ in it.
    prefix: u128,
    input: usize,
}

#[derive(Debug, Default)]
struct Input {
    /// `None` before the first batch and between two.
    current: Option<Current>,
    ended: bool,
}

/// A batch that is being read.
#[derive(Debug)]
struct Current {
    batch: RecordBatch,
    keys: Keys,
    /// The first row that is not passed on.
    next: usize,
    /// Its position in the sources of the next output.
    source: Option<usize>,
}

#[derive(Debug)]
enum Keys {
    /// Of the next row and of the last one: enough while batches do not overlap.
    Ends(Rows),
    /// Of every row of the batch.
    All(Rows),
}

/// Rows of one source that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    source: usize,
    start: usize,
    rows: usize,
}

impl Current {
    /// The next row's key. Keys are bytes that are ordered as the rows are.
    fn head(&self) -> &[u8] {
        match &self.keys {
            Keys::Ends(rows) => rows.row(0).data(),
            Keys::All(rows) => rows.row(self.next).data(),
        }
    }

    fn rest(&self) -> usize {
        self.batch.num_rows() - self.next
    }
}

impl SortedMerge {
    /// A merge of `inputs` inputs, whose batches have `schema` and are sorted by the columns at the positions `keys`, the
    /// most significant first. Without keys the inputs follow each other. Output batches have about `rows` rows.
    ///
    /// Fails if a key has no order.
    pub fn new(schema: SchemaRef, keys: Vec<usize>, inputs: usize, rows: usize) -> Result<Self, ArrowError> {
        let mut fields = Vec::with_capacity(keys.len());
        for key in &keys {
            let field = schema.fields().get(*key).ok_or_else(no_column)?;
            fields.push(SortField::new(field.data_type().clone()));
        }
        let converter = RowConverter::new(fields)?;
        Ok(Self {
            schema,
            keys,
            converter,
            wanted: rows.max(1),
            newest: false,
            inputs: (0..inputs).map(|_| Input::default()).collect(),
            live: inputs,
            heap: Vec::with_capacity(inputs),
            runs: Vec::new(),
            pending: 0,
            sources: Vec::new(),
        })
    }

    /// Returns of rows of equal keys only the last. No input may have a key twice.
    pub fn newest(mut self) -> Self {
        self.newest = true;
        self
    }

    /// Gives an input its next batch, which may be empty, or `None` at its end. Only for inputs that
    /// [`step`](Self::step) asked for, or that were not given a batch yet.
    ///
    /// Fails if the input has rows of a batch left, or if the batch has another schema.
    pub fn push(&mut self, input: usize, batch: Option<RecordBatch>) -> Result<(), ArrowError> {
        let misused = |reason: &str| ArrowError::InvalidArgumentError(format!("input {input} of a merge {reason}"));
        let given = self.inputs.get_mut(input).ok_or_else(|| misused("does not exist"))?;
        if given.ended || given.current.is_some() {
            return Err(misused("was given a batch that was not asked for"));
        }
        let Some(batch) = batch else {
            given.ended = true;
            self.live -= 1;
            return Ok(());
        };
        let types = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        if batch.schema_ref() != &self.schema && types(batch.schema_ref()) != types(&self.schema) {
            return Err(misused("has other columns than the merge"));
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let keys = Keys::Ends(self.ends(&batch, 0)?);
        self.inputs[input].current = Some(Current { batch, keys, next: 0, source: None });
        self.heap.push(self.head(input));
        self.sift_up(self.heap.len() - 1);
        Ok(())
    }

    /// The next rows, or what is missing for them.
    pub fn step(&mut self) -> Result<Step, ArrowError> {
        loop {
            if let Some(input) = self.missing() {
                return Ok(Step::Need(input));
            }
            let Some(Head { input, .. }) = self.heap.first().copied() else {
                return Ok(if self.pending == 0 { Step::Done } else { Step::Rows(self.flush()?) });
            };
            let (run, returned) = self.run(input)?;
            if returned * 2 >= self.wanted {
                if self.pending > 0 {
                    return Ok(Step::Rows(self.flush()?));
                }
                let rows = returned.min(self.wanted);
                let slice = self.current(input).batch.slice(self.current(input).next, rows);
                self.advance(input, if rows == returned { run } else { rows })?;
                return Ok(Step::Rows(slice));
            }
            self.keep(input, returned);
            self.advance(input, run)?;
            if self.pending >= self.wanted {
                return Ok(Step::Rows(self.flush()?));
            }
        }
    }

    /// An input without which the next row is not known.
    fn missing(&self) -> Option<usize> {
        if self.keys.is_empty() {
            let first = self.inputs.iter().position(|i| !i.ended)?;
            return self.inputs[first].current.is_none().then_some(first);
        }
        if self.heap.len() == self.live {
            return None;
        }
        self.inputs.iter().position(|i| !i.ended && i.current.is_none())
    }

    fn current(&self, input: usize) -> &Current {
        self.inputs[input].current.as_ref().expect("inputs in the heap have a batch")
    }

    fn head(&self, input: usize) -> Head {
        let prefix = if self.keys.is_empty() { 0 } else { prefix(self.current(input).head()) };
        Head { prefix, input }
    }

    /// Whether row `a` comes before row `b`.
    fn is_before(&self, a: Head, b: Head) -> bool {
        if a.prefix != b.prefix || self.keys.is_empty() {
            return (a.prefix, a.input) < (b.prefix, b.input);
        }
        let (key, other) = (self.current(a.input).head(), self.current(b.input).head());
        key.cmp(other).then(a.input.cmp(&b.input)) == Ordering::Less
    }

    /// How many rows of the first input come before any of another, and how many of them are returned.
    fn run(&mut self, input: usize) -> Result<(usize, usize), ArrowError> {
        let rest = self.current(input).rest();
        let other = match self.heap[1..] {
            [other] => other,
            [a, b, ..] if self.is_before(a, b) => a,
            [_, b, ..] => b,
            [] => return Ok((rest, rest)),
        };
        if self.keys.is_empty() {
            return Ok((rest, rest));
        }
        let newest = self.newest;
        let returned = |rows: usize, last: &[u8], end: &[u8]| (rows, rows - usize::from(newest && last == end));
        let before = |row: &[u8], end: &[u8]| row.cmp(end).then(input.cmp(&other.input)) == Ordering::Less;
        if let Keys::Ends(ends) = &self.current(input).keys {
            let (last, end) = (ends.row(1).data(), self.current(other.input).head());
            if before(last, end) {
                return Ok(returned(rest, last, end));
            }
            self.know_all_keys(input)?;
        }
        let (current, end) = (self.current(input), self.current(other.input).head());
        let Keys::All(keys) = &current.keys else { return Ok((1, 1)) };
        // The next row comes before: the first that does not is found by doubling steps, then halving.
        let is_before = |offset: usize| before(keys.row(current.next + offset).data(), end);
        let mut least = 0;
        let mut step = 1;
        while least + step < rest && is_before(least + step) {
            least += step;
            step *= 2;
        }
        let mut most = (least + step).min(rest);
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if is_before(middle) {
                least = middle;
            } else {
                most = middle;
            }
        }
        Ok(returned(most, keys.row(current.next + most - 1).data(), end))
    }

    fn know_all_keys(&mut self, input: usize) -> Result<(), ArrowError> {
        let current = self.inputs[input].current.as_mut().expect("inputs in the heap have a batch");
        if matches!(current.keys, Keys::Ends(_)) {
            let columns: Vec<ArrayRef> = self.keys.iter().map(|key| current.batch.column(*key).clone()).collect();
            current.keys = Keys::All(self.converter.convert_columns(&columns)?);
        }
        Ok(())
    }

    /// The keys of the rows at `next` and at the end.
    fn ends(&self, batch: &RecordBatch, next: usize) -> Result<Rows, ArrowError> {
        let mut rows = self.converter.empty_rows(2, 0);
        if self.keys.is_empty() {
            return Ok(rows);
        }
        for row in [next, batch.num_rows() - 1] {
            let columns: Vec<ArrayRef> = self.keys.iter().map(|key| batch.column(*key).slice(row, 1)).collect();
            self.converter.append(&mut rows, &columns)?;
        }
        Ok(rows)
    }

    /// Adds rows of the first input to the next output.
    fn keep(&mut self, input: usize, rows: usize) {
        if rows == 0 {
            return;
        }
        let current = self.inputs[input].current.as_mut().expect("inputs in the heap have a batch");
        let source = *current.source.get_or_insert_with(|| {
            self.sources.push(current.batch.clone());
            self.sources.len() - 1
        });
        self.runs.push(Run { source, start: current.next, rows });
        self.pending += rows;
    }

    /// Goes on by rows of the first input.
    fn advance(&mut self, input: usize, rows: usize) -> Result<(), ArrowError> {
        let current = self.inputs[input].current.as_mut().expect("inputs in the heap have a batch");
        current.next += rows;
        if current.rest() == 0 {
            self.inputs[input].current = None;
            self.heap.swap_remove(0);
        } else if matches!(current.keys, Keys::Ends(_)) {
            let (batch, next) = (current.batch.clone(), current.next);
            let keys = Keys::Ends(self.ends(&batch, next)?);
            if let Some(current) = &mut self.inputs[input].current {
                current.keys = keys;
            }
        }
        if self.inputs[input].current.is_some() {
            self.heap[0] = self.head(input);
        }
        self.sift_down();
        Ok(())
    }

    /// The rows kept so far as one batch.
    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        for input in &mut self.inputs {
            if let Some(current) = &mut input.current {
                current.source = None;
            }
        }
        let rows = std::mem::take(&mut self.pending);
        let runs = std::mem::take(&mut self.runs);
        let sources = std::mem::take(&mut self.sources);
        if runs.len() * LONG_RUN <= rows || runs.len() == 1 {
            let slices: Vec<RecordBatch> =
                runs.iter().map(|run| sources[run.source].slice(run.start, run.rows)).collect();
            return match <[RecordBatch; 1]>::try_from(slices) {
                Ok([alone]) => Ok(alone),
                Err(slices) => concat_batches(&self.schema, &slices),
            };
        }
        let places: Vec<(usize, usize)> =
            runs.iter().flat_map(|run| (run.start..run.start + run.rows).map(|row| (run.source, row))).collect();
        interleave_record_batch(&sources.iter().collect::<Vec<_>>(), &places)
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.is_before(self.heap[at], self.heap[parent]) {
                return;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    /// Moves the first input to its place.
    fn sift_down(&mut self) {
        let mut at = 0;
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.is_before(self.heap[child], self.heap[least]) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

/// The first bytes of a key: where they differ, they are ordered as the keys are.
fn prefix(key: &[u8]) -> u128 {
    if let Some(first) = key.first_chunk() {
        return u128::from_be_bytes(*first);
    }
    let mut padded = [0; 16];
    padded[..key.len()].copy_from_slice(key);
    u128::from_be_bytes(padded)
}

fn no_column() -> ArrowError {
    ArrowError::InvalidArgumentError("a merge's key is no column of its rows".to_owned())
}
