//! The engine's metrics.
//!
//! | name | kind | unit | labels |
//! |---|---|---|---|
//! | `tarn_tablet_rows_written_total` | counter | rows in segments | |
//! | `tarn_tablet_bytes_written_total` | counter | bytes of segment files | |
//! | `tarn_tablet_segments_written_total` | counter | segments | |
//! | `tarn_tablet_segment_write_seconds` | histogram | seconds to sort, compress and sync a segment | |
//! | `tarn_tablet_rowsets_total` | counter | rowsets | `outcome`: `sealed`, `published`, `aborted` |
//! | `tarn_tablet_publish_seconds` | histogram | seconds | |
//! | `tarn_tablet_bytes_read_total` | counter | bytes read from segment files | |
//! | `tarn_tablet_checksum_failures_total` | counter | damaged blocks and sidecars met | |
//! | `tarn_tablet_buffered_bytes` | gauge | bytes of rows not yet in segments | |
//! | `tarn_tablet_read_only_tablets_total` | counter | tablets that stopped writing | |

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Registers descriptions with the process's recorder.
pub(crate) fn describe() {
    describe_counter!("tarn_tablet_rows_written_total", "Rows written to segments");
    describe_counter!("tarn_tablet_bytes_written_total", Unit::Bytes, "Bytes written to segment files");
    describe_counter!("tarn_tablet_segments_written_total", "Segments written");
    describe_histogram!(
        "tarn_tablet_segment_write_seconds",
        Unit::Seconds,
        "Time to sort, compress and sync a segment"
    );
    describe_counter!("tarn_tablet_rowsets_total", "Rowsets by outcome");
    describe_histogram!("tarn_tablet_publish_seconds", Unit::Seconds, "Time to publish a version of a tablet");
    describe_counter!("tarn_tablet_bytes_read_total", Unit::Bytes, "Bytes read from segment files");
    describe_counter!("tarn_tablet_checksum_failures_total", "Damaged blocks and sidecars met");
    describe_gauge!("tarn_tablet_buffered_bytes", Unit::Bytes, "Rows that are not in segments yet");
    describe_counter!("tarn_tablet_read_only_tablets_total", "Tablets that stopped writing");
}

pub(crate) fn segment_written(rows: u64, bytes: u64, time: Duration) {
    counter!("tarn_tablet_rows_written_total").increment(rows);
    counter!("tarn_tablet_bytes_written_total").increment(bytes);
    counter!("tarn_tablet_segments_written_total").increment(1);
    histogram!("tarn_tablet_segment_write_seconds").record(time);
}

pub(crate) fn rowsets(outcome: &'static str, number: usize) {
    counter!("tarn_tablet_rowsets_total", "outcome" => outcome).increment(number as u64);
}

pub(crate) fn published(time: Duration) {
    histogram!("tarn_tablet_publish_seconds").record(time);
}

pub(crate) fn bytes_read(bytes: u64) {
    counter!("tarn_tablet_bytes_read_total").increment(bytes);
}

pub(crate) fn checksum_failure() {
    counter!("tarn_tablet_checksum_failures_total").increment(1);
}

pub(crate) fn buffered(bytes: u64) {
    gauge!("tarn_tablet_buffered_bytes").set(bytes as f64);
}

pub(crate) fn read_only() {
    counter!("tarn_tablet_read_only_tablets_total").increment(1);
}
