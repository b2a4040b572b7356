//! Compactions that somebody asks for: all rowsets of a tablet to one, or those after the largest.
//!
//! A request is a goal, not a job: as long as it is not reached each compaction of the tablet takes what it needs, at most
//! as much at a time as any other does. What is loaded after the request does not count. It is reached when the rowsets it is
//! about are one, in one run and without deleted rows, or when the rest cannot be read; it is forgotten when the node
//! stops.

use std::ops::Range;

use tarn_proto::storage::CompactionScope;
use tarn_proto::wire::CompactionReport;
use tarn_proto::{TabletId, Version};

use super::pick;
use crate::engine::Engine;
use crate::{Error, Result};

/// What a tablet was asked to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its version when it was asked: later loads do not count.
    pub until: Version,
    /// Of which rowsets.
    pub scope: CompactionScope,
}

/// A live rowset, as far as a request is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The version that it stands for.
    pub version: Version,
    /// Bytes of rows that are not deleted.
    pub bytes: u64,
    /// Sorted runs: segments of a load, one of a compaction.
    pub runs: usize,
    /// Whether some of its rows are deleted.
    pub has_deleted: bool,
    /// Whether it can be read.
    pub is_readable: bool,
}

/// The next merge that a request needs among live rowsets in merge order; none once it is reached.
pub(super) fn next(parts: &[Part], request: Request) -> Option<Range<usize>> {
    let end = parts.iter().take_while(|part| part.version <= request.until).count();
    let base = match request.scope {
        CompactionScope::All => 0,
        // Everything if nothing was compacted yet: there is no base then.
        CompactionScope::Recent => {
            let largest = (0..end).max_by_key(|i| (parts[*i].bytes, std::cmp::Reverse(*i)));
            largest.filter(|i| parts[*i].runs == 1).map_or(0, |largest| largest + 1)
        }
    };
    let of = &parts[base.min(end)..end];
    let mut start = base;
    of.split(|part| !part.is_readable).find_map(|run| {
        let first = start;
        start += run.len() + 1;
        let step = match run {
            [] => return None,
            [one] => (one.runs > 1 || one.has_deleted).then_some(0..1)?,
            many => step(many),
        };
        Some(first + step.start..first + step.end)
    })
}

/// As many adjacent rowsets as one merge takes, those of fewest bytes: so that the large ones are not written again and
/// again. If these have too many runs together, those of several runs become one of one run first.
fn step(parts: &[Part]) -> Range<usize> {
    let width = parts.len().min(pick::MAX_INPUTS);
    let window = |start: usize| &parts[start..start + width];
    let bytes = |start: &usize| window(*start).iter().map(|part| part.bytes).sum::<u64>();
    let start = (0..=parts.len() - width).min_by_key(bytes).unwrap_or_default();
    if window(start).iter().map(|part| part.runs).sum::<usize>() <= pick::MAX_RUNS {
        return start..start + width;
    }
    let first = start + window(start).iter().position(|part| part.runs > 1).unwrap_or_default();
    let mut total = 0;
    let fits = |part: &&Part| {
        total += part.runs;
        part.runs > 1 && total <= pick::MAX_RUNS
    };
    let many = parts[first..start + width].iter().take_while(fits).count();
    first..first + many.max(1)
}

impl Engine {
    /// Asks for the compaction of tablets, in the background; those that are not here are skipped. Replaces what was asked
    /// for before.
    pub fn request_compaction(&self, tablets: &[TabletId], scope: CompactionScope) -> Result<()> {
        if !self.options.compacts {
            return Err(Error::CompactionOff);
        }
        for tablet in tablets.iter().filter_map(|id| self.tablet(*id).ok()) {
            tablet.check_writable()?;
            let until = tablet.state.read().version;
            *tablet.requested.lock() = Some(Request { until, scope });
            // What could not be read may have been repaired.
            tablet.unmergeable.lock().clear();
            self.note_changed(tablet.id);
        }
        Ok(())
    }

