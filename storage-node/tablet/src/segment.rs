//! One segment from rows to a durable file, under a temporary name until its rowset is sealed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};
use arrow::error::ArrowError;
use bytes::Bytes;
use parking_lot::Mutex;
use tarn_proto::merge::Combiner;
use tarn_proto::short_key::IndexBuilder;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{TableModel, TableSchema, TabletId, segment};

use crate::checksum::ChecksumFile;
use crate::codec::Codec;
use crate::error::{Error, IoContext};
use crate::index::IndexBuilders;
use crate::layout::{DataDir, SegmentFiles};
use crate::memtable::Memtable;
use crate::primary::flush::{KeyFileBuilder, SortedKeys, resolve};
use crate::primary::key;
use crate::record::SegmentRecord;
use crate::sidecar::Sidecar;
use crate::sort::sort_order;
use crate::tablet::Shape;
use crate::{Result, metrics};

/// Rows that are brought into order at a time: a multiple of the format's zone (8192), small enough to stay in cache.
const CHUNK_ROWS: usize = 65_536;

/// A durable segment that no rowset names yet. Dropping it removes its files.
#[derive(Debug)]
pub(crate) struct TemporarySegment {
    pub key: SegmentKey,
    pub record: SegmentRecord,
    files: SegmentFiles,
    kept: bool,
}

impl TemporarySegment {
    /// One whose files another replica sends.
    pub(crate) const fn copied(key: SegmentKey, record: SegmentRecord, files: SegmentFiles) -> Self {
        Self { key, record, files, kept: false }
    }

    /// The files, under the names that they have now.
    pub(crate) const fn files(&self) -> &SegmentFiles {
        &self.files
    }

    /// Gives the files their names. They are durable under them once the directory is synced.
    pub(crate) fn keep(mut self, dir: &DataDir) -> Result<SegmentRecord> {
        let files = dir.segment(self.key);
        self.files.rename(&files, self.record.index_files().map(|(index, _)| index))?;
        self.kept = true;
        Ok(self.record.clone())
    }
}

impl Drop for TemporarySegment {
    fn drop(&mut self) {
        if !self.kept {
            self.files.remove();
            self.record.index_files().for_each(|(index, _)| drop(std::fs::remove_file(self.files.index(index))));
        }
    }
}

/// Sorts a memtable and writes it as a segment, in which a key stands once if the model says so: with the row that arrived
/// last, or with that which the `condition`, the position of a column, chooses. Blocks; does the processor's work of a load.
pub(crate) fn write_segment(
    dir: &DataDir,
    codec: &Codec,
    shape: &Shape,
    key: SegmentKey,
    attempt: u64,
    rows: Memtable,
    condition: Option<usize>,
) -> Result<TemporarySegment> {
    let tablet = key.tablet;
    let refused = move |source: ArrowError| Error::Rows { tablet, source };
    let count = rows.rows();
    // The reservation ends with the segment: its columns, copied once, take as much.
    let (columns, _reserved) = rows.into_columns();
    let columns = columns.into_iter().map(concatenated).collect::<std::result::Result<Vec<_>, _>>().map_err(refused)?;
    dir.create_tablet(key.tablet)?;
    if shape.schema.model == TableModel::PrimaryKey {
        let resolved = resolve(&shape.schema, columns, condition).map_err(refused)?;
        let (columns, rows) = (resolved.columns, resolved.order.len());
        let chunks = Chunks::new(shape.stored.clone(), columns, Some(resolved.order), rows);
        let chunks = chunks.map(move |batch| batch.map_err(refused));
        return write_sorted(dir, codec, shape, key, attempt, KeySource::Known(resolved.keys), chunks);
    }
    let sort_key: Vec<ArrayRef> = shape.sort_columns.iter().map(|i| columns[*i].clone()).collect();
    let order = sort_order(&sort_key).map_err(refused)?;
    drop(sort_key);
    let chunks = Chunks::new(shape.stored.clone(), columns, order, count);
    let chunks = chunks.map(move |batch| batch.map_err(refused));
    if shape.schema.model.merges_on_read() {
        write_sorted(dir, codec, shape, key, attempt, KeySource::None, Combined::new(shape, tablet, chunks)?)
    } else {
        write_sorted(dir, codec, shape, key, attempt, KeySource::None, chunks)
    }
}

