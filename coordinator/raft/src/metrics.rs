//! Metrics of the replicated catalog.
//!
//! | name | unit | meaning |
//! |---|---|---|
//! | `tarn_raft_append_seconds` | seconds | from the request to append log entries until they are durable |
//! | `tarn_raft_flush_requests` | requests | log writes that one fsync made durable |
//! | `tarn_raft_flush_seconds` | seconds | one write with fsync |
//! | `tarn_raft_applied_index` | log index | last entry in the catalog |
//! | `tarn_raft_term` | term | current term |
//! | `tarn_raft_is_leader` | 0 or 1 | whether this coordinator leads |
//! | `tarn_raft_leader_changes_total` | changes | leaders this coordinator has seen come |
//! | `tarn_raft_snapshots_total` | snapshots | label `kind`: `built`, `installed` |

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::Leadership;

/// Registers descriptions with the process's recorder.
pub(crate) fn describe() {
    describe_histogram!(
        "tarn_raft_append_seconds",
        Unit::Seconds,
        "From the request to append log entries until they are durable"
    );
    describe_histogram!("tarn_raft_flush_requests", "Log writes that one fsync made durable");
    describe_histogram!("tarn_raft_flush_seconds", Unit::Seconds, "One log write with fsync");
    describe_gauge!("tarn_raft_applied_index", "Log index of the last entry in the catalog");
    describe_gauge!("tarn_raft_term", "Current term");
    describe_gauge!("tarn_raft_is_leader", "1 on the coordinator that leads, else 0");
    describe_counter!("tarn_raft_leader_changes_total", "Leaders this coordinator has seen come");
    describe_counter!("tarn_raft_snapshots_total", "Catalog snapshots built and installed");
}

pub(crate) fn appended(after: Duration) {
    histogram!("tarn_raft_append_seconds").record(after.as_secs_f64());
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn flushed(requests: usize, took: Duration) {
    histogram!("tarn_raft_flush_requests").record(requests as f64);
    histogram!("tarn_raft_flush_seconds").record(took.as_secs_f64());
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn applied(index: u64) {
    gauge!("tarn_raft_applied_index").set(index as f64);
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn leadership(before: &Leadership, now: &Leadership) {
    gauge!("tarn_raft_term").set(now.term as f64);
    gauge!("tarn_raft_is_leader").set(if now.is_self { 1.0 } else { 0.0 });
    if now.leader.is_some() && now.leader != before.leader {
        counter!("tarn_raft_leader_changes_total").increment(1);
    }
}

pub(crate) fn snapshot(kind: &'static str) {
    counter!("tarn_raft_snapshots_total", "kind" => kind).increment(1);
}
