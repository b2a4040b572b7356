//! Which tablet is compacted next. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tarn_proto::TabletId;

/// After a failure a tablet rests so long, twice as long after each further one.
const FIRST_REST: Duration = Duration::from_secs(10);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// Tablets that want to be compacted, and those that are.
///
/// The tablet with the most sorted runs goes first; each time another was preferred counts as one more, so that every
/// tablet has its turn.
#[derive(Debug)]
pub(super) struct Schedule {
    free: usize,
    /// Tablets that were started.
    turns: u64,
    waiting: BTreeMap<TabletId, Waiting>,
    resting: BTreeMap<TabletId, Resting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    runs: usize,
    /// The turn at which it began to wait.
    since: u64,
    running: bool,
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    failures: u32,
    until: Instant,
}

impl Schedule {
    /// At most `slots` compactions at a time.
    pub(super) const fn new(slots: usize) -> Self {
        Self { free: slots, turns: 0, waiting: BTreeMap::new(), resting: BTreeMap::new() }
    }

    /// A tablet has so many sorted runs and could be compacted, or could not.
    pub(super) fn want(&mut self, tablet: TabletId, runs: Option<usize>) {
        let since = self.turns;
        match (self.waiting.get_mut(&tablet), runs) {
            (Some(waiting), _) if waiting.running => {}
            (Some(waiting), Some(runs)) => waiting.runs = runs,
            (None, Some(runs)) => drop(self.waiting.insert(tablet, Waiting { runs, since, running: false })),
            (_, None) => drop(self.waiting.remove(&tablet)),
        }
    }

    /// The tablet to start with now, if there is one and a slot is free. [`Schedule::finish`] ends it.
    pub(super) fn start(&mut self, now: Instant) -> Option<TabletId> {
        if self.free == 0 {
            return None;
        }
        let rests = |tablet: &TabletId| self.resting.get(tablet).is_some_and(|resting| now < resting.until);
        let ready = self.waiting.iter().filter(|(tablet, waiting)| !waiting.running && !rests(tablet));
        let urgency = |w: &Waiting| w.runs as u64 + (self.turns - w.since);
        let (tablet, _) = ready.max_by_key(|(tablet, waiting)| (urgency(waiting), Reverse(**tablet)))?;
        let tablet = *tablet;
        if let Some(waiting) = self.waiting.get_mut(&tablet) {
            waiting.running = true;
        }
        self.turns += 1;
        self.free -= 1;
        Some(tablet)
    }

    /// A tablet's compaction ended. It waits no more until it is wanted again; after a failure it rests.
    pub(super) fn finish(&mut self, tablet: TabletId, failed: bool, now: Instant) {
        self.waiting.remove(&tablet);
        self.free += 1;
        if !failed {
            self.resting.remove(&tablet);
            return;
        }
        let failures = self.resting.get(&tablet).map_or(0, |resting| resting.failures);
        let rest = FIRST_REST.saturating_mul(1 << failures.min(10)).min(LONGEST_REST);
        self.resting.insert(tablet, Resting { failures: failures + 1, until: now + rest });
    }

    /// When a tablet that waits has rested.
    pub(super) fn next_rested(&self, now: Instant) -> Option<Instant> {
        let waiting = self.waiting.iter().filter(|(_, waiting)| !waiting.running);
        waiting.filter_map(|(tablet, _)| self.resting.get(tablet).map(|r| r.until)).filter(|until| *until > now).min()
    }

    /// Tablets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().filter(|waiting| !waiting.running).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TabletId = TabletId(1);
    const B: TabletId = TabletId(2);
    const C: TabletId = TabletId(3);

    #[test]
    fn the_tablet_with_most_runs_goes_first_and_slots_are_bounded() {
        let now = Instant::now();
        let mut schedule = Schedule::new(2);
        schedule.want(A, Some(4));
        schedule.want(B, Some(40));
        schedule.want(C, Some(9));
        assert_eq!(schedule.start(now), Some(B));
        schedule.want(B, Some(50));
        assert_eq!(schedule.start(now), Some(C), "a tablet is compacted once at a time");
        assert_eq!(schedule.start(now), None);
        schedule.finish(C, false, now);
        assert_eq!(schedule.start(now), Some(A));
        schedule.finish(A, false, now);
        schedule.finish(B, false, now);
        assert_eq!(schedule.start(now), None, "nothing is wanted any more");
    }

    #[test]
    fn every_tablet_has_its_turn() {
        let now = Instant::now();
        let mut schedule = Schedule::new(1);
        schedule.want(A, Some(4));
        let mut turns = 0;
        loop {
            // A busy tablet is wanted with many runs again and again.
            schedule.want(B, Some(100));
            let next = schedule.start(now).unwrap();
            schedule.finish(next, false, now);
            if next == A {
                break;
            }
            turns += 1;
            assert!(turns < 200, "the tablet starves");
        }
        assert!(turns > 0);
    }

    #[test]
    fn a_tablet_that_cannot_be_compacted_rests_longer_each_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(1);
        let mut now = start;
        let mut rests = Vec::new();
        for _ in 0..9 {
            schedule.want(A, Some(4));
            if schedule.start(now).is_none() {
                let rested = schedule.next_rested(now).unwrap();
                rests.push((rested - now).as_secs());
                now = rested;
                assert_eq!(schedule.start(now), Some(A));
            }
            schedule.finish(A, true, now);
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 600, 600]);
        schedule.want(A, Some(4));
        assert_eq!((schedule.start(now), schedule.waiting()), (None, 1));
        schedule.want(A, None);
        assert_eq!((schedule.next_rested(now), schedule.waiting()), (None, 0));
    }
}