/// Where the key file of a segment comes from.
pub(crate) enum KeySource {
    /// It has none: the table has no PRIMARY KEY.
    None,
    /// The rows that are written, each of which has a key of its own.
    Rows,
    /// The load.
    Known(SortedKeys),
}

/// Writes rows that are in order as a segment, without ever holding all of them. Ends with the first error that `batches`
/// have. Blocks.
pub(crate) fn write_sorted(
    dir: &DataDir,
    codec: &Codec,
    shape: &Shape,
    key: SegmentKey,
    attempt: u64,
    keys: KeySource,
    batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static,
) -> Result<TemporarySegment> {
    let started = Instant::now();
    let files = dir.temporary(key, attempt);
    let record = SegmentRecord { rows: 0, bytes: 0, checksum: 0, indexes: Vec::new() };
    let mut segment = TemporarySegment { key, record, files, kept: false };
    let path = &segment.files.segment;
    let mut file = ChecksumFile::new(File::create(path).doing("create", path)?);
    let index = IndexBuilder::new(&shape.short_key);
    let builder = matches!(keys, KeySource::Rows).then(|| KeyFileBuilder::new(&shape.schema));
    let indexes = IndexBuilders::new(&shape.schema);
    let seen = Arc::new(Mutex::new(Seen { index, indexes: Some(indexes), keys: builder, failure: None }));
    let result = codec.write(&shape.stored, Watched { batches, seen: seen.clone() }, &mut file);
    let mut seen = seen.lock();
    if let Some(failure) = seen.failure.take() {
        return Err(failure);
    }
    if let Err(source) = result {
        return Err(match file.take_failure() {
            Some(source) => Error::Io { action: "write", path: path.clone(), source },
            None => Error::Encode { tablet: key.tablet, source },
        });
    }
    let checksums = file.finish().doing("write", path)?;

    let indexes = match seen.indexes.take().filter(|_| seen.index.rows() > 0) {
        Some(indexes) => indexes.finish(key, &segment.files)?,
        None => Vec::new(),
    };
    segment.record =
        SegmentRecord { rows: seen.index.rows(), bytes: checksums.bytes, checksum: checksums.file, indexes };
    let sidecar = Sidecar { checksums, short_key_index: Bytes::from(seen.index.finish()) };
    write_synced(&segment.files.sidecar, &sidecar.encode())?;
    let keys = match keys {
        KeySource::None => None,
        KeySource::Rows => seen.keys.take().map(KeyFileBuilder::finish),
        KeySource::Known(keys) => Some(keys),
    };
    if let Some(keys) = keys {
        write_synced(&segment.files.keys, &keys.encode(segment.record.checksum))?;
    }
    metrics::segment_written(segment.record.rows, segment.record.bytes, started.elapsed());
    Ok(segment)
}

/// Writes a whole file, durably once its directory is synced.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .doing("write", path)
}

/// What is learned of rows on their way into a segment.
struct Seen {
    index: IndexBuilder,
    indexes: Option<IndexBuilders>,
    /// If the rows have keys that are not known yet.
    keys: Option<KeyFileBuilder>,
    /// Why there are no more, which the format's own error does not tell.
    failure: Option<Error>,
}

/// Rows on their way into a segment.
struct Watched<I> {
    batches: I,
    seen: Arc<Mutex<Seen>>,
}

