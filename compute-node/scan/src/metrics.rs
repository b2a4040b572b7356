//! Process-wide metrics of the scan layer. Per-query metrics are in the plan (`EXPLAIN ANALYZE`).
//!
//! | metric | unit | meaning |
//! |---|---|---|
//! | `tarn_scan_cache_hit_bytes_total` | bytes | served from the memory cache |
//! | `tarn_scan_read_bytes_total` | bytes | read from storage nodes (or the disk cache); label `from`: local, remote |
//! | `tarn_scan_failovers_total` | reads | of segments from another replica, as their own was lost |
//! | `tarn_scan_rows_total` | rows | returned by tablet scans |
//! | `tarn_scan_indexes_unusable_total` | indexes | bitmap and bloom indexes that could not be read; the rows were instead |
//! | `tarn_scan_segments_pruned_total` | segments | not read, because statistics or the sort key exclude them |

use metrics::{Unit, counter, describe_counter};

/// Registers descriptions with the process's recorder.
pub(crate) fn describe() {
    describe_counter!("tarn_scan_cache_hit_bytes_total", Unit::Bytes, "Served from the memory cache");
    describe_counter!("tarn_scan_read_bytes_total", Unit::Bytes, "Read from storage nodes or the disk cache");
    describe_counter!("tarn_scan_failovers_total", "Reads of segments from another replica, as their own was lost");
    describe_counter!("tarn_scan_rows_total", "Rows returned by tablet scans");
    describe_counter!("tarn_scan_indexes_unusable_total", "Indexes that could not be read; the rows were read instead");
    describe_counter!(
        "tarn_scan_segments_pruned_total",
        "Segments not read because statistics or the sort key exclude them"
    );
}

pub(crate) fn cache_hit(bytes: usize) {
    counter!("tarn_scan_cache_hit_bytes_total").increment(bytes as u64);
}

pub(crate) fn read(local: bool, bytes: usize) {
    counter!("tarn_scan_read_bytes_total", "from" => if local { "local" } else { "remote" }).increment(bytes as u64);
}

pub(crate) fn failed_over() {
    counter!("tarn_scan_failovers_total").increment(1);
}

pub(crate) fn rows(rows: usize) {
    counter!("tarn_scan_rows_total").increment(rows as u64);
}

pub(crate) fn segment_pruned() {
    counter!("tarn_scan_segments_pruned_total").increment(1);
}

pub(crate) fn index_unusable() {
    counter!("tarn_scan_indexes_unusable_total").increment(1);
}
