//! Some columns of a segment, of all its rows or of chosen ones.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use roaring::{RoaringBitmap, RoaringTreemap};
use tarn_proto::storage::SegmentKey;
use tarn_proto::{Column, segment};
use vortex::error::VortexResult;
use vortex::io::runtime::BlockingRuntime;
use vortex::scan::selection::Selection;

use super::file::SegmentFile;
use super::{Failure, Reader, Split, failed};
use crate::engine::Engine;
use crate::open_segment::OpenSegment;
use crate::record::SegmentRecord;
use crate::{Error, Result};

/// Rows of a batch that is made up for a segment without any of the columns.
const MADE_UP_ROWS: u64 = 65_536;

/// Columns of a segment, batch by batch, as a segment with these columns alone would hold them today.
pub(crate) struct SegmentColumns {
    reader: Reader,
    key: SegmentKey,
    columns: Vec<Column>,
    stored: SchemaRef,
    rows: Rows,
    failure: Failure,
}

enum Rows {
    /// From the file, which counts as open as long.
    Read { splits: std::vec::IntoIter<Split>, _file: SegmentFile },
    /// So many that are older than all the columns.
    MadeUp(u64),
}

impl Reader {
    /// `columns` of a segment's rows in their order, deleted ones too: of the `chosen` ones, or of all. Blocks.
    pub(crate) fn columns(
        &self,
        engine: &Engine,
        key: SegmentKey,
        record: &SegmentRecord,
        columns: Vec<Column>,
        chosen: Option<&RoaringBitmap>,
    ) -> Result<SegmentColumns> {
        let open = engine.open_segment(key, record)?;
        let failure = Failure::default();
        let stored = segment::storage_schema(&columns);
        let rows = chosen.map_or(record.rows, RoaringBitmap::len);
        let chosen = chosen.cloned().map(|rows| RoaringTreemap::from_bitmaps([(0, rows)]));
        let rows = match self.column_splits(open, record, &stored, chosen, &failure) {
            Ok(Some(read)) => read,
            Ok(None) => Rows::MadeUp(rows),
            Err(error) => return Err(failed(key, error, &failure)),
        };
        Ok(SegmentColumns { reader: self.clone(), key, columns, stored, rows, failure })
    }

    /// None if the file has no such column.
    fn column_splits(
        &self,
        open: Arc<OpenSegment>,
        record: &SegmentRecord,
        stored: &SchemaRef,
        chosen: Option<RoaringTreemap>,
        failure: &Failure,
    ) -> VortexResult<Option<Rows>> {
        let file = SegmentFile::open(self, open, record.bytes, failure)?;
        let fields = file.own_fields(self, stored)?;
        if fields.is_empty() {
            return Ok(None);
        }
        let selection = chosen.map_or(Selection::All, Selection::IncludeRoaring);
        let splits = file.scan(self, &fields, failure)?.with_selection(selection).build()?.into_iter();
        Ok(Some(Rows::Read { splits, _file: file }))
    }
}

impl SegmentColumns {
    /// The next rows; none at the end. Blocks.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match &mut self.rows {
            Rows::MadeUp(0) => return Ok(None),
            Rows::MadeUp(left) => {
                let rows = MADE_UP_ROWS.min(*left);
                *left -= rows;
                let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
                RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
                    .map_err(|source| Error::Rows { tablet: self.key.tablet, source })?
            }
            Rows::Read { splits, .. } => loop {
                let Some(split) = splits.next() else { return Ok(None) };
                let read = self.reader.runtime.block_on(split);
                if let Some(batch) = read.map_err(|error| failed(self.key, error, &self.failure))? {
                    break batch;
                }
            },
        };
        let upgraded = segment::upgrade(&self.columns, &self.stored, &batch);
        upgraded.map(Some).map_err(|source| Error::Rows { tablet: self.key.tablet, source })
    }
}
