//! The role's metrics; those of the tablets are `tarn-tablet`'s.
//!
//! | name | kind | unit | labels |
//! |---|---|---|---|
//! | `tarn_storage_compactions_waiting` | gauge | tablets that wait to be compacted | |
//! | `tarn_storage_replication_seconds` | histogram | seconds from a load's seal until enough replicas hold it | `outcome`: `all`, `enough`, `failed` |
//! | `tarn_storage_catch_ups_running` | gauge | replicas that catch up, or wait for their turn | |
//! | `tarn_storage_catch_ups_total` | counter | replicas that caught up, or could not | `outcome`: `done`, `failed` |
//! | `tarn_storage_last_scrub_seconds` | gauge | when the last complete scrub began, seconds since 1970 | |

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Registers descriptions with the process's recorder.
pub(crate) fn describe() {
    describe_gauge!("tarn_storage_compactions_waiting", "Tablets that wait to be compacted");
    describe_histogram!(
        "tarn_storage_replication_seconds",
        Unit::Seconds,
        "Time from a load's seal until enough replicas hold it"
    );
    describe_gauge!("tarn_storage_catch_ups_running", "Replicas that catch up, or wait for their turn");
    describe_counter!("tarn_storage_catch_ups_total", "Replicas that caught up, or could not");
    describe_gauge!("tarn_storage_last_scrub_seconds", Unit::Seconds, "When the last complete scrub began, since 1970");
}

pub(crate) fn replicated(outcome: &'static str, time: Duration) {
    histogram!("tarn_storage_replication_seconds", "outcome" => outcome).record(time);
}

pub(crate) fn catch_ups_running(replicas: usize) {
    gauge!("tarn_storage_catch_ups_running").set(replicas as f64);
}

pub(crate) fn caught_up(done: bool) {
    let outcome = if done { "done" } else { "failed" };
    counter!("tarn_storage_catch_ups_total", "outcome" => outcome).increment(1);
}

pub(crate) fn scrub_passed(began: Duration) {
    gauge!("tarn_storage_last_scrub_seconds").set(began.as_secs_f64());
}

pub(crate) fn compactions_waiting(tablets: usize) {
    gauge!("tarn_storage_compactions_waiting").set(tablets as f64);
}
