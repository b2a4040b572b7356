//! Metrics of loading.
//!
//! | name | unit | labels |
//! |---|---|---|
//! | `tarn_load_rows_total` | rows | |
//! | `tarn_loads_total` | loads | `outcome`: `visible`, `committed`, `aborted` |
//! | `tarn_load_publish_seconds` | seconds from commit to visible | |

use std::time::Duration;

/// Counts a finished load.
pub fn loaded(outcome: &'static str, rows: u64) {
    metrics::counter!("tarn_loads_total", "outcome" => outcome).increment(1);
    metrics::counter!("tarn_load_rows_total").increment(rows);
}

/// Records how long publishing took.
pub fn published(took: Duration) {
    metrics::histogram!("tarn_load_publish_seconds").record(took.as_secs_f64());
}
