//! Which rowsets of a tablet to merge next. Pure.
//!
//! **Rule.** A rowset's *level* is the logarithm, to base [`FAN_IN`], of its size in pages. Only rowsets that are adjacent in
//! merge order are merged, so that "the last row of a key" keeps its meaning. There is something to merge where
//!
//! - [`FAN_IN`] or more adjacent rowsets are of one level: these become one of a higher level; or
//! - a rowset is followed by one of a higher level: it and all before it that are below that level are merged into the
//!   larger, which is rewritten for them.
//!
//! A pick takes in the older neighbours that are below the level of what it makes. The cheapest pick goes first.
//!
//! **What follows from it** (the tests hold it to this):
//! - where nothing is picked, levels never rise from old to new and less than `FAN_IN` rowsets share one: their number is
//!   logarithmic in the size of the tablet, whatever was loaded;
//! - a merge lifts each of its inputs to a higher level, but for a larger rowset that takes in smaller ones before it; after
//!   that no older neighbour is below it, so it happens once to the rows of one load. Rows are rewritten once a level and
//!   once more, at most;
//! - each pick makes the rowsets fewer, and once no cheaper one is left the dearest is picked: nothing waits for ever.

use std::ops::Range;

/// So many rowsets of one level become one.
pub(crate) const FAN_IN: usize = 4;
/// The most rowsets of one merge.
pub(crate) const MAX_INPUTS: usize = 64;
/// The most sorted runs of one merge, a load's segments being one each: bounds its memory and open files.
pub(crate) const MAX_RUNS: usize = 128;
/// Smaller rowsets count as one page: a file costs more than its bytes.
const PAGE_BYTES: u64 = 4096;
/// A rowset is not written anew to get rid of fewer bytes.
const RECLAIM_BYTES: u64 = 1 << 20;

/// Adjacent rowsets to be merged into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Their positions; at most [`MAX_INPUTS`].
    pub inputs: Range<usize>,
    /// What they count for.
    pub bytes: u64,
}

/// The next merge among live rowsets of these sizes in bytes, in merge order; none if they are few enough.
pub(crate) fn step(sizes: &[u64]) -> Option<Pick> {
    let levels: Vec<u32> = sizes.iter().map(|bytes| level(*bytes)).collect();
    let picks = equals(&levels).chain(ascents(&levels)).map(|inputs| widened(sizes, &levels, inputs));
    picks.min_by_key(|pick| (pick.bytes, pick.inputs.start))
}

/// A rowset to be written anew without its deleted rows, if there is one most of whose bytes are theirs: `bytes` with them,
/// `sizes` without. Each byte that is written takes one with it that is not needed.
pub(crate) fn reclaim(bytes: &[u64], sizes: &[u64]) -> Option<Pick> {
    let wasted = |i: &usize| bytes[*i].saturating_sub(sizes[*i]);
    let worth = (0..sizes.len().min(bytes.len())).filter(|i| wasted(i) >= sizes[*i].max(RECLAIM_BYTES));
    worth.max_by_key(wasted).map(|i| Pick { inputs: i..i + 1, bytes: sizes[i] })
}

/// The oldest of a pick's rowsets that have [`MAX_RUNS`] runs together; one alone, which becomes a single run by it, if two
/// have more. `runs` tells how many a rowset has.
pub(crate) fn within_runs(inputs: Range<usize>, runs: impl Fn(usize) -> usize) -> Range<usize> {
    let (mut end, mut total) = (inputs.start, 0);
    while end < inputs.end && total + runs(end) <= MAX_RUNS {
        total += runs(end);
        end += 1;
    }
    if end == inputs.end || end - inputs.start >= 2 {
        return inputs.start..end;
    }
    let next = (inputs.start + 1).min(inputs.end - 1);
    let widest = if runs(next) > runs(inputs.start) { next } else { inputs.start };
    widest..widest + 1
}

fn level(bytes: u64) -> u32 {
    (bytes / PAGE_BYTES).max(1).ilog(FAN_IN as u64)
}

