//! Process-wide metrics of the role. Per-query metrics are in the plan (`EXPLAIN ANALYZE`).
//!
//! | metric | unit | meaning |
//! |---|---|---|
//! | `tarn_compute_tasks_total` | tasks | taken on |
//! | `tarn_compute_tasks_running` | tasks | that have a plan here and have not ended |
//! | `tarn_compute_tasks_refused_total` | tasks | refused, because the node shuts down |
//! | `tarn_compute_memory_reserved_bytes` | bytes | reserved by queries, at the last heartbeat |
//! | `tarn_compute_spilled_bytes` | bytes | spilled to disk and still needed, at the last heartbeat |

use metrics::{counter, gauge};

pub(crate) fn task_started() {
    counter!("tarn_compute_tasks_total").increment(1);
    gauge!("tarn_compute_tasks_running").increment(1);
}

pub(crate) fn task_ended() {
    gauge!("tarn_compute_tasks_running").decrement(1);
}

pub(crate) fn task_refused() {
    counter!("tarn_compute_tasks_refused_total").increment(1);
}

pub(crate) fn memory(reserved: usize, spilled: u64) {
    gauge!("tarn_compute_memory_reserved_bytes").set(reserved as f64);
    gauge!("tarn_compute_spilled_bytes").set(spilled as f64);
}
