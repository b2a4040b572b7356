//! An input of a merge by groups of columns, taken slab by slab.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use roaring::{RoaringBitmap, RoaringTreemap};

use super::super::merge::Run;
use super::super::read::Segment;

/// An input's segments that have rows for later slabs, with how many rows of each are not deleted.
pub(super) struct Segments {
    segments: VecDeque<(Segment, u64)>,
    /// Rows of the first that earlier slabs have taken.
    taken: u64,
}

impl Segments {
    /// All of them.
    pub(super) fn new(run: Run) -> Self {
        let counted = |segment: Segment| {
            let live = segment.record.rows - segment.deleted.as_ref().map_or(0, |deleted| deleted.len());
            (segment, live)
        };
        Self { segments: run.into_iter().map(counted).collect(), taken: 0 }
    }

    /// The next rows that are not deleted, as rows of segments. A segment without further ones is let go, and its file with
    /// the last read of them.
    pub(super) fn take(&mut self, rows: u64) -> Run {
        let mut left = rows;
        let mut chosen = VecDeque::new();
        while left > 0
            && let Some((segment, live)) = self.segments.front()
        {
            let end = (self.taken + left).min(*live);
            if end > self.taken {
                let rows = nth(segment, self.taken)..nth(segment, end - 1) + 1;
                let deleted = segment.deleted.as_deref().and_then(|deleted| within(deleted, &rows));
                chosen.push_back(Segment { rows, deleted, ..segment.clone() });
            }
            left -= end - self.taken;
            self.taken = end;
            if end == *live {
                self.segments.pop_front();
                self.taken = 0;
            }
        }
        chosen
    }
}

/// The deleted ones of these rows, if there are any. A segment has at most 2^32 rows.
fn within(deleted: &RoaringTreemap, rows: &Range<u64>) -> Option<Arc<RoaringTreemap>> {
    let (_, all) = deleted.bitmaps().next()?;
    let (start, last) = (u32::try_from(rows.start).ok()?, u32::try_from(rows.end.checked_sub(1)?).unwrap_or(u32::MAX));
    let these: RoaringBitmap = all.range(start..=last).collect();
    (!these.is_empty()).then(|| Arc::new(RoaringTreemap::from_bitmaps([(0, these)])))
}

/// The number of a segment's row, counted from 0 without deleted ones, among all of its rows.
fn nth(segment: &Segment, row: u64) -> u64 {
    let Some(deleted) = &segment.deleted else { return row };
    // The first row that has `row + 1` live ones up to it.
    let live = |to: u64| to + 1 - deleted.rank(to);
    let (mut least, mut most) = (row, segment.record.rows.saturating_sub(1));
    while least < most {
        let middle = least + (most - least) / 2;
        if live(middle) > row { most = middle } else { least = middle + 1 }
    }
    least
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tarn_proto::storage::SegmentKey;
    use tarn_proto::{RowsetId, SchemaVersion, TabletId};

    use super::*;
    use crate::compaction::read::Opened;
    use crate::record::SegmentRecord;

    proptest! {
        #[test]
        fn rows_are_counted_without_deleted_ones(
            segments in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..40), 0..5),
            slabs in prop::collection::vec(1u64..50, 1..10),
        ) {
            let segment = |(number, rows): (usize, &Vec<bool>)| {
                let deleted: RoaringTreemap = (0u64..).zip(rows).filter(|(_, dead)| **dead).map(|(row, _)| row).collect();
                let record = SegmentRecord { rows: rows.len() as u64, bytes: 0, checksum: 0, indexes: Vec::new() };
                let key = SegmentKey { tablet: TabletId(1), rowset: RowsetId(1), segment: number as u32 };
                let rows = 0..record.rows;
                let deleted = Some(Arc::new(deleted)).filter(|deleted| !deleted.is_empty());
                let (schema_version, opened) = (SchemaVersion(1), Opened::default());
                Segment { key, record, schema_version, rows, deleted, opened }
            };
            let expected: Vec<(usize, u64)> = segments
                .iter()
                .enumerate()
                .flat_map(|(number, rows)| {
                    (0u64..).zip(rows).filter(|(_, dead)| !**dead).map(move |(row, _)| (number, row))
                })
                .collect();
            let mut run = Segments::new(segments.iter().enumerate().map(segment).collect());
            let (mut got, mut taken) = (Vec::new(), 0);
            for rows in slabs {
                let rows = rows.min(expected.len() as u64 - taken);
                for part in run.take(rows) {
                    let dead = part.deleted.clone().unwrap_or_default();
                    prop_assert!(dead.iter().all(|row| part.rows.contains(&row)));
                    got.extend(part.rows.filter(|row| !dead.contains(*row)).map(|row| (part.key.segment as usize, row)));
                }
                taken += rows;
            }
            prop_assert_eq!(&got[..], &expected[..taken as usize]);
        }
    }
}