    /// Compactions that were asked for and wait, that run, and that ended lately.
    pub fn compactions(&self) -> Vec<CompactionReport> {
        let tablets = self.all_tablets();
        let waits = tablets.iter().filter(|tablet| {
            let is_asked_for = tablet.requested.lock().is_some();
            is_asked_for && !tablet.compacting.load(std::sync::atomic::Ordering::Relaxed)
        });
        self.history.reports(waits.map(|tablet| tablet.id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(version: u64, bytes: u64, runs: usize) -> Part {
        Part { version: Version(version), bytes, runs, has_deleted: false, is_readable: true }
    }

    fn request(until: u64, scope: CompactionScope) -> Request {
        Request { until: Version(until), scope }
    }

    #[test]
    fn all_that_was_there_becomes_one_and_what_came_later_stays() {
        let parts = [part(2, 500, 1), part(3, 1, 1), part(4, 1, 1), part(5, 1, 1)];
        assert_eq!(next(&parts, request(4, CompactionScope::All)), Some(0..3));
        assert_eq!(next(&parts, request(4, CompactionScope::Recent)), Some(1..3));
        let merged = [part(4, 502, 1), part(5, 1, 1)];
        assert_eq!(next(&merged, request(4, CompactionScope::All)), None);
        assert_eq!(next(&merged, request(4, CompactionScope::Recent)), None);
        assert_eq!(next(&[], request(4, CompactionScope::Recent)), None);
    }

    #[test]
    fn one_rowset_is_written_again_if_it_has_runs_or_deleted_rows() {
        let all = request(9, CompactionScope::All);
        assert_eq!(next(&[part(4, 1, 3)], all), Some(0..1));
        assert_eq!(next(&[Part { has_deleted: true, ..part(4, 1, 1) }], all), Some(0..1));
        assert_eq!(next(&[part(4, 1, 1)], all), None);
        assert_eq!(next(&[part(2, 9, 3), part(3, 1, 1)], request(9, CompactionScope::Recent)), Some(0..2));
    }

    #[test]
    fn what_cannot_be_read_stays_and_parts_its_neighbours() {
        let broken = Part { is_readable: false, ..part(4, 1, 1) };
        let parts = [part(2, 1, 1), broken, part(5, 1, 1), part(6, 1, 1)];
        assert_eq!(next(&parts, request(9, CompactionScope::All)), Some(2..4));
        assert_eq!(next(&[part(2, 1, 1), broken, part(6, 1, 1)], request(9, CompactionScope::All)), None);
    }

    proptest! {
        #[test]
        fn every_request_is_reached_and_writes_no_byte_often(
            parts in prop::collection::vec((0u64..1 << 30, 1usize..200), 0..400),
            until in 0u64..420,
            recent in any::<bool>(),
        ) {
            let mut parts: Vec<Part> = parts.iter().zip(2..).map(|((bytes, runs), v)| part(v, *bytes, *runs)).collect();
            let scope = if recent { CompactionScope::Recent } else { CompactionScope::All };
            let request = request(until, scope);
            let total: u64 = parts.iter().map(|part| part.bytes).sum();
            let (mut steps, mut written) = (0, 0);
            while let Some(inputs) = next(&parts, request) {
                prop_assert!(!inputs.is_empty() && inputs.len() <= pick::MAX_INPUTS);
                prop_assert!(parts[inputs.end - 1].version <= request.until);
                let merged: Vec<Part> = parts.drain(inputs.clone()).collect();
                let bytes = merged.iter().map(|part| part.bytes).sum();
                written += bytes;
                parts.insert(inputs.start, part(merged[merged.len() - 1].version.get(), bytes, 1));
                steps += 1;
                prop_assert!(steps < 2000, "it never ends");
            }
            let left = parts.iter().filter(|part| part.version <= request.until).count();
            prop_assert!(recent || left <= 1, "{left} rowsets are left");
            prop_assert!(written <= total * 16, "{written} of {total}");
        }
    }
}
