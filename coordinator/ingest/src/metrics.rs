//! Metrics of loading.
//!
//! | name | unit | labels |
//! |---|---|---|
//! | `tarn_load_rows_total` | rows | |
//! | `tarn_loads_total` | loads | `outcome`: `visible`, `committed`, `aborted` |
//! | `tarn_load_publish_seconds` | seconds from commit to visible | |

use std::time::Duration;

use metrics::{Unit, describe_counter, describe_histogram};

/// Registers descriptions with the process's recorder.
pub fn describe() {
    describe_counter!("tarn_load_rows_total", "Rows of finished loads");
    describe_counter!("tarn_loads_total", "Finished loads by outcome");
    describe_histogram!(
        "tarn_load_publish_seconds",
        Unit::Seconds,
        "From the commit of a load until its rows are visible"
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
