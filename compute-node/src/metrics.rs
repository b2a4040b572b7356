//! Process-wide metrics of the role. Per-query metrics are in the plan (`EXPLAIN ANALYZE`).
//!
//! | metric | unit | meaning |
//! |---|---|---|
//! | `tarn_compute_tasks_total` | tasks | taken on |
//! | `tarn_compute_tasks_running` | tasks | that have a plan here and have not ended |
//! | `tarn_compute_tasks_refused_total` | tasks | refused, because the node shuts down |
//! | `tarn_compute_memory_reserved_bytes` | bytes | reserved by queries, at the last heartbeat |
//! | `tarn_compute_spilled_bytes` | bytes | spilled to disk and still needed, at the last heartbeat |

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// Registers descriptions with the process's recorder.
pub(crate) fn describe() {
    describe_counter!("tarn_compute_tasks_total", "Tasks taken on");
    describe_gauge!("tarn_compute_tasks_running", "Tasks that have a plan here and have not ended");
    describe_counter!("tarn_compute_tasks_refused_total", "Tasks refused because the node shuts down");
    describe_gauge!(
        "tarn_compute_memory_reserved_bytes",
        Unit::Bytes,
        "Memory reserved by queries at the last heartbeat"
    );
    describe_gauge!(
        "tarn_compute_spilled_bytes",
        Unit::Bytes,
        "Spilled to disk and still needed at the last heartbeat"
    );
}

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
