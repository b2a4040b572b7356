//! The role's metrics; those of the tablets are `tarn-tablet`'s.
//!
//! | name | kind | unit | labels |
//! |---|---|---|---|
//! | `tarn_storage_compactions_waiting` | gauge | tablets that wait to be compacted | |

use metrics::{describe_gauge, gauge};

/// Registers descriptions with the process's recorder.
pub(crate) fn describe() {
    describe_gauge!("tarn_storage_compactions_waiting", "Tablets that wait to be compacted");
}

pub(crate) fn compactions_waiting(tablets: usize) {
    gauge!("tarn_storage_compactions_waiting").set(tablets as f64);
}
