//! A checksum of a tablet's rows that replicas can compare: it depends on the live rows at a version, and on nothing else
//! that differs between replicas, such as which rowsets hold them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use tarn_proto::storage::RowsChecksum;
use tarn_proto::{TabletId, Version};
use xxhash_rust::xxh3::xxh3_64;

use crate::compaction::Stop;
use crate::engine::Engine;
use crate::tablet::Shape;
use crate::{Error, Result};

impl Engine {
    /// The checksum of a tablet's live rows at a version: after delete vectors, and combined where the model says so. Equal
    /// for replicas that have seen the same schema; sums of floating-point numbers may differ in their last digits, as
    /// they depend on the order of adding. Blocks, and reads all columns.
    pub fn checksum(self: &Arc<Self>, tablet: TabletId, version: Version) -> Result<RowsChecksum> {
        let tablet = self.tablet(tablet)?;
        let refused = |source| Error::Rows { tablet: tablet.id, source };
        let (shape, rows) = self.rows_at(&tablet, version, &Stop::default())?;
        let converter = converter(&shape).map_err(refused)?;
        let mut sum = RowsChecksum::default();
        for batch in rows {
            // What is gone meanwhile is no damage.
            let batch = batch.or_else(|error| tablet.check_kept(version).and(Err(error)));
            let batch = batch.inspect_err(|error| {
                tablet.note_damage(error);
            })?;
            add(&converter, &batch, &mut sum).map_err(refused)?;
        }
        Ok(sum)
    }
}

fn converter(shape: &Shape) -> std::result::Result<RowConverter, ArrowError> {
    let fields = shape.stored.fields().iter().map(|field| SortField::new(field.data_type().clone()));
    RowConverter::new(fields.collect())
}

/// Adds the hashes of rows, each of all its columns.
fn add(converter: &RowConverter, batch: &RecordBatch, sum: &mut RowsChecksum) -> std::result::Result<(), ArrowError> {
    for row in &converter.convert_columns(batch.columns())? {
        sum.rows += 1;
        sum.sum = sum.sum.wrapping_add(xxh3_64(row.as_ref()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn sum(rows: &[(Option<i64>, String)]) -> RowsChecksum {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|(number, _)| *number)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, text)| text)));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        let fields = batch.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        let mut sum = RowsChecksum::default();
        add(&RowConverter::new(fields).unwrap(), &batch, &mut sum).unwrap();
        sum
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_matter_and_every_value_does(
            rows in prop::collection::vec((prop::option::of(any::<i64>()), "[ab]{0,3}"), 1..20),
            at in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = sum(&rows);
            let mut turned = rows.clone();
            turned.rotate_left(cut.index(rows.len()));
            prop_assert_eq!(sum(&turned), whole);
            let mut changed = rows.clone();
            let row = &mut changed[at.index(rows.len())];
            row.0 = row.0.map_or(Some(0), |_| None);
            prop_assert_ne!(sum(&changed), whole);
            let mut fewer = rows.clone();
            fewer.swap_remove(at.index(rows.len()));
            prop_assert_ne!(sum(&fewer), whole);
        }
    }
}
