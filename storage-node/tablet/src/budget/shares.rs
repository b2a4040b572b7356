//! Memory of work on threads that block: each piece takes its share at once and gives it back at its end.
//!
//! Who waits gets its turn in the order of the calls, so that small shares do not keep a large one waiting for ever.
//!
//! **No deadlock**, as long as callers keep to two rules: a thread has one share at a time, and waits for one only while it
//! holds nothing that a holder of a share waits for. Then whoever has a share comes to its end, and the first in the queue,
//! whose share is at most all there is, gets it when the others have ended.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::metrics;

/// A bounded number of bytes.
#[derive(Debug)]
pub(crate) struct Shares {
    limit: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    peak: u64,
    /// Who waits, first to last.
    queue: VecDeque<u64>,
    next: u64,
}

/// Bytes that are given back when dropped.
#[derive(Debug)]
#[must_use = "the memory is given back at once"]
pub(crate) struct Share<'a> {
    shares: &'a Shares,
    bytes: u64,
}

impl Shares {
    /// `limit` bytes in all.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: limit.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes `bytes`, or all there are if that is less. Blocks while they are not there; nothing is there at once.
    pub(crate) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.limit);
        if bytes == 0 {
            return Share { shares: self, bytes };
        }
        let mut state = self.state.lock();
        if !state.queue.is_empty() || state.used + bytes > self.limit {
            let started = Instant::now();
            let turn = state.next;
            state.next += 1;
            state.queue.push_back(turn);
            while state.queue.front() != Some(&turn) || state.used + bytes > self.limit {
                self.changed.wait(&mut state);
            }
            state.queue.pop_front();
            // The next one may have room, too.
            self.changed.notify_all();
            metrics::publish_waited(started.elapsed());
        }
        state.used += bytes;
        state.peak = state.peak.max(state.used);
        metrics::publish_memory(state.used);
        Share { shares: self, bytes }
    }

    /// The most bytes that were taken at a time.
    #[cfg(test)]
    pub(crate) fn peak(&self) -> u64 {
        self.state.lock().peak
    }
}

impl Share<'_> {
    /// How many.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.shares.state.lock();
        state.used -= self.bytes;
        metrics::publish_memory(state.used);
        drop(state);
        self.shares.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn threads_never_have_more_than_there_is_and_all_come_to_an_end() {
        const LIMIT: u64 = 100;
        const THREADS: u64 = 8;
        let (shares, used, start) = (Shares::new(LIMIT), AtomicU64::new(0), Barrier::new(THREADS as usize));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (shares, used, start) = (&shares, &used, &start);
                scope.spawn(move || {
                    start.wait();
                    for turn in 0..500 {
                        let share = shares.take((thread * 31 + turn * 17) % 130);
                        let now = used.fetch_add(share.bytes(), Ordering::SeqCst) + share.bytes();
                        assert!(now <= LIMIT, "{now}");
                        thread::yield_now();
                        used.fetch_sub(share.bytes(), Ordering::SeqCst);
                    }
                });
            }
        });
        let state = shares.state.lock();
        assert_eq!((state.used, state.queue.len()), (0, 0));
        assert!(state.peak <= LIMIT && state.peak > LIMIT / 2, "{}", state.peak);
    }

    #[test]
    fn a_large_share_has_its_turn_before_small_ones_that_come_later() {
        let shares = Shares::new(10);
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let first = shares.take(6);
            for (waiting, bytes) in [(1, 1000), (2, 1)] {
                let (shares, order) = (&shares, &order);
                scope.spawn(move || {
                    let share = shares.take(bytes);
                    order.lock().push(share.bytes());
                });
                while shares.state.lock().queue.len() < waiting {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*order.lock(), [10, 1]);
    }
}
