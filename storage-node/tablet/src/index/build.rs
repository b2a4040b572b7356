//! The indexes of a segment, made while its rows are written.

use arrow::array::ArrayRef;
use tarn_proto::index::{Class, bitmap, bloom};
use tarn_proto::storage::{IndexKey, SegmentKey};
use tarn_proto::{IndexKind, TableSchema};
use tracing::debug;

use crate::Result;
use crate::layout::SegmentFiles;
use crate::record::{IndexFile, IndexRecord};
use crate::segment::write_synced;

/// An index in the making.
pub(super) enum Builder {
    Bitmap(bitmap::Builder),
    Bloom(bloom::Builder),
}

impl Builder {
    pub(super) fn new(kind: IndexKind, class: Class) -> Self {
        match kind {
            IndexKind::Bitmap => Self::Bitmap(bitmap::Builder::new(class)),
            IndexKind::Bloom => Self::Bloom(bloom::Builder::new(class)),
        }
    }

    /// Adds the next rows. The answer is whether their type is the index's.
    pub(super) fn push(&mut self, column: &ArrayRef) -> bool {
        let pushed = match self {
            Self::Bitmap(builder) => builder.push(column),
            Self::Bloom(builder) => builder.push(column),
        };
        pushed.is_ok()
    }

    /// The file's bytes, unless the index would not help.
    pub(super) fn finish(self, segment: SegmentKey, key: IndexKey) -> Option<Vec<u8>> {
        let bytes = match self {
            Self::Bloom(builder) => builder.finish(),
            Self::Bitmap(builder) => match builder.finish() {
                Ok(bytes) => bytes,
                Err(why) => {
                    let SegmentKey { tablet, rowset, segment } = segment;
                    debug!(%tablet, %rowset, segment, column = %key.column, %why, "a segment has no bitmap index");
                    return None;
                }
            },
        };
        // Places within it are kept in 32 bits by those who cache them.
        u32::try_from(bytes.len()).is_ok().then_some(bytes)
    }
}

/// The indexes of a segment in the making.
pub(crate) struct IndexBuilders(Vec<(IndexKey, usize, Option<Builder>)>);

impl IndexBuilders {
    /// Those of the schema's indexes whose columns can be indexed.
    pub(crate) fn new(schema: &TableSchema) -> Self {
        let builders = schema.indexes.iter().filter_map(|index| {
            let position = schema.index_of(index.column)?;
            let class = Class::of(&schema.columns[position].data_type)?;
            let key = IndexKey { column: index.column, kind: index.kind };
            Some((key, position, Some(Builder::new(index.kind, class))))
        });
        Self(builders.collect())
    }

    /// Adds the next rows: all columns of the schema, as segments hold them.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) {
        for (_, position, builder) in &mut self.0 {
            if builder.as_mut().is_some_and(|builder| !builder.push(&columns[*position])) {
                *builder = None;
            }
        }
    }

    /// Writes the files, durably, and tells what to record of them.
    pub(crate) fn finish(self, segment: SegmentKey, files: &SegmentFiles) -> Result<Vec<IndexRecord>> {
        let mut records = Vec::with_capacity(self.0.len());
        for (key, _, builder) in self.0 {
            let file = match builder.and_then(|builder| builder.finish(segment, key)) {
                Some(bytes) => {
                    write_synced(&files.index(key), &bytes)?;
                    Some(file_of(&bytes))
                }
                None => None,
            };
            records.push(IndexRecord { column: key.column, kind: key.kind, file });
        }
        Ok(records)
    }
}

/// What is recorded of a file.
pub(super) fn file_of(bytes: &[u8]) -> IndexFile {
    IndexFile { bytes: bytes.len() as u64, checksum: crc32c::crc32c(bytes) }
}
