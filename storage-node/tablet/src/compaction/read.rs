//! The rows of local segments, in their order, read through the verified path and laid out as the newest schema says.

pub(crate) mod columns;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{Column, SchemaVersion, TableSchema, segment};
use vortex::VortexSessionDefault;
use vortex::array::VortexSessionExecute;
use vortex::array::buffer::BufferHandle;
use vortex::arrow::ArrowSessionExt;
use vortex::buffer::ByteBuffer;
use vortex::dtype::{DType, Nullability};
use vortex::error::{VortexError, VortexResult, vortex_err};
use vortex::expr::{get_item, pack, root};
use vortex::file::{DeserializeStep, Footer, SegmentSpec, VortexFile};
use vortex::io::runtime::BlockingRuntime;
use vortex::io::runtime::current::CurrentThreadRuntime;
use vortex::io::session::RuntimeSessionExt;
use vortex::layout::scan::split_by::SplitBy;
use vortex::layout::segments::{SegmentFuture, SegmentId, SegmentSource};
use vortex::scan::selection::Selection;
use vortex::session::VortexSession;

use crate::engine::Engine;
use crate::layout::segment_name;
use crate::open_segment::OpenSegment;
use crate::record::SegmentRecord;
use crate::tablet::Shape;
use crate::{Error, Result};

/// Read at a file's end to find its footer.
const FOOTER_BYTES: u64 = 64 << 10;

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
        let runtime = CurrentThreadRuntime::new();
        let session = VortexSession::default().with_handle(runtime.handle());
        Self { runtime, session, rows }
    }

    fn open(&self, engine: &Engine, layout: &Layout, segment: Segment) -> Result<Current> {
        let open = engine.open_segment(segment.key, &segment.record)?;
        let failure = Failure::default();
        let older = segment.schema_version != layout.version;
        let key = segment.key;
        match self.splits(open, layout, segment, older, &failure) {
            Ok(splits) => Ok(Current { key, splits: splits.into_iter(), older, failure }),
            Err(error) => Err(failed(key, error, &failure)),
        }
    }

    fn splits(
        &self,
        open: Arc<OpenSegment>,
        layout: &Layout,
        segment: Segment,
        older: bool,
        failure: &Failure,
    ) -> VortexResult<Vec<Split>> {
        let source = Pieces { open, specs: Arc::default(), failure: failure.clone() };
        let footer = self.footer(&source, segment.record.bytes)?;
        let source = Pieces { specs: footer.segment_map().clone(), ..source };
        let file = VortexFile::new(footer, Arc::new(source), self.session.clone());
        let schema = if older { self.own_schema(file.dtype(), &layout.stored)? } else { layout.stored.clone() };
        let fields =
            schema.fields().iter().map(|field| (field.name().clone(), get_item(field.name().as_str(), root())));
        let projection = pack(fields, Nullability::NonNullable).bind(file.dtype())?.optimize_recursive()?;
        let target = Field::new_struct("", schema.fields().clone(), false);
        let session = self.session.clone();
        let selection = match segment.deleted {
            Some(deleted) => Selection::ExcludeRoaring(Arc::unwrap_or_clone(deleted)),
            None => Selection::All,
        };
        file.scan()?
            .with_projection(projection)
            .with_split_by(SplitBy::LayoutSubSplitting { max_rows: self.rows })
            .with_row_range(segment.rows)
            .with_selection(selection)
            .map(move |chunk| {
                let mut ctx = session.create_execution_ctx();
                let rows = session.arrow().execute_arrow(chunk, Some(&target), &mut ctx)?;
                Ok(RecordBatch::from(rows.as_struct().clone()))
            })
            .build()
    }

    fn footer(&self, source: &Pieces, bytes: u64) -> VortexResult<Footer> {
        let tail = source.read(bytes.saturating_sub(FOOTER_BYTES)..bytes)?;
        let mut deserializer = Footer::deserializer(tail, self.session.clone()).with_size(bytes);
        loop {
            match deserializer.deserialize()? {
                DeserializeStep::Done(footer) => return Ok(footer),
                DeserializeStep::NeedMoreData { offset, len } => {
                    deserializer.prefix_data(source.read(offset..offset + len as u64)?);
                }
                DeserializeStep::NeedFileSize => return Err(vortex_err!("no footer in {bytes} bytes")),
            }
        }
    }

    /// The arrow schema of what is read of a file that was written with an older schema: the wanted columns that it has, as
    /// they are stored now if their type is the same. One other if it has none: rows are counted by it.
    fn own_schema(&self, dtype: &DType, stored: &SchemaRef) -> VortexResult<SchemaRef> {
        let arrow = self.session.arrow();
        let mut fields = Vec::new();
        for field in arrow.to_arrow_schema(dtype)?.fields() {
            let own = dtype.as_struct_fields_opt().and_then(|fields| fields.field(field.name()));
            let same = match (stored.field_with_name(field.name()), own) {
                (Ok(now), Some(own)) => arrow.from_arrow_field(now)?.eq_ignore_nullability(&own).then_some(now),
                _ => None,
            };
            fields.push(match same {
                Some(now) => Arc::new(now.clone().with_nullable(field.is_nullable())),
                None => field.clone(),
            });
        }
        let is_wanted = |field: &FieldRef| stored.field_with_name(field.name()).is_ok();
        match fields.iter().any(is_wanted) {
            true => fields.retain(is_wanted),
            false => fields.truncate(1),
        }
        Ok(Arc::new(Schema::new(fields)))
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

/// Hands the pieces of a file to the decoder, when it polls for them.
#[derive(Clone)]
struct Pieces {
    open: Arc<OpenSegment>,
    specs: Arc<[SegmentSpec]>,
    failure: Failure,
}

impl Pieces {
    fn read(&self, range: Range<u64>) -> VortexResult<ByteBuffer> {
        let read = self
            .open
            .read(std::slice::from_ref(&range))
            .and_then(|mut read| read.pop().ok_or(Error::Background("a read")));
        read.map(ByteBuffer::from).map_err(|error| {
            let told = VortexError::from(std::io::Error::other(error.to_string()));
            self.failure.lock().get_or_insert(error);
            told
        })
    }
}

impl SegmentSource for Pieces {
    fn request(&self, id: SegmentId) -> SegmentFuture {
        let pieces = self.clone();
        async move {
            let spec = pieces.specs.get(*id as usize).copied();
            let spec = spec.ok_or_else(|| vortex_err!("piece {id} is not in the footer"))?;
            Ok(BufferHandle::new_host(pieces.read(spec.byte_range())?.aligned(spec.alignment)))
        }
        .boxed()
    }
}
