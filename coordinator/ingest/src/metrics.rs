//! Metrics of loading.
//!
//! | name | unit | labels |
//! |---|---|---|
//! | `tarn_load_rows_total` | rows | |
//! | `tarn_loads_total` | loads | `outcome`: `visible`, `committed`, `aborted` |
//! | `tarn_load_publish_seconds` | seconds from commit to visible | |
//! | `tarn_load_publish_waiting` | committed loads that are not visible, on the leader | |
//! | `tarn_load_publish_attempts_total` | attempts | `outcome`: `visible`, `waiting` |
//! | `tarn_load_replicas_left_behind_total` | replicas that missed a version and are not read until they have caught up | |

use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Registers descriptions with the process's recorder.
pub fn describe() {
    describe_counter!("tarn_load_rows_total", "Rows of finished loads");
    describe_counter!("tarn_loads_total", "Finished loads by outcome");
    describe_histogram!(
        "tarn_load_publish_seconds",
        Unit::Seconds,
        "From the commit of a load until its rows are visible"
    );
    describe_gauge!("tarn_load_publish_waiting", "Committed loads that are not visible yet");
    describe_counter!("tarn_load_publish_attempts_total", "Attempts to make a committed load visible");
    describe_counter!(
        "tarn_load_replicas_left_behind_total",
        "Replicas that missed a version and are not read until they have caught up"
    );
}

/// Counts a finished load.
pub fn loaded(outcome: &'static str, rows: u64) {
    metrics::counter!("tarn_loads_total", "outcome" => outcome).increment(1);
    metrics::counter!("tarn_load_rows_total").increment(rows);
}

/// Records how long publishing took.
pub fn published(took: Duration) {
    metrics::histogram!("tarn_load_publish_seconds").record(took.as_secs_f64());
}

/// Tells how many committed loads are not visible yet.
pub fn waiting(loads: usize) {
    metrics::gauge!("tarn_load_publish_waiting").set(loads as f64);
}

/// Counts an attempt to make a load visible.
pub fn attempted(visible: bool) {
    let outcome = if visible { "visible" } else { "waiting" };
    metrics::counter!("tarn_load_publish_attempts_total", "outcome" => outcome).increment(1);
}

/// Counts replicas that missed a version.
pub fn left_behind(replicas: usize) {
    metrics::counter!("tarn_load_replicas_left_behind_total").increment(replicas as u64);
}
