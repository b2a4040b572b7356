//! Memory of queries: one pool for the process, and in it one for each query with its own limit.
//!
//! Operators that can spill do so when either limit is reached; others fail the query with a message that names the limit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool};

/// How many operators the message of a failed reservation names.
const TOP_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(3).expect("three is not zero");

/// The pool of a query that may use `limit` bytes of what `process` has.
pub fn query_pool(limit: usize, process: Arc<dyn MemoryPool>) -> Arc<dyn MemoryPool> {
    let pool = QueryPool { limit, used: AtomicUsize::new(0), process };
    Arc::new(TrackConsumersPool::new(pool, TOP_CONSUMERS))
}

/// A query's part of the process's pool.
#[derive(Debug)]
struct QueryPool {
    limit: usize,
    used: AtomicUsize,
    process: Arc<dyn MemoryPool>,
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.process.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.process.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(additional).filter(|total| *total <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|used| {
            resources_datafusion_err!(
                "the query uses {used} of the {} bytes it may use on this node, and needs {additional} more for {}; \
                 raise query_mem_limit",
                self.limit,
                reservation.consumer().name()
            )
        })?;
        self.process.try_grow(reservation, additional).inspect_err(|_| {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query(used: {}, limit: {})", self.reserved(), self.limit)
    }
}
