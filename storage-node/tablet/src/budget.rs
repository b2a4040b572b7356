//! The node's memory for rows that are not yet in segments: writers reserve before they buffer, flushes give back.

pub(crate) mod shares;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics;

/// A bounded number of bytes.
pub(crate) struct Budget {
    limit: u64,
    used: Mutex<u64>,
    changed: Notify,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: Mutex::new(0), changed: Notify::new() }
    }

    /// Reserves `bytes`; a request above the limit counts as the limit. While the budget is spent, calls `make_room` and
    /// waits until something changed.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: u64, make_room: impl Fn()) -> Reservation {
        let bytes = bytes.min(self.limit);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.try_reserve(bytes) {
                return Reservation { budget: self.clone(), bytes };
            }
            make_room();
            changed.await;
        }
    }

    /// A reservation of nothing, for rows whose memory is bounded otherwise.
    pub(crate) fn uncounted(self: &Arc<Self>) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    fn try_reserve(&self, bytes: u64) -> bool {
        let mut used = self.used.lock();
        let fits = *used + bytes <= self.limit;
        if fits {
            *used += bytes;
            metrics::buffered(*used);
        }
        fits
    }

    fn release(&self, bytes: u64) {
        let mut used = self.used.lock();
        *used -= bytes;
        metrics::buffered(*used);
        drop(used);
        self.changed.notify_waiters();
    }

    /// Wakes those who wait: there may be a buffer to flush now.
    pub(crate) fn touch(&self) {
        self.changed.notify_waiters();
    }

    /// Whether more than half is used.
    pub(crate) fn is_tight(&self) -> bool {
        *self.used.lock() > self.limit / 2
    }
}

/// Reserved bytes, given back when dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// How many.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over another reservation of the same budget.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_spent_budget_makes_writers_wait() {
        let budget = Arc::new(Budget::new(10));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut first = budget.reserve(25, || ()).await;
        assert_eq!(first.bytes(), 10);
        first.bytes = 7;
        let waiting = {
            let (budget, asked) = (budget.clone(), asked.clone());
            tarn_proto::task::spawn("waiting-writer", async move {
                budget
                    .reserve(4, || {
                        asked.fetch_add(1, Ordering::SeqCst);
                    })
                    .await
            })
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while asked.load(Ordering::SeqCst) == 0 && tokio::time::Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        budget.release(3);
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap().bytes(), 4);
        assert_eq!(*budget.used.lock(), 0);
        assert!(asked.load(Ordering::SeqCst) >= 1);
    }
}
