//! What a merge takes while it runs. For operators, and for the tests that hold merges to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef};

use crate::metrics;

/// What one merge takes.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    held: AtomicU64,
    peak: AtomicU64,
    read: AtomicU64,
}

impl Usage {
    /// The most bytes of rows that were in memory at a time: read, and not yet with the segment that is written.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes read of the inputs' files: more than these have, where parts of them are read again and again.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Notes bytes that were read.
    pub(super) fn note_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Memory that a part of a merge holds, until it is dropped.
pub(super) struct Held {
    usage: Arc<Usage>,
    bytes: u64,
}

impl Held {
    /// Nothing yet.
    pub(super) const fn new(usage: Arc<Usage>) -> Self {
        Self { usage, bytes: 0 }
    }

    /// It holds so many bytes now.
    pub(super) fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes >= before {
            let held = self.usage.held.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before);
            self.usage.peak.fetch_max(held, Ordering::Relaxed);
        } else {
            self.usage.held.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        metrics::compaction_memory(before, bytes);
    }

    /// How many bytes it holds.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Memory that arrays keep, with what else lies in their buffers.
pub(super) fn memory_of<'a>(arrays: impl IntoIterator<Item = &'a ArrayRef>) -> u64 {
    arrays.into_iter().map(|array| array.get_array_memory_size() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_was_held_at_the_same_time() {
        let usage = Arc::new(Usage::default());
        let (mut one, mut other) = (Held::new(usage.clone()), Held::new(usage.clone()));
        one.set(10);
        other.set(5);
        one.set(3);
        other.set(8);
        drop(one);
        other.set(9);
        assert_eq!((usage.peak(), usage.held.load(Ordering::Relaxed)), (15, 9));
    }
}
