//! The delete vector of a segment, as scans apply it.
//!
//! It is decoded once for each version of a tablet and kept beside the manifest: as a set, which counts rows in ranges,
//! and as one bit a row, which is what the decoder takes. A scan cuts the bits of its rows out of that; rows of which none
//! is deleted cost a count.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::ops::{BitAnd, Range};
use std::sync::Arc;

use parking_lot::Mutex;
use roaring::{RoaringBitmap, RoaringTreemap};
use tarn_proto::wire;
use vortex::array::expr::BoundExpression;
use vortex::array::{Canonical, IntoArray, MaskFuture};
use vortex::buffer::{BitBuffer, BitBufferMut};
use vortex::dtype::{DType, FieldMask};
use vortex::error::VortexResult;
use vortex::layout::{ArrayFuture, LayoutReader, RowSplits, SplitRange};
use vortex::mask::Mask;

/// The deleted rows of a segment.
pub(crate) struct Deleted {
    /// Their positions in the segment.
    pub rows: RoaringTreemap,
    /// A bit for each row of the segment, set unless it is deleted.
    live: BitBuffer,
}

impl Deleted {
    /// Decodes the delete vector of a segment of so many rows.
    fn decode(bytes: &[u8], rows: u64) -> io::Result<Self> {
        let bitmap = RoaringBitmap::deserialize_from(bytes)?;
        let mut live = BitBufferMut::new_set(rows as usize);
        for row in bitmap.iter().take_while(|row| u64::from(*row) < rows) {
            live.unset(row as usize);
        }
        Ok(Self { rows: RoaringTreemap::from_bitmaps([(0, bitmap)]), live: live.freeze() })
    }

    /// Which rows of a range are not deleted.
    fn live(&self, rows: &Range<u64>) -> Mask {
        Mask::from_buffer(self.live.slice(rows.start as usize..rows.end as usize))
    }
}

/// What was decoded of a manifest's delete vectors, by the rowset's id and the segment's number.
#[derive(Default)]
pub(crate) struct DeleteVectors(Mutex<HashMap<(u64, u32), Arc<Deleted>>>);

impl DeleteVectors {
    /// Bytes of memory that these take once all are decoded.
    pub fn weight(manifest: &wire::Manifest) -> usize {
        let segments = manifest.rowsets.iter().flat_map(|rowset| &rowset.segments);
        let weight = |s: &wire::Segment| s.delete_vector.len() + s.rows as usize / 8 + 256;
        segments.filter(|segment| !segment.delete_vector.is_empty()).map(weight).sum()
    }

    /// The delete vector of a segment of the manifest; `None` if it has none.
    pub fn of(&self, rowset: u64, segment: &wire::Segment) -> io::Result<Option<Arc<Deleted>>> {
        if segment.delete_vector.is_empty() {
            return Ok(None);
        }
        let key = (rowset, segment.number);
        if let Some(known) = self.0.lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        let decoded = Arc::new(Deleted::decode(&segment.delete_vector, segment.rows)?);
        Ok(Some(self.0.lock().entry(key).or_insert(decoded).clone()))
    }
}

/// A segment's reader that leaves deleted rows out.
pub(super) struct LiveRows {
    pub inner: Arc<dyn LayoutReader>,
    pub deleted: Arc<Deleted>,
}

impl LiveRows {
    fn of(&self, rows: &Range<u64>, mask: Mask) -> Mask {
        let live = self.deleted.live(rows);
        if live.all_true() { mask } else { mask.bitand(&live) }
    }
}

impl LayoutReader for LiveRows {
    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn dtype(&self) -> &DType {
        self.inner.dtype()
    }

    fn row_count(&self) -> u64 {
        self.inner.row_count()
    }

    fn register_splits(
        &self,
        field_mask: &[FieldMask],
        split_range: &SplitRange,
        splits: &mut RowSplits,
    ) -> VortexResult<()> {
        self.inner.register_splits(field_mask, split_range, splits)
    }

    fn pruning_evaluation(&self, rows: &Range<u64>, expr: &BoundExpression, mask: Mask) -> VortexResult<MaskFuture> {
        // A filter begins with this. What it keeps of deleted rows ends here.
        let live = self.of(rows, mask);
        let kept = self.inner.pruning_evaluation(rows, expr, live.clone())?;
        Ok(MaskFuture::new(live.len(), async move { Ok(live.bitand(&kept.await?)) }))
    }

    fn filter_evaluation(
        &self,
        rows: &Range<u64>,
        expr: &BoundExpression,
        mask: MaskFuture,
    ) -> VortexResult<MaskFuture> {
        self.inner.filter_evaluation(rows, expr, mask)
    }

    fn projection_evaluation(
        &self,
        rows: &Range<u64>,
        expr: &BoundExpression,
        mask: MaskFuture,
    ) -> VortexResult<ArrayFuture> {
        let live = self.deleted.live(rows);
        if live.all_true() {
            return self.inner.projection_evaluation(rows, expr, mask);
        }
        if live.all_false() {
            let nothing = Canonical::empty(expr.dtype()).into_array();
            return Ok(Box::pin(std::future::ready(Ok(nothing))));
        }
        let left = match mask.peek() {
            Some(mask) => MaskFuture::ready(mask.clone().bitand(&live)),
            None => MaskFuture::new(mask.len(), async move { Ok(mask.await?.bitand(&live)) }),
        };
        self.inner.projection_evaluation(rows, expr, left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_say_what_the_delete_vector_says(
            deleted in prop::collection::btree_set(0u32..3000, 0..400),
            rows in 0u64..3000,
            start in 0u64..3000,
            length in 0u64..3000,
        ) {
            let mut bytes = Vec::new();
            deleted.iter().copied().collect::<RoaringBitmap>().serialize_into(&mut bytes).unwrap();
            let decoded = Deleted::decode(&bytes, rows).unwrap();
            let start = start.min(rows);
            let range = start..(start + length).min(rows);
            let expected: Vec<bool> = range.clone().map(|row| !deleted.contains(&(row as u32))).collect();
            let live = decoded.live(&range);
            prop_assert_eq!(live.len(), expected.len());
            prop_assert_eq!((0..live.len()).map(|i| live.value(i)).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_delete_vector_is_decoded_once() {
        let mut bytes = Vec::new();
        RoaringBitmap::from_iter([3u32]).serialize_into(&mut bytes).unwrap();
        let segment = wire::Segment { number: 1, rows: 5, delete_vector: bytes.into(), ..Default::default() };
        let vectors = DeleteVectors::default();
        let first = vectors.of(7, &segment).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &vectors.of(7, &segment).unwrap().unwrap()));
        assert!(!Arc::ptr_eq(&first, &vectors.of(8, &segment).unwrap().unwrap()));
        assert!(vectors.of(9, &wire::Segment { delete_vector: vec![1, 2].into(), ..segment }).is_err());
    }
}
