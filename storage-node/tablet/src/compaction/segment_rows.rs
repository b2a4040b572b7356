//! All rows of one segment, deleted ones too, in their order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_proto::SchemaVersion;
use tarn_proto::storage::SegmentKey;

use super::read::{Input, Layout, Opened, Reader, Segment};
use crate::Result;
use crate::engine::Engine;
use crate::record::SegmentRecord;
use crate::tablet::Shape;

/// Rows of a batch.
const ROWS: u64 = 65_536;

/// The rows of a segment.
pub(crate) struct SegmentRows(Input);

impl SegmentRows {
    /// The rows of a segment that was written with this version of the schema, as `shape` lays them out.
    pub(crate) fn new(
        shape: &Arc<Shape>,
        key: SegmentKey,
        record: &SegmentRecord,
        schema_version: SchemaVersion,
    ) -> Self {
        let (rows, record, opened) = (0..record.rows, record.clone(), Opened::default());
        let segment = Segment { key, record, schema_version, rows, deleted: None, opened };
        let layout = Arc::new(Layout::of(shape));
        Self(Input::new(&Reader::new(ROWS), &layout, [segment].into()))
    }

    /// The next rows; none at the end. Blocks.
    pub(crate) fn next(&mut self, engine: &Engine) -> Result<Option<RecordBatch>> {
        self.0.next(engine)
    }
}
