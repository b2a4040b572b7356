//! An open segment file and what its footer says of it.
//!
//! A footer describes all columns, and parsing it takes as long as reading many rows of a few: a file is opened once for all
//! reads of a merge. A read then looks at its own columns only, however many the file has.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, FieldRef, SchemaRef};
use futures::FutureExt;
use vortex::array::VortexSessionExecute;
use vortex::array::buffer::BufferHandle;
use vortex::arrow::ArrowSessionExt;
use vortex::buffer::ByteBuffer;
use vortex::dtype::{DType, FieldName, Nullability};
use vortex::error::{VortexError, VortexResult, vortex_err};
use vortex::expr::{get_item, pack, root};
use vortex::file::{DeserializeStep, Footer, SegmentSpec};
use vortex::layout::LayoutRef;
use vortex::layout::layouts::struct_::{Struct, StructLayout};
use vortex::layout::scan::scan_builder::ScanBuilder;
use vortex::layout::scan::split_by::SplitBy;
use vortex::layout::segments::{SegmentFuture, SegmentId, SegmentSource};

use super::super::usage::Usage;
use super::{Failure, Reader};
use crate::open_segment::OpenSegment;
use crate::{Error, Result, metrics};

/// Read at a file's end to find its footer.
const FOOTER_BYTES: u64 = 64 << 10;

/// An open segment file.
pub(super) struct SegmentFile {
    open: Arc<OpenSegment>,
    footer: Footer,
    _counted: metrics::OpenInput,
}

/// A file, from its first read on. Clones are of the same file, which is closed with the last of them.
#[derive(Clone, Default)]
pub(in crate::compaction) struct Opened(Arc<OnceLock<SegmentFile>>);

impl Opened {
    /// The file; `open` opens it, unless it is.
    pub(super) fn get(&self, open: impl FnOnce() -> Result<SegmentFile>) -> Result<&SegmentFile> {
        match self.0.get() {
            Some(file) => Ok(file),
            None => {
                let file = open()?;
                Ok(self.0.get_or_init(|| file))
            }
        }
    }
}

impl SegmentFile {
    /// Reads the footer of a file of `bytes` bytes. Blocks.
    pub(super) fn open(reader: &Reader, open: Arc<OpenSegment>, bytes: u64, failure: &Failure) -> VortexResult<Self> {
        let pieces = Pieces::of(reader, &open, Arc::default(), failure);
        let tail = pieces.read(bytes.saturating_sub(FOOTER_BYTES)..bytes)?;
        let mut deserializer = Footer::deserializer(tail, reader.session.clone()).with_size(bytes);
        loop {
            match deserializer.deserialize()? {
                DeserializeStep::Done(footer) => {
                    return Ok(Self { open, footer, _counted: metrics::OpenInput::count() });
                }
                DeserializeStep::NeedMoreData { offset, len } => {
                    deserializer.prefix_data(pieces.read(offset..offset + len as u64)?);
                }
                DeserializeStep::NeedFileSize => return Err(vortex_err!("no footer in {bytes} bytes")),
            }
        }
    }

    /// Those of the columns `stored` that the file has, in its order: as they are stored now if their type is the same, else
    /// as the file has them.
    pub(super) fn own_fields(&self, reader: &Reader, stored: &SchemaRef) -> VortexResult<Vec<FieldRef>> {
        let all = self.footer.dtype().as_struct_fields_opt().ok_or_else(|| vortex_err!("a file without columns"))?;
        let mut positions: Vec<usize> = stored.fields().iter().filter_map(|field| all.find(field.name())).collect();
        positions.sort_unstable();
        self.fields(reader, &positions, stored)
    }

    /// The file's first column: rows are counted by it.
    pub(super) fn first_field(&self, reader: &Reader, stored: &SchemaRef) -> VortexResult<Vec<FieldRef>> {
        self.fields(reader, &[0], stored)
    }

    fn fields(&self, reader: &Reader, positions: &[usize], stored: &SchemaRef) -> VortexResult<Vec<FieldRef>> {
        let arrow = reader.session.arrow();
        let dtype = self.narrow(positions)?.dtype().clone();
        let mut fields = Vec::with_capacity(positions.len());
        for field in arrow.to_arrow_schema(&dtype)?.fields() {
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
        Ok(fields)
    }

    /// A read of columns that the file has.
    pub(super) fn scan(
        &self,
        reader: &Reader,
        fields: &[FieldRef],
        failure: &Failure,
    ) -> VortexResult<ScanBuilder<RecordBatch>> {
        let pieces = Pieces::of(reader, &self.open, self.footer.segment_map().clone(), failure);
        let all = self.footer.dtype().as_struct_fields_opt().ok_or_else(|| vortex_err!("a file without columns"))?;
        let position = |field: &FieldRef| {
            all.find(field.name()).ok_or_else(|| vortex_err!("column {} is not in the file", field.name()))
        };
        let layout = self.narrow(&fields.iter().map(position).collect::<VortexResult<Vec<_>>>()?)?;
        let layout = layout.new_reader("".into(), Arc::new(pieces), &reader.session, &Default::default())?;
        let columns = fields.iter().map(|field| (field.name().clone(), get_item(field.name().as_str(), root())));
        let projection = pack(columns, Nullability::NonNullable).bind(layout.dtype())?.optimize_recursive()?;
        let target = Field::new_struct("", fields.to_vec(), false);
        let session = reader.session.clone();
        Ok(ScanBuilder::new(reader.session.clone(), layout)
            .with_projection(projection)
            .with_split_by(SplitBy::LayoutSubSplitting { max_rows: reader.rows })
            .map(move |chunk| {
                let mut ctx = session.create_execution_ctx();
                let rows = session.arrow().execute_arrow(chunk, Some(&target), &mut ctx)?;
                Ok(RecordBatch::from(rows.as_struct().clone()))
            }))
    }

    /// The file with the columns at these positions alone.
    fn narrow(&self, positions: &[usize]) -> VortexResult<LayoutRef> {
        let root = self.footer.layout();
        let (Some(all), Some(fields)) = (root.as_opt::<Struct>(), root.dtype().as_struct_fields_opt()) else {
            return Ok(root.clone());
        };
        if root.dtype().is_nullable() {
            return Ok(root.clone());
        }
        let mut names: Vec<FieldName> = Vec::with_capacity(positions.len());
        let mut columns = Vec::with_capacity(positions.len());
        for position in positions {
            let missing = || vortex_err!("column {position} is not in the file");
            names.push(fields.names().get(*position).ok_or_else(missing)?.clone());
            // The first place of a struct layout is its validity's.
            columns.push(all.slot(position + 1)?.ok_or_else(missing)?);
        }
        let dtype = DType::Struct(fields.project(&names)?, Nullability::NonNullable);
        Ok(StructLayout::new(root.row_count(), dtype, columns).into_layout())
    }
}

/// Hands the pieces of a file to the decoder, when it polls for them.
#[derive(Clone)]
struct Pieces {
    open: Arc<OpenSegment>,
    specs: Arc<[SegmentSpec]>,
    failure: Failure,
    usage: Arc<Usage>,
}

impl Pieces {
    fn of(reader: &Reader, open: &Arc<OpenSegment>, specs: Arc<[SegmentSpec]>, failure: &Failure) -> Self {
        Self { open: open.clone(), specs, failure: failure.clone(), usage: reader.usage.clone() }
    }

    fn read(&self, range: Range<u64>) -> VortexResult<ByteBuffer> {
        self.usage.note_read(range.end - range.start);
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