/// The oldest of each [`FAN_IN`] or more rowsets of one level.
fn equals(levels: &[u32]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    levels.chunk_by(|a, b| a == b).filter_map(move |run| {
        let inputs = start..start + run.len().min(MAX_INPUTS);
        start += run.len();
        (run.len() >= FAN_IN).then_some(inputs)
    })
}

/// Each rowset that follows a smaller one, with those below its level before it.
fn ascents(levels: &[u32]) -> impl Iterator<Item = Range<usize>> + '_ {
    (1..levels.len()).filter(|i| levels[i - 1] < levels[*i]).map(|larger| {
        let below = levels[..larger].iter().rev().take(MAX_INPUTS - 1).take_while(|level| **level < levels[larger]);
        larger - below.count()..larger + 1
    })
}

/// With the older neighbours that are below the level of what comes out.
fn widened(sizes: &[u64], levels: &[u32], mut inputs: Range<usize>) -> Pick {
    let mut bytes = sizes[inputs.clone()].iter().fold(0u64, |sum, size| sum.saturating_add(*size));
    while inputs.start > 0 && inputs.len() < MAX_INPUTS && levels[inputs.start - 1] < level(bytes) {
        inputs.start -= 1;
        bytes = bytes.saturating_add(sizes[inputs.start]);
    }
    Pick { inputs, bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weight(bytes: u64) -> u64 {
        bytes.max(PAGE_BYTES)
    }

    /// Rowsets by size and by the first and last load in them.
    #[derive(Default)]
    struct Tablet {
        rowsets: Vec<(u64, Range<usize>)>,
        loads: usize,
        loaded: u64,
        written: u64,
    }

    impl Tablet {
        fn load(&mut self, bytes: u64) {
            self.rowsets.push((bytes, self.loads..self.loads + 1));
            self.loads += 1;
            self.loaded += weight(bytes);
        }

        fn step(&mut self) -> bool {
            let sizes: Vec<u64> = self.rowsets.iter().map(|r| r.0).collect();
            let Some(pick) = step(&sizes) else { return false };
            assert!((2..=MAX_INPUTS).contains(&pick.inputs.len()), "{pick:?}");
            let inputs: Vec<_> = self.rowsets.drain(pick.inputs.clone()).collect();
            let bytes: u64 = inputs.iter().map(|r| r.0).sum();
            assert_eq!(bytes, pick.bytes);
            let covered = inputs[0].1.start..inputs[inputs.len() - 1].1.end;
            self.rowsets.insert(pick.inputs.start, (bytes, covered));
            self.written += weight(bytes);
            true
        }

        fn top(&self) -> u64 {
            u64::from(self.rowsets.iter().map(|r| level(r.0)).max().unwrap_or(0))
        }
    }

    /// Sizes of all magnitudes, equal ones in a row, and patterns that go up and down.
    fn loads() -> impl Strategy<Value = Vec<u64>> {
        let size =
            (0u32..22, 0u64..1 << 20).prop_map(|(magnitude, low)| (1 << magnitude) * 64 + low % (64 << magnitude));
        let some = prop::collection::vec((size, 1usize..40), 1..30);
        let rounds = (prop::collection::vec((0u32..22).prop_map(|m| 100 << m), 1..8), 1usize..60);
        prop_oneof![
            some.prop_map(|runs| runs.into_iter().flat_map(|(size, times)| vec![size; times]).collect()),
            rounds.prop_map(|(pattern, times)| pattern.repeat(times)),
        ]
    }

    proptest! {
        #[test]
        fn few_rowsets_are_left_and_rows_are_rewritten_once_a_level(
            loads in loads(),
            lag in prop::collection::vec(0usize..6, 1..10),
        ) {
            let mut tablet = Tablet::default();
            for (number, bytes) in loads.iter().enumerate() {
                tablet.load(*bytes);
                for _ in 0..lag[number % lag.len()] {
                    tablet.step();
                }
            }
            let before = tablet.rowsets.len();
            let mut steps = 0;
            while tablet.step() {
                steps += 1;
                prop_assert!(steps <= before, "each merge makes the rowsets fewer");
            }
            let levels = tablet.top() + 1;
            prop_assert!(tablet.rowsets.len() as u64 <= (FAN_IN as u64 - 1) * levels, "{:?}", tablet.rowsets);
            // The last term is for rowsets below a page, which can be merged without rising.
            prop_assert!(
                tablet.written <= tablet.loaded * (levels + 2),
                "{} written for {} loaded on {levels} levels", tablet.written, tablet.loaded
            );
            let mut next = 0;
            for (_, covered) in &tablet.rowsets {
                prop_assert_eq!(covered.start, next, "rowsets cover the loads in order");
                next = covered.end;
            }
            prop_assert_eq!(next, loads.len());
        }
    }

    #[test]
    fn rowsets_of_one_size_are_merged_by_four() {
        assert_eq!(step(&[]), None);
        assert_eq!(step(&[10, 10, 10]), None);
        assert_eq!(step(&[10, 10, 10, 10]), Some(Pick { inputs: 0..4, bytes: 40 }));
        let page = PAGE_BYTES;
        assert_eq!(step(&[64 * page, 16 * page, 16 * page, page, page, page]), None);
        let four = [64 * page, 16 * page, page, page, page, page];
        assert_eq!(step(&four), Some(Pick { inputs: 2..6, bytes: 4 * page }));
    }

    #[test]
    fn what_is_small_goes_into_the_larger_that_follows() {
        let page = PAGE_BYTES;
        assert_eq!(step(&[256 * page, page, 64 * page]), Some(Pick { inputs: 1..3, bytes: 65 * page }));
        // The older neighbour comes along if it would be below what comes out.
        assert_eq!(step(&[60 * page, page, 63 * page]), Some(Pick { inputs: 0..3, bytes: 124 * page }));
    }

    #[test]
    fn a_rowset_is_written_anew_when_most_of_it_is_deleted() {
        let mib = 1 << 20;
        assert_eq!(reclaim(&[], &[]), None);
        assert_eq!(reclaim(&[10 * mib, 10 * mib, mib], &[6 * mib, 10 * mib, 1]), None);
        assert_eq!(
            reclaim(&[10 * mib, 9 * mib, 2 * mib], &[5 * mib, 2 * mib, mib]),
            Some(Pick { inputs: 1..2, bytes: 2 * mib })
        );
    }

    #[test]
    fn a_merge_has_a_bounded_number_of_runs_and_rowsets_of_many_are_merged_by_themselves() {
        let within = |runs: &[usize], inputs| within_runs(inputs, |i: usize| runs[i]);
        assert_eq!(within(&[1, 1, 1, 1], 0..4), 0..4);
        assert_eq!(within(&[60, 60, 60, 60], 0..4), 0..2);
        assert_eq!(within(&[9, 100, 100, 9], 1..4), 1..2);
        assert_eq!(within(&[9, 100, 101, 9], 1..4), 2..3);
        assert_eq!(within(&[1, 500, 1, 1], 0..4), 1..2);
        assert_eq!(within(&[500], 0..1), 0..1);
        // Until everything fits.
        let mut runs = vec![300, 1, 200, 90];
        let mut merges = 0;
        while runs.len() > 1 {
            let merged = within(&runs, 0..runs.len());
            runs.splice(merged, [1]);
            merges += 1;
            assert!(merges <= 4, "{runs:?}");
        }
    }

    #[test]
    fn the_cheapest_merge_goes_first() {
        let page = PAGE_BYTES;
        let sizes = [64 * page, 64 * page, 64 * page, 64 * page, page, page, page, page];
        assert_eq!(step(&sizes), Some(Pick { inputs: 4..8, bytes: 4 * page }));
    }

    #[test]
    fn a_long_run_is_merged_in_bounded_pieces_oldest_first() {
        let sizes = vec![PAGE_BYTES; 1000];
        assert_eq!(step(&sizes), Some(Pick { inputs: 0..MAX_INPUTS, bytes: 64 * PAGE_BYTES }));
    }
}
