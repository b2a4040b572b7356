//! One segment from rows to a durable file, under a temporary name until its rowset is sealed.

use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};
use arrow::error::ArrowError;
use bytes::Bytes;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{TableSchema, segment, short_key};

use crate::checksum::ChecksumFile;
use crate::codec::Codec;
use crate::error::{Error, IoContext};
use crate::layout::{DataDir, SegmentFiles};
use crate::memtable::Memtable;
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
    /// Gives the files their names. They are durable under them once the directory is synced.
    pub(crate) fn keep(mut self, dir: &DataDir) -> Result<SegmentRecord> {
        let files = dir.segment(self.key);
        fs::rename(&self.files.sidecar, &files.sidecar).doing("rename", &self.files.sidecar)?;
        fs::rename(&self.files.segment, &files.segment).doing("rename", &self.files.segment)?;
        self.kept = true;
        Ok(self.record)
    }
}

impl Drop for TemporarySegment {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is an orphan, which goes at the next start.
            let _ = fs::remove_file(&self.files.segment);
            let _ = fs::remove_file(&self.files.sidecar);
        }
    }
}

/// Sorts a memtable and writes it as a segment. Blocks; does the processor's work of a load.
pub(crate) fn write_segment(
    dir: &DataDir,
    codec: &Codec,
    shape: &Shape,
    key: SegmentKey,
    attempt: u64,
    rows: Memtable,
) -> Result<TemporarySegment> {
    let started = Instant::now();
    let refused = |source: ArrowError| Error::Rows { tablet: key.tablet, source };
    let row_count = rows.rows();
    // The reservation ends with the segment: its columns, copied once, take as much.
    let (columns, _reserved) = rows.into_columns();
    let columns = columns.into_iter().map(concatenated).collect::<std::result::Result<Vec<_>, _>>().map_err(refused)?;
    let sort_key: Vec<ArrayRef> = shape.sort_columns.iter().map(|i| columns[*i].clone()).collect();
    let order = sort_order(&sort_key).map_err(refused)?;
    drop(sort_key);
    let short_key_index = short_key::encode_index(&shape.short_key, &columns, row_count, |row| match &order {
        Some(order) => order[row] as usize,
        None => row,
    });

    dir.create_tablet(key.tablet)?;
    let files = dir.temporary(key, attempt);
    let mut segment = TemporarySegment {
        key,
        record: SegmentRecord { rows: row_count as u64, bytes: 0, checksum: 0 },
        files,
        kept: false,
    };
    let path = &segment.files.segment;
    let mut file = ChecksumFile::new(File::create(path).doing("create", path)?);
    let schema = shape.stored.clone();
    let chunks = Chunks { schema: schema.clone(), columns, order, rows: row_count, next: 0 };
    if let Err(source) = codec.write(&schema, chunks, &mut file) {
        return Err(match file.take_failure() {
            Some(source) => Error::Io { action: "write", path: path.clone(), source },
            None => Error::Encode { tablet: key.tablet, source },
        });
    }
    let checksums = file.finish().doing("write", path)?;

    segment.record.bytes = checksums.bytes;
    segment.record.checksum = checksums.file;
    let sidecar = Sidecar { checksums, short_key_index: Bytes::from(short_key_index) };
    let path = &segment.files.sidecar;
    File::create(path)
        .and_then(|mut file| {
            file.write_all(&sidecar.encode())?;
            file.sync_all()
        })
        .doing("write", path)?;
    metrics::segment_written(segment.record.rows, segment.record.bytes, started.elapsed());
    Ok(segment)
}

fn concatenated(arrays: Vec<ArrayRef>) -> std::result::Result<ArrayRef, ArrowError> {
    match arrays.as_slice() {
        [one] => Ok(one.clone()),
        many => concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
    }
}

/// A segment's rows in order, in batches that are made when they are asked for.
struct Chunks {
    schema: arrow::datatypes::SchemaRef,
    columns: Vec<ArrayRef>,
    order: Option<Vec<u32>>,
    rows: usize,
    next: usize,
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
    let stored = segment::storage_schema(&schema.columns);
    let fields: Vec<arrow::row::SortField> = schema
        .sort_key
        .iter()
        .filter_map(|id| schema.index_of(*id))
        .map(|i| arrow::row::SortField::new(stored.field(i).data_type().clone()))
        .collect();
    arrow::row::RowConverter::new(fields).map(drop)
}
