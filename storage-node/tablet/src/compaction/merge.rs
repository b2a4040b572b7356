//! From inputs to the temporary segments of the output.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use roaring::{RoaringBitmap, RoaringTreemap};
use tarn_proto::TableModel;
use tarn_proto::storage::SegmentKey;

use super::row_map::{Builder, RowMap};
use super::{Job, Rowset, Stop, history, read, rows, vertical};
use crate::Result;
use crate::codec::Codec;
use crate::engine::Engine;
use crate::engine::commit::is_compaction;
use crate::error::IoContext;
use crate::segment::{Combined, KeySource, TemporarySegment, write_sorted};
use crate::tablet::Shape;

/// The part of a merge's memory that is for the batches that are read at the same time: the output is put together beside
/// them.
const INPUTS_PART: u64 = 2;
/// Rows of a batch that is read: enough to decode well, few enough to stay in cache.
const BATCH_ROWS: u64 = 65_536;
/// With fewer rows a batch takes longer to begin than to read.
const LEAST_BATCH_ROWS: u64 = 256;
/// Rows of a batch that is written: the format's zone.
pub(super) const OUTPUT_ROWS: u64 = 8192;
/// A segment is cut between batches, which are at most this part of it.
const CUTS: u64 = 8;

/// What a merge made.
pub(super) struct Merged {
    /// The output's segments, which no rowset names yet.
    pub segments: Vec<TemporarySegment>,
    /// What was read, input by input.
    pub sources: Vec<Vec<Source>>,
    /// Where its rows went, if the table has a PRIMARY KEY.
    pub map: Option<RowMap>,
}

/// A segment that was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The segment.
    pub key: SegmentKey,
    /// Rows in it.
    pub rows: u64,
    /// Those that were left out.
    pub deleted: RoaringBitmap,
}

/// The rows of an output, in order.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// The map in the making, by those who merge.
pub(super) type SharedMap = Arc<Mutex<Builder>>;

/// A run of sorted segments to be read, one after the other.
pub(super) type Run = VecDeque<read::Segment>;

impl Engine {
    /// Writes the inputs' rows to temporary segments.
    pub(super) fn merge(self: &Arc<Self>, job: &Job, stop: &Stop, running: &history::Running<'_>) -> Result<Merged> {
        let runs = self.runs(job)?;
        let attempt = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let sources = runs.iter().map(|run| run.iter().map(source).collect()).collect();
        let map = match job.shape.schema.model {
            TableModel::PrimaryKey => {
                let path =
                    self.dir.create_tablet(job.tablet.id)?.join(format!("{}.{attempt}.rows.tmp", job.output.get()));
                Some(Arc::new(Mutex::new(Builder::new(&path, runs.len())?)))
            }
            TableModel::Duplicate | TableModel::Aggregate | TableModel::Unique => None,
        };
        let rows = self.rows(job, runs, map.clone(), stop)?;
        let segments = self.write_output(job, rows, attempt, running)?;
        // Nobody else has it: the rows are all there, and who merged them is gone.
        let map = map.and_then(Arc::into_inner).map(|map| map.into_inner().finish());
        let map = map.transpose().doing("write", self.dir.tablet(job.tablet.id))?;
        Ok(Merged { segments, sources, map })
    }

    /// How many groups of columns a merge of rowsets goes by: none if the table has few columns and so many rows of all
    /// inputs fit into memory that it is worth to read them whole.
    pub(super) fn column_groups(&self, shape: &Shape, inputs: &[Rowset]) -> usize {
        let runs = inputs.iter().map(super::runs).sum();
        let rows = batch_rows(self.options.compaction_memory_bytes / INPUTS_PART, runs, bytes_of_row(shape, inputs));
        let is_wide = shape.schema.columns.len() > self.options.vertical_columns || rows < LEAST_BATCH_ROWS;
        if is_wide { vertical::groups(shape, self.group_columns()).len() } else { 0 }
    }

    /// The most columns of a group: half as many as of the widest table that is merged in whole rows.
    pub(super) fn group_columns(&self) -> usize {
        (self.options.vertical_columns / 2).clamp(1, vertical::GROUP_COLUMNS)
    }

