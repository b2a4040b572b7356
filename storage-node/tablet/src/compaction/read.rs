//! The rows of local segments, in their order, read through the verified path and laid out as the newest schema says.

pub(crate) mod columns;
mod file;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{Column, SchemaVersion, TableSchema, segment};
use vortex::VortexSessionDefault;
use vortex::error::{VortexError, VortexResult};
use vortex::io::runtime::BlockingRuntime;
use vortex::io::runtime::current::CurrentThreadRuntime;
use vortex::io::session::RuntimeSessionExt;
use vortex::scan::selection::Selection;
use vortex::session::VortexSession;

use file::SegmentFile;

use super::usage::Usage;
use crate::engine::Engine;
use crate::layout::segment_name;
use crate::record::SegmentRecord;
use crate::tablet::Shape;
use crate::{Error, Result};

pub(super) use file::Opened;

/// A segment to be read.
#[derive(Clone)]
pub(super) struct Segment {
    pub key: SegmentKey,
    pub record: SegmentRecord,
    /// The schema that it was written with.
    pub schema_version: SchemaVersion,
    /// The rows to read.
    pub rows: Range<u64>,
    /// Those of them to leave out.
    pub deleted: Option<Arc<RoaringTreemap>>,
    /// Its file.
    pub opened: Opened,
}

/// How rows are laid out that are read: as the newest schema says, all columns or some.
pub(super) struct Layout {
    version: SchemaVersion,
    columns: Vec<Column>,
    /// The arrow schema of these columns in segments.
    pub stored: SchemaRef,
}

impl Layout {
    /// All columns.
    pub(super) fn of(shape: &Shape) -> Self {
        let TableSchema { version, columns, .. } = shape.schema.clone();
        Self { version, columns, stored: shape.stored.clone() }
    }

    /// The columns at these positions, in their order.
    pub(super) fn of_columns(shape: &Shape, positions: &[usize]) -> Self {
        let fields: Vec<_> = positions.iter().map(|i| shape.stored.fields()[*i].clone()).collect();
        Self {
            version: shape.schema.version,
            columns: positions.iter().map(|i| shape.schema.columns[*i].clone()).collect(),
            stored: Arc::new(Schema::new(fields)),
        }
    }
}

/// Decodes segments, on the threads that call it.
#[derive(Clone)]
pub(crate) struct Reader {
    runtime: CurrentThreadRuntime,
    session: VortexSession,
    /// The most rows of a batch.
    rows: u64,
    usage: Arc<Usage>,
}

type Split = BoxFuture<'static, VortexResult<Option<RecordBatch>>>;

/// Segments that follow each other, read one at a time.
pub(super) struct Input {
    reader: Reader,
    layout: Arc<Layout>,
    segments: VecDeque<Segment>,
    current: Option<Current>,
}

/// The segment that is being read.
struct Current {
    key: SegmentKey,
    /// Counts as open as long as it is read.
    _opened: Opened,
    splits: std::vec::IntoIter<Split>,
    /// Whether the rows have to be laid out anew.
    older: bool,
    /// Why bytes could not be read, which the decoder does not tell.
    failure: Failure,
}

type Failure = Arc<Mutex<Option<Error>>>;

impl Reader {
    /// A reader of batches of at most `rows` rows.
    pub(crate) fn new(rows: u64) -> Self {
        Self::counted(rows, Arc::default())
    }

    /// One whose reads are part of what a merge takes.
    pub(super) fn counted(rows: u64, usage: Arc<Usage>) -> Self {
        let runtime = CurrentThreadRuntime::new();
        let session = VortexSession::default().with_handle(runtime.handle());
        Self { runtime, session, rows, usage }
    }

    fn open(&self, engine: &Engine, layout: &Layout, segment: Segment) -> Result<Current> {
        let failure = Failure::default();
        let (key, bytes) = (segment.key, segment.record.bytes);
        let older = segment.schema_version != layout.version;
        let opened = segment.opened.clone();
        let file = opened.get(|| {
            let open = engine.open_segment(key, &segment.record)?;
            SegmentFile::open(self, open, bytes, &failure).map_err(|error| failed(key, error, &failure))
        })?;
        match self.splits(file, layout, segment, older, &failure) {
            Ok(splits) => Ok(Current { key, _opened: opened, splits: splits.into_iter(), older, failure }),
            Err(error) => Err(failed(key, error, &failure)),
        }
    }

    fn splits(
        &self,
        file: &SegmentFile,
        layout: &Layout,
        segment: Segment,
        older: bool,
        failure: &Failure,
    ) -> VortexResult<Vec<Split>> {
        let fields = match older {
            false => layout.stored.fields().to_vec(),
            true => match file.own_fields(self, &layout.stored)? {
                none if none.is_empty() => file.first_field(self, &layout.stored)?,
                fields => fields,
            },
        };
        let selection = match segment.deleted {
            Some(deleted) => Selection::ExcludeRoaring(Arc::unwrap_or_clone(deleted)),
            None => Selection::All,
        };
        file.scan(self, &fields, failure)?.with_row_range(segment.rows).with_selection(selection).build()
    }
}

impl Input {
    /// Segments that follow each other, each of which is read by `reader`.
    pub(super) fn new(reader: &Reader, layout: &Arc<Layout>, segments: VecDeque<Segment>) -> Self {
        Self { reader: reader.clone(), layout: layout.clone(), segments, current: None }
    }

    /// The next rows; none at the end. Blocks.
    pub(super) fn next(&mut self, engine: &Engine) -> Result<Option<RecordBatch>> {
        loop {
            if self.current.is_none() {
                let Some(segment) = self.segments.pop_front() else { return Ok(None) };
                self.current = Some(self.reader.open(engine, &self.layout, segment)?);
            }
            let Some(current) = &mut self.current else { continue };
            let Some(split) = current.splits.next() else {
                self.current = None;
                continue;
            };
            let batch = self.reader.runtime.block_on(split).map_err(|e| failed(current.key, e, &current.failure))?;
            let Some(batch) = batch else { continue };
            if !current.older {
                return Ok(Some(batch));
            }
            let tablet = current.key.tablet;
            let upgraded = segment::upgrade(&self.layout.columns, &self.layout.stored, &batch);
            return upgraded.map(Some).map_err(|source| Error::Rows { tablet, source });
        }
    }
}

/// The error that kept a segment from being read: the one below the decoder, or the decoder's own.
fn failed(key: SegmentKey, error: VortexError, failure: &Failure) -> Error {
    failure.lock().take().unwrap_or_else(|| Error::Decode {
        tablet: key.tablet,
        rowset: key.rowset,
        file: segment_name(key.rowset, key.segment),
        source: Box::new(error),
    })
}