impl<I: Iterator<Item = Result<RecordBatch>>> Iterator for Watched<I> {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.batches.next()? {
            Ok(batch) => {
                let mut seen = self.seen.lock();
                seen.index.push(batch.columns(), batch.num_rows());
                if let Some(indexes) = &mut seen.indexes {
                    indexes.push(batch.columns());
                }
                if let Some(Err(refused)) = seen.keys.as_mut().map(|keys| keys.push(batch.columns())) {
                    return Some(Err(refused));
                }
                Some(Ok(batch))
            }
            Err(error) => {
                let told = ArrowError::ExternalError(error.to_string().into());
                self.seen.lock().failure = Some(error);
                Some(Err(told))
            }
        }
    }
}

/// Sorted rows, those of equal keys combined to one.
pub(crate) struct Combined<I> {
    tablet: TabletId,
    rows: I,
    combiner: Combiner,
}

impl<I> Combined<I> {
    /// Combines a tablet's rows by the schema's aggregations.
    pub(crate) fn new(shape: &Shape, tablet: TabletId, rows: I) -> Result<Self> {
        let aggregations = shape.schema.columns.iter().map(|column| column.aggregation).collect();
        let combiner = Combiner::new(shape.stored.clone(), aggregations);
        Ok(Self { tablet, rows, combiner: combiner.map_err(|source| Error::Rows { tablet, source })? })
    }
}

impl<I: Iterator<Item = Result<RecordBatch>>> Iterator for Combined<I> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next() {
                Some(Ok(batch)) => match self.combiner.push(batch) {
                    Ok(Some(complete)) => return Some(Ok(complete)),
                    Ok(None) => {}
                    Err(source) => return Some(Err(Error::Rows { tablet: self.tablet, source })),
                },
                Some(Err(error)) => return Some(Err(error)),
                None => return self.combiner.finish().map(Ok),
            }
        }
    }
}

fn concatenated(arrays: Vec<ArrayRef>) -> std::result::Result<ArrayRef, ArrowError> {
    match arrays.as_slice() {
        [one] => Ok(one.clone()),
        many => concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
    }
}

/// A segment's rows in order, in batches that are made when they are asked for.
pub(crate) struct Chunks {
    schema: arrow::datatypes::SchemaRef,
    columns: Vec<ArrayRef>,
    order: Option<Vec<u32>>,
    rows: usize,
    next: usize,
}

impl Chunks {
    /// `rows` rows of these columns: those that `order` names, or all as they are.
    pub(crate) const fn new(
        schema: arrow::datatypes::SchemaRef,
        columns: Vec<ArrayRef>,
        order: Option<Vec<u32>>,
        rows: usize,
    ) -> Self {
        Self { schema, columns, order, rows, next: 0 }
    }
}

impl Iterator for Chunks {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next;
        let rows = CHUNK_ROWS.min(self.rows - start);
        if rows == 0 {
            return None;
        }
        self.next += rows;
        let columns = match &self.order {
            None => Ok(self.columns.iter().map(|c| c.slice(start, rows)).collect()),
            Some(order) => {
                let indices = UInt32Array::from(order[start..start + rows].to_vec());
                self.columns.iter().map(|c| take(c, &indices, None)).collect::<std::result::Result<Vec<_>, _>>()
            }
        };
        Some(columns.and_then(|columns| RecordBatch::try_new(self.schema.clone(), columns)))
    }
}

/// Checks that a schema's rows can be stored: the sort key can be compared.
pub(crate) fn check_schema(schema: &TableSchema) -> std::result::Result<(), ArrowError> {
    if schema.model == TableModel::PrimaryKey {
        key::check_schema(schema)?;
    }
    let stored = segment::storage_schema(&schema.columns);
    let fields: Vec<arrow::row::SortField> = schema
        .sort_key
        .iter()
        .filter_map(|id| schema.index_of(*id))
        .map(|i| arrow::row::SortField::new(stored.field(i).data_type().clone()))
        .collect();
    arrow::row::RowConverter::new(fields).map(drop)
}