    /// The output's rows.
    pub(super) fn rows(
        self: &Arc<Self>,
        job: &Job,
        runs: Vec<Run>,
        map: Option<SharedMap>,
        stop: &Stop,
    ) -> Result<Rows> {
        let memory = self.options.compaction_memory_bytes;
        if job.is_vertical() {
            return Ok(Box::new(vertical::Vertical::new(self.clone(), job, runs, map, stop.clone(), memory)?));
        }
        let output_rows = (self.options.segment_bytes / CUTS / row_bytes(job)).clamp(64, OUTPUT_ROWS);
        let layout = Arc::new(read::Layout::of(&job.shape));
        let batch = batch_rows(memory / INPUTS_PART, runs.len(), row_bytes(job)).max(LEAST_BATCH_ROWS);
        let reader = read::Reader::counted(batch, job.usage.clone());
        let inputs = runs.into_iter().map(|run| read::Input::new(&reader, &layout, run)).collect();
        let sort_key = job.shape.sort_columns.clone();
        let merged =
            rows::Merged::new(job, layout, sort_key, inputs, output_rows as usize, self.clone(), stop.clone())?;
        Ok(if job.shape.schema.model.merges_on_read() {
            Box::new(Combined::new(&job.shape, job.tablet.id, merged.map(|rows| rows.map(|rows| rows.batch)))?)
        } else {
            let tablet = self.dir.tablet(job.tablet.id);
            Box::new(merged.map(move |rows| {
                let rows = rows?;
                if let Some(map) = &map {
                    map.lock().push(rows.inputs.values()).doing("write", &tablet)?;
                }
                Ok(rows.batch)
            }))
        })
    }

    fn write_output(
        &self,
        job: &Job,
        rows: Rows,
        attempt: u64,
        running: &history::Running<'_>,
    ) -> Result<Vec<TemporarySegment>> {
        let rows = rows::Shared::new(rows);
        // Of its own: the threads of one help each other, and these have low priority.
        let codec = Codec::new();
        let mut segments = Vec::new();
        while rows.has_more()? {
            let key = SegmentKey { tablet: job.tablet.id, rowset: job.output, segment: segments.len() as u32 };
            let next = rows.next_bytes(self.options.segment_bytes);
            let keys = match job.shape.schema.model {
                TableModel::PrimaryKey => KeySource::Rows,
                TableModel::Duplicate | TableModel::Aggregate | TableModel::Unique => KeySource::None,
            };
            let segment = write_sorted(&self.dir, &codec, &job.shape, key, attempt, keys, next)?;
            running.wrote(&segment.record);
            segments.push(segment);
        }
        Ok(segments)
    }

    /// The inputs in merge order: each segment of a load is sorted by itself, those of a compaction follow each other.
    pub(super) fn runs(&self, job: &Job) -> Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        for (rowset, _, record) in &job.inputs {
            let first = runs.len();
            for (number, segment) in (0..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0) {
                let key = SegmentKey { tablet: job.tablet.id, rowset: *rowset, segment: number };
                let schema_version = record.schema_version;
                let (rows, deleted) = (0..segment.rows, self.deleted(job, key)?);
                let (record, opened) = (segment.clone(), read::Opened::default());
                let segment = read::Segment { key, record, schema_version, rows, deleted, opened };
                if is_compaction(*rowset) && runs.len() > first {
                    runs[first].push_back(segment);
                } else {
                    runs.push(VecDeque::from([segment]));
                }
            }
        }
        Ok(runs)
    }

    /// Rows of an input that are deleted in the version that the job was decided at.
    fn deleted(&self, job: &Job, key: SegmentKey) -> Result<Option<Arc<RoaringTreemap>>> {
        let vector = self.meta.delete_vector(key.tablet, key.rowset, key.segment, job.at)?;
        Ok(vector.map(|vector| Arc::new(RoaringTreemap::from_bitmaps([(0, vector.bitmap())]))))
    }
}

fn source(segment: &read::Segment) -> Source {
    let deleted = segment.deleted.as_ref().and_then(|deleted| deleted.bitmaps().next());
    let deleted = deleted.map(|(_, rows)| rows.clone()).unwrap_or_default();
    Source { key: segment.key, rows: segment.record.rows, deleted }
}

/// Rows of a batch that is read, so that one of each input fits into `memory` bytes.
pub(super) fn batch_rows(memory: u64, inputs: usize, row_bytes: u64) -> u64 {
    (memory / inputs.max(1) as u64 / row_bytes.max(1)).clamp(1, BATCH_ROWS)
}

/// Memory of a row of a job, about.
pub(super) fn row_bytes(job: &Job) -> u64 {
    bytes_of_row(&job.shape, &job.inputs)
}

/// Memory of a row, about: four times as much as compressed, and sixteen bytes for each value as a number or a view.
fn bytes_of_row(shape: &Shape, inputs: &[Rowset]) -> u64 {
    let records = || inputs.iter().map(|(_, _, record)| record);
    let (bytes, rows): (u64, u64) =
        (records().map(|record| record.bytes()).sum(), records().map(|record| record.rows()).sum());
    (4 * bytes / rows.max(1) + 16 * shape.schema.columns.len() as u64).max(1)
}
