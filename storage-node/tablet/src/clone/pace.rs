//! How fast replicas are copied, and how many at once.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// What may go at once after a pause.
const BURST: Duration = Duration::from_millis(200);

/// Bytes per second for all who share it, and turns for those that copy much. Cheap where there is no limit.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    turns: Semaphore,
    /// When what was taken so far has had its time.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most so many bytes a second, 0 for no limit, and so many turns at once.
    pub fn new(bytes_per_second: u64, at_once: usize) -> Self {
        Self {
            bytes_per_second: (bytes_per_second > 0).then_some(bytes_per_second),
            turns: Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)),
            next: Mutex::new(None),
        }
    }

    /// No limit.
    pub fn unlimited() -> Self {
        Self::new(0, Semaphore::MAX_PERMITS)
    }

    /// Waits for a turn, which lasts until the answer is dropped.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("turns are never closed")
    }

    /// How long to wait before so many bytes may go.
    pub fn delay(&self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let mut next = self.next.lock();
        // What was not used is lost but for a burst.
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = next.unwrap_or(earliest).max(earliest);
        *next = Some(start + Duration::from_secs_f64(bytes as f64 / rate as f64));
        start.saturating_duration_since(now)
    }

    /// Waits until so many bytes may go.
    pub async fn take(&self, bytes: u64) {
        let now = Instant::now();
        let delay = self.delay(bytes, now);
        if !delay.is_zero() {
            tokio::time::sleep_until(now + delay).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_unused_time_is_no_credit() {
        let pace = Pace::new(1000, 1);
        let start = Instant::now() + Duration::from_secs(10);
        let second = Duration::from_secs(1);
        assert_eq!(pace.delay(1000, start), Duration::ZERO);
        assert_eq!(pace.delay(1000, start), second - BURST);
        assert_eq!(pace.delay(1, start), 2 * second - BURST);
        assert_eq!(pace.delay(1000, start + 60 * second), Duration::ZERO);
        assert_eq!(pace.delay(1, start + 60 * second), second - BURST);
        assert_eq!(Pace::unlimited().delay(u64::MAX, start), Duration::ZERO);
    }
}
