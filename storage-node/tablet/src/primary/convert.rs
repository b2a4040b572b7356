//! A segment of a PRIMARY KEY table whose rows have been converted: its keys are the same, its rows may stand in another order.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use roaring::RoaringBitmap;
use tarn_proto::storage::SegmentKey;

use super::key_file::{DELETED, Encoder};
use crate::Error;
use crate::Result;
use crate::codec::Codec;
use crate::engine::Engine;
use crate::record::SegmentRecord;
use crate::segment::{Chunks, KeySource, TemporarySegment, write_sorted};
use crate::sort::sort_order;
use crate::tablet::Shape;

impl Engine {
    /// Writes the converted rows of the segment `source` as the segment `key`. `batches` are those of its rows that are not
    /// in `dead`, in their order. A key that it deletes stays deleted; one whose row is dead is left out, since something
    /// later has decided on it. Blocks.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn write_keyed(
        &self,
        shape: &Shape,
        key: SegmentKey,
        source: SegmentKey,
        segment: &SegmentRecord,
        dead: &RoaringBitmap,
        batches: Vec<RecordBatch>,
        attempt: u64,
    ) -> Result<TemporarySegment> {
        let tablet = key.tablet;
        let refused = move |source: ArrowError| Error::Rows { tablet, source };
        let rows = concat_batches(&shape.stored, &batches).map_err(refused)?;
        drop(batches);
        let sort_key: Vec<ArrayRef> = shape.sort_columns.iter().map(|i| rows.column(*i).clone()).collect();
        let order = match sort_order(&sort_key).map_err(refused)? {
            Some(order) => order,
            None => (0..rows.num_rows() as u32).collect(),
        };
        drop(sort_key);
        // Where each row is in the new segment, by its number among those that live.
        let mut position = vec![DELETED; order.len()];
        for (row, number) in order.iter().zip(0..) {
            position[*row as usize] = number;
        }
        let mut encoder = Encoder::new();
        self.each_entry(source, segment, |entry, row| {
            if row == DELETED {
                encoder.push(entry, DELETED);
            } else if !dead.contains(row) {
                let living = u64::from(row) - dead.range_cardinality(..row);
                encoder.push(entry, position[living as usize]);
            }
            Ok(())
        })?;
        self.dir.create_tablet(tablet)?;
        let count = order.len();
        let (_, columns, _) = rows.into_parts();
        let chunks = Chunks::new(shape.stored.clone(), columns, Some(order), count);
        let chunks = chunks.map(move |batch| batch.map_err(refused));
        write_sorted(&self.dir, &Codec::new(), shape, key, attempt, KeySource::Known(encoder.into()), chunks)
    }
}
