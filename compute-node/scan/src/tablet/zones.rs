//! Counts the rows that zone maps leave out, of whole files and of pages.

use std::any::Any;
use std::ops::{BitAnd, Range};
use std::sync::Arc;

use datafusion::physical_plan::metrics::Count;
use vortex::array::MaskFuture;
use vortex::array::expr::BoundExpression;
use vortex::dtype::{DType, FieldMask};
use vortex::error::VortexResult;
use vortex::layout::{ArrayFuture, LayoutReader, RowSplits, SplitRange};
use vortex::mask::Mask;

/// A reader that counts.
pub(super) struct CountedZones {
    pub inner: Arc<dyn LayoutReader>,
    pub rows: Count,
}

impl LayoutReader for CountedZones {
    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
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

    fn pruning_evaluation(
        &self,
        row_range: &Range<u64>,
        expr: &BoundExpression,
        mask: Mask,
    ) -> VortexResult<MaskFuture> {
        let pruned = self.inner.pruning_evaluation(row_range, expr, mask.clone())?;
        let rows = self.rows.clone();
        Ok(MaskFuture::new(mask.len(), async move {
            let kept = pruned.await?;
            rows.add(mask.true_count() - mask.bitand(&kept).true_count());
            Ok(kept)
        }))
    }

    fn filter_evaluation(
        &self,
        row_range: &Range<u64>,
        expr: &BoundExpression,
        mask: MaskFuture,
    ) -> VortexResult<MaskFuture> {
        self.inner.filter_evaluation(row_range, expr, mask)
    }

    fn projection_evaluation(
        &self,
        row_range: &Range<u64>,
        expr: &BoundExpression,
        mask: MaskFuture,
    ) -> VortexResult<ArrayFuture> {
        self.inner.projection_evaluation(row_range, expr, mask)
    }
}
