//! The log in memory: its bounds, and its newest entries, so that what was just appended is readable before it is
//! durable and replication does not read the disk. Pure.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::{LogIdOptionExt, LogState};

use crate::types::{Entry, LogId, TypeConfig};

/// Durable entries beyond this many encoded bytes leave memory, oldest first.
const KEEP_BYTES: usize = 8 << 20;
/// Durable entries beyond this number leave memory, oldest first.
const KEEP_ENTRIES: usize = 4096;

struct Held {
    entry: Entry,
    bytes: usize,
    /// The write that makes it durable.
    write: u64,
}

/// Bounds and newest entries of the log.
pub(super) struct Window {
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Index of the log's first entry.
    first: u64,
    /// Index of the first held entry; everything in the log before it is on disk.
    start: u64,
    held: VecDeque<Held>,
    bytes: usize,
    /// The last write that is durable.
    durable: u64,
}

impl Window {
    /// A log that is all on disk.
    pub fn new(purged: Option<LogId>, last: Option<LogId>) -> Self {
        Self {
            purged,
            last,
            first: purged.next_index(),
            start: last.next_index(),
            held: VecDeque::new(),
            bytes: 0,
            durable: 0,
        }
    }

    pub fn state(&self) -> LogState<TypeConfig> {
        LogState { last_purged_log_id: self.purged, last_log_id: self.last }
    }

    /// Index of the next entry to append.
    pub fn next(&self) -> u64 {
        self.last.next_index()
    }

    /// Adds an entry of `bytes` encoded bytes, durable after `write`.
    pub fn append(&mut self, entry: Entry, bytes: usize, write: u64) {
        if self.last.is_none() {
            (self.first, self.start) = (entry.log_id.index, entry.log_id.index);
        }
        self.last = Some(entry.log_id);
        self.bytes += bytes;
        self.held.push_back(Held { entry, bytes, write });
    }

    /// Drops what comes after `last`, which may be beyond the end.
    pub fn truncate_after(&mut self, last: Option<LogId>) {
        let end = last.max(self.purged).next_index();
        if end >= self.next() {
            return;
        }
        while self.held.back().is_some_and(|h| h.entry.log_id.index >= end) {
            let dropped = self.held.pop_back().expect("just looked at");
            self.bytes -= dropped.bytes;
        }
        self.last = last.max(self.purged);
        self.start = self.start.min(end);
    }

    /// Drops what comes up to `upto`, inclusive. The log may end before it.
    pub fn purge(&mut self, upto: LogId) {
        while self.held.front().is_some_and(|h| h.entry.log_id.index <= upto.index) {
            self.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
        self.first = self.first.max(upto.index + 1);
        self.start = self.start.max(upto.index + 1);
    }

    /// Everything up to `write` is durable: entries beyond the limits leave memory.
    pub fn durable(&mut self, write: u64) {
        self.durable = self.durable.max(write);
        while self.bytes > KEEP_BYTES || self.held.len() > KEEP_ENTRIES {
            match self.held.front() {
                Some(h) if h.write <= self.durable => self.pop_front(),
                _ => break,
            }
        }
    }

    /// Splits a range of indexes, cut to what the log holds, into the part that must be read from disk and the entries
    /// that follow it.
    pub fn read(&self, range: Range<u64>) -> (Range<u64>, impl Iterator<Item = &Entry>) {
        let from = range.start.max(self.first);
        let to = range.end.min(self.next()).max(from);
        let disk = from.min(self.start)..to.min(self.start);
        let skip = usize::try_from(from.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let take = usize::try_from(to.saturating_sub(from.max(self.start))).unwrap_or(usize::MAX);
        (disk, self.held.iter().skip(skip).take(take).map(|h| &h.entry))
    }

    fn pop_front(&mut self) {
        if let Some(dropped) = self.held.pop_front() {
            self.bytes -= dropped.bytes;
            self.start = dropped.entry.log_id.index + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;
    use openraft::vote::leader_id_std::CommittedLeaderId;
    use proptest::prelude::*;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { leader_id: CommittedLeaderId::new(term), index }
    }

    fn filled(range: Range<u64>) -> Window {
        let mut window = Window::new(None, None);
        for (write, index) in range.enumerate() {
            window.append(Entry::new_blank(id(1, index)), 10, write as u64 + 1);
        }
        window
    }

    fn indexes(window: &Window, range: Range<u64>) -> (Range<u64>, Vec<u64>) {
        let (disk, tail) = window.read(range);
        (disk, tail.map(|e| e.log_id.index).collect())
    }

    #[test]
    fn entries_are_held_until_they_are_durable() {
        let many = KEEP_ENTRIES as u64 + 10;
        let mut window = filled(0..many);
        assert_eq!(indexes(&window, 0..3), (0..0, vec![0, 1, 2]));
        window.durable(5);
        assert_eq!(indexes(&window, 3..7), (3..5, vec![5, 6]));
        window.durable(many);
        assert_eq!(indexes(&window, 8..12), (8..10, vec![10, 11]));
    }

    #[test]
    fn truncated_entries_come_back_from_the_new_leader() {
        let mut window = filled(0..10);
        window.truncate_after(Some(id(1, 3)));
        assert_eq!(window.next(), 4);
        window.append(Entry::new_blank(id(2, 4)), 10, 11);
        // The first writes are durable, the one that replaced them is not.
        window.durable(10);
        assert_eq!(indexes(&window, 0..10), (0..0, vec![0, 1, 2, 3, 4]));
        window.truncate_after(None);
        assert_eq!(indexes(&window, 0..10), (0..0, vec![]));
    }

    #[test]
    fn a_purge_beyond_the_end_moves_the_end() {
        let mut window = filled(0..10);
        window.purge(id(2, 50));
        assert_eq!(window.next(), 51);
        assert_eq!(indexes(&window, 0..100), (51..51, vec![]));
        window.append(Entry::new_blank(id(2, 51)), 10, 11);
        assert_eq!(indexes(&window, 0..100), (51..51, vec![51]));
    }

    proptest! {
        #[test]
        fn a_read_is_the_requested_part_of_the_log_without_holes(
            on_disk in 0u64..20, appended in 0u64..20, purge in 0u64..40, from in 0u64..50, length in 0u64..50,
        ) {
            let last = on_disk.checked_sub(1).map(|i| id(1, i));
            let mut window = Window::new(None, last);
            for index in on_disk..on_disk + appended {
                window.append(Entry::new_blank(id(1, index)), 10, 1);
            }
            if purge > 0 && purge <= on_disk + appended {
                window.purge(id(1, purge - 1));
            }
            let (disk, tail) = indexes(&window, from..from + length);
            let got: Vec<u64> = disk.chain(tail).collect();
            let low = if purge <= on_disk + appended { purge } else { 0 };
            let expected: Vec<u64> = (from..from + length).filter(|i| (low..on_disk + appended).contains(i)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
