//! Cutting segments into morsels.

use std::ops::Range;

use super::merge::Unit;

/// Morsels begin at multiples of this: a zone of every column, and as many rows as Vortex decodes at a time.
const ALIGNMENT_ROWS: u64 = 65_536;

/// The largest morsel. Each one looks at the dynamic filters anew.
const MAX_ROWS: u64 = 1 << 20;

/// Pieces of work per output partition, so that partitions finish together.
pub(super) const PER_PARTITION: u64 = 4;

/// What an output partition does at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Reads rows as they are.
    Rows(Morsel),
    /// Merges rows of several segments.
    Merge(Unit),
}

impl Work {
    /// Rows that are read.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Rows(morsel) => morsel.len(),
            Self::Merge(unit) => unit.rows(),
        }
    }
}

/// Rows of one segment, read by one output partition at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Morsel {
    /// Position of the segment in the scan.
    pub segment: usize,
    /// Positions of rows in the segment.
    pub rows: Range<u64>,
}

impl Morsel {
    /// Its rows.
    pub const fn len(&self) -> u64 {
        self.rows.end.saturating_sub(self.rows.start)
    }
}

/// Cuts segments, given as the row ranges to read of each, into morsels for `partitions` output partitions.
pub(crate) fn cut(segments: &[Range<u64>], partitions: usize) -> Vec<Morsel> {
    let total: u64 = segments.iter().map(|rows| rows.end.saturating_sub(rows.start)).sum();
    let rows = (total / (partitions.max(1) as u64 * PER_PARTITION)).clamp(ALIGNMENT_ROWS, MAX_ROWS);
    let step = rows - rows % ALIGNMENT_ROWS;
    let mut morsels = Vec::new();
    for (segment, rows) in segments.iter().enumerate() {
        let mut start = rows.start;
        while start < rows.end {
            let end = (start - start % ALIGNMENT_ROWS + step).min(rows.end);
            morsels.push(Morsel { segment, rows: start..end });
            start = end;
        }
    }
    morsels
}

/// Keeps the morsels that hold the first `limit` rows, if no row of a morsel is left out. `live` counts a morsel's rows
/// that are not deleted.
pub(crate) fn truncate(morsels: &mut Vec<Morsel>, limit: u64, live: impl Fn(&Morsel) -> u64) {
    let mut left = limit;
    let mut kept = 0;
    for morsel in morsels.iter_mut() {
        if left == 0 {
            break;
        }
        kept += 1;
        let rows = live(morsel);
        if rows == morsel.rows.end - morsel.rows.start && rows > left {
            morsel.rows.end = morsel.rows.start + left;
        }
        left = left.saturating_sub(rows);
    }
    morsels.truncate(kept);
}

/// Deals work to `partitions` in equal shares of rows, each a run of the list.
pub(crate) fn deal<W: Clone>(work: Vec<W>, partitions: usize, rows: impl Fn(&W) -> u64) -> Vec<Vec<W>> {
    let total: u64 = work.iter().map(&rows).sum();
    let share = total.div_ceil(partitions as u64).max(1);
    let mut shares = vec![Vec::new(); partitions];
    let mut before = 0;
    for piece in work {
        let partition = ((before / share) as usize).min(partitions - 1);
        before += rows(&piece);
        shares[partition].push(piece);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec(
            (0u64..3_000_000, 0u64..5_000_000).prop_map(|(start, length)| start..start + length),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn morsels_cover_every_row_once(segments in segments(), partitions in 1usize..9) {
            let morsels = cut(&segments, partitions);
            for (index, rows) in segments.iter().enumerate() {
                let mut next = rows.start;
                for morsel in morsels.iter().filter(|m| m.segment == index) {
                    prop_assert_eq!(morsel.rows.start, next);
                    prop_assert!(morsel.rows.end > next && morsel.rows.end - next <= MAX_ROWS);
                    next = morsel.rows.end;
                }
                prop_assert_eq!(next, rows.end.max(rows.start));
            }
            prop_assert_eq!(deal(morsels.clone(), partitions, Morsel::len).concat(), morsels);
        }

        #[test]
        fn a_limit_keeps_enough_rows_and_no_morsel_more(segments in segments(), limit in 0u64..9_000_000, deleted in 0u64..3) {
            let mut morsels = cut(&segments, 4);
            let live = |m: &Morsel| (m.rows.end - m.rows.start) / (1 + deleted);
            let all: u64 = morsels.iter().map(live).sum();
            truncate(&mut morsels, limit, live);
            let kept: u64 = morsels.iter().map(live).sum();
            prop_assert!(kept >= limit.min(all));
            let (_, rest) = morsels.split_last().map_or((None, &[][..]), |(l, r)| (Some(l), r));
            prop_assert!(rest.iter().map(live).sum::<u64>() < limit.max(1));
        }
    }
}
