//! The engine's metrics.
//!
//! | name | kind | unit | labels |
//! |---|---|---|---|
//! | `tarn_tablet_rows_written_total` | counter | rows in segments | |
//! | `tarn_tablet_bytes_written_total` | counter | bytes of segment files | |
//! | `tarn_tablet_segments_written_total` | counter | segments | |
//! | `tarn_tablet_segment_write_seconds` | histogram | seconds to sort, compress and sync a segment | |
//! | `tarn_tablet_rowsets_total` | counter | rowsets | `outcome`: `sealed`, `copied`, `published`, `aborted` |
//! | `tarn_tablet_publish_seconds` | histogram | seconds | |
//! | `tarn_tablet_publish_step_seconds` | histogram | seconds | `step`: `prepare`, `lock`, `plan`, `write`, `index` |
//! | `tarn_tablet_publish_memory_bytes` | gauge | bytes that publishes take of the memory that there is for them | |
//! | `tarn_tablet_publish_memory_wait_seconds` | histogram | seconds that a publish waited for its part of it | |
//! | `tarn_tablet_bytes_read_total` | counter | bytes read from segment files | |
//! | `tarn_tablet_checksum_failures_total` | counter | damaged blocks and sidecars met | |
//! | `tarn_tablet_buffered_bytes` | gauge | bytes of rows not yet in segments | |
//! | `tarn_tablet_primary_keys_looked_up_total` | counter | keys looked up in the primary-key index | |
//! | `tarn_tablet_primary_keys_merged_total` | counter | keys of tablets that large loads were compared with instead | |
//! | `tarn_tablet_primary_rows_replaced_total` | counter | rows that loads replaced or deleted by key | |
//! | `tarn_tablet_primary_index_bytes` | gauge | bytes in memory of the primary-key index | |
//! | `tarn_tablet_primary_rowsets_entered_again_total` | counter | rowsets that the index had lost or not seen | |
//! | `tarn_tablet_primary_index_made_total` | counter | times the index was made anew | |
//! | `tarn_tablet_compactions_total` | counter | compactions | `outcome`: `done`, `failed`, `stopped` |
//! | `tarn_tablet_compacted_rowsets_total` | counter | rowsets that compactions merged | |
//! | `tarn_tablet_compaction_bytes_total` | counter | bytes of segment files, read as often as they are | `direction`: `read`, `written` |
//! | `tarn_tablet_compaction_memory_bytes` | gauge | bytes of rows that compactions hold | |
//! | `tarn_tablet_compaction_peak_bytes` | histogram | the most that one compaction held | |
//! | `tarn_tablet_compaction_column_groups_total` | counter | groups of columns that wide tables were merged by | |
//! | `tarn_tablet_compaction_seconds` | histogram | seconds of a compaction | |
//! | `tarn_tablet_open_inputs` | gauge | segment files that compactions, updates and conversions read rows of | |
//! | `tarn_tablet_superseded_rowsets_removed_total` | counter | compacted rowsets whose files went | |
//! | `tarn_tablet_load_wait_seconds` | histogram | seconds that a load waited for a tablet of too many rowsets | |
//! | `tarn_tablet_indexes_made_total` | counter | bitmap and bloom indexes made for segments that lacked them | |
//! | `tarn_tablet_copied_bytes_total` | counter | bytes of files fetched from other replicas | |
//! | `tarn_tablet_caught_up_total` | counter | what a replica fetched to be as the others | `by`: `rowset`, `clone`, `repair` |
//! | `tarn_tablet_scrubbed_bytes_total` | counter | bytes of files compared with their checksums in the background | |
//! | `tarn_tablet_damaged_rowsets_total` | counter | rowsets found to be damaged, by reads and by the scrubber | |
//! | `tarn_tablet_read_only_tablets_total` | counter | tablets that stopped writing | |
//! | `tarn_tablet_disk_level` | gauge | 0: there is room, 1: low, 2: full, loads are refused | |
//! | `tarn_tablet_disk_refusals_total` | counter | loads, compactions and clones refused for want of space | |

use std::time::{Duration, Instant};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::compaction::Compacted;
use crate::disk::DiskLevel;

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
    describe_histogram!(
        "tarn_tablet_publish_step_seconds",
        Unit::Seconds,
        "Time of a step of a publish: what is done before, waiting for locks, rows to replace, metadata, the index"
    );
    describe_gauge!("tarn_tablet_publish_memory_bytes", Unit::Bytes, "Memory that publishes take of what they have");
    describe_histogram!(
        "tarn_tablet_publish_memory_wait_seconds",
        Unit::Seconds,
        "Time that a publish waited for its part of the memory"
    );
    describe_counter!("tarn_tablet_bytes_read_total", Unit::Bytes, "Bytes read from segment files");
    describe_counter!("tarn_tablet_checksum_failures_total", "Damaged blocks and sidecars met");
    describe_gauge!("tarn_tablet_buffered_bytes", Unit::Bytes, "Rows that are not in segments yet");
    describe_counter!("tarn_tablet_primary_keys_looked_up_total", "Keys looked up in the primary-key index");
    describe_counter!("tarn_tablet_primary_keys_merged_total", "Keys of tablets that large loads were compared with");
    describe_counter!("tarn_tablet_primary_rows_replaced_total", "Rows that loads replaced or deleted by key");
    describe_gauge!("tarn_tablet_primary_index_bytes", Unit::Bytes, "Memory of the primary-key index");
    describe_counter!(
        "tarn_tablet_primary_rowsets_entered_again_total",
        "Rowsets that the primary-key index had lost or not seen"
    );
    describe_counter!("tarn_tablet_primary_index_made_total", "Times the primary-key index was made anew");
    describe_counter!("tarn_tablet_indexes_made_total", "Indexes made for segments that lacked them");
    describe_counter!("tarn_tablet_compactions_total", "Compactions by outcome");
    describe_counter!("tarn_tablet_compacted_rowsets_total", "Rowsets that compactions merged");
    describe_counter!("tarn_tablet_compaction_bytes_total", Unit::Bytes, "Bytes that compactions read and wrote");
    describe_gauge!("tarn_tablet_compaction_memory_bytes", Unit::Bytes, "Rows that compactions hold");
    describe_histogram!("tarn_tablet_compaction_peak_bytes", Unit::Bytes, "The most that one compaction held");
    describe_counter!(
        "tarn_tablet_compaction_column_groups_total",
        "Groups of columns that wide tables were merged by"
    );
    describe_histogram!("tarn_tablet_compaction_seconds", Unit::Seconds, "Time of a compaction");
    describe_gauge!("tarn_tablet_open_inputs", "Segment files that compactions, updates and conversions read rows of");
    describe_counter!("tarn_tablet_superseded_rowsets_removed_total", "Compacted rowsets whose files went");
    describe_histogram!(
        "tarn_tablet_load_wait_seconds",
        Unit::Seconds,
        "Time that a load waited for the compaction of a tablet of too many rowsets"
    );
    describe_counter!("tarn_tablet_copied_bytes_total", Unit::Bytes, "Files fetched from other replicas");
    describe_counter!("tarn_tablet_caught_up_total", "What replicas fetched to be as the others");
    describe_counter!("tarn_tablet_scrubbed_bytes_total", Unit::Bytes, "Files compared with their checksums");
    describe_counter!("tarn_tablet_damaged_rowsets_total", "Rowsets found to be damaged");
    describe_counter!("tarn_tablet_read_only_tablets_total", "Tablets that stopped writing");
    describe_gauge!(
        "tarn_tablet_disk_level",
        "0: the disk has room, 1: it is low, 2: it is full and loads are refused"
    );
    describe_counter!("tarn_tablet_disk_refusals_total", "Loads, compactions and clones refused for want of space");
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

/// Tells how long each step of a publish takes.
pub(crate) struct PublishSteps(Instant);

impl PublishSteps {
    /// Before the first.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// A step is done.
    pub(crate) fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        histogram!("tarn_tablet_publish_step_seconds", "step" => step).record(now - self.0);
        self.0 = now;
    }
}

pub(crate) fn compacted(done: &Compacted, time: Duration) {
    counter!("tarn_tablet_compactions_total", "outcome" => "done").increment(1);
    counter!("tarn_tablet_compacted_rowsets_total").increment(done.rowsets as u64);
    counter!("tarn_tablet_compaction_bytes_total", "direction" => "written").increment(done.bytes_written);
    histogram!("tarn_tablet_compaction_seconds").record(time);
}

/// Whether it was done or not.
pub(crate) fn compaction_took(read: u64, peak: u64, column_groups: usize) {
    counter!("tarn_tablet_compaction_bytes_total", "direction" => "read").increment(read);
    histogram!("tarn_tablet_compaction_peak_bytes").record(peak as f64);
    counter!("tarn_tablet_compaction_column_groups_total").increment(column_groups as u64);
}

pub(crate) fn compaction_memory(before: u64, now: u64) {
    gauge!("tarn_tablet_compaction_memory_bytes").increment(now as f64 - before as f64);
}

pub(crate) fn compaction_failed(stopped: bool) {
    let outcome = if stopped { "stopped" } else { "failed" };
    counter!("tarn_tablet_compactions_total", "outcome" => outcome).increment(1);
}

/// A segment file that rows are read of, counted while it is open.
pub(crate) struct OpenInput(());

impl OpenInput {
    /// Counts one.
    pub(crate) fn count() -> Self {
        gauge!("tarn_tablet_open_inputs").increment(1.0);
        Self(())
    }
}

impl Drop for OpenInput {
    fn drop(&mut self) {
        gauge!("tarn_tablet_open_inputs").decrement(1.0);
    }
}

pub(crate) fn superseded_removed(rowsets: usize) {
    counter!("tarn_tablet_superseded_rowsets_removed_total").increment(rowsets as u64);
}

pub(crate) fn load_waited(time: Duration) {
    histogram!("tarn_tablet_load_wait_seconds").record(time);
}

pub(crate) fn publish_memory(bytes: u64) {
    gauge!("tarn_tablet_publish_memory_bytes").set(bytes as f64);
}

pub(crate) fn publish_waited(time: Duration) {
    histogram!("tarn_tablet_publish_memory_wait_seconds").record(time);
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

pub(crate) fn copied(bytes: u64) {
    counter!("tarn_tablet_copied_bytes_total").increment(bytes);
}

pub(crate) fn caught_up(by: &'static str) {
    counter!("tarn_tablet_caught_up_total", "by" => by).increment(1);
}

pub(crate) fn scrubbed(bytes: u64) {
    counter!("tarn_tablet_scrubbed_bytes_total").increment(bytes);
}

pub(crate) fn rowset_damaged() {
    counter!("tarn_tablet_damaged_rowsets_total").increment(1);
}

pub(crate) fn read_only() {
    counter!("tarn_tablet_read_only_tablets_total").increment(1);
}

pub(crate) fn disk_level(level: DiskLevel) {
    gauge!("tarn_tablet_disk_level").set(f64::from(level as u8));
}

pub(crate) fn disk_refused() {
    counter!("tarn_tablet_disk_refusals_total").increment(1);
}

pub(crate) fn primary_keys_looked_up(keys: usize) {
    counter!("tarn_tablet_primary_keys_looked_up_total").increment(keys as u64);
}

pub(crate) fn primary_keys_merged(keys: u64) {
    counter!("tarn_tablet_primary_keys_merged_total").increment(keys);
}

pub(crate) fn primary_rows_replaced(rows: u64) {
    counter!("tarn_tablet_primary_rows_replaced_total").increment(rows);
}

pub(crate) fn primary_index_memory(bytes: u64) {
    gauge!("tarn_tablet_primary_index_bytes").set(bytes as f64);
}

pub(crate) fn primary_rowsets_entered_again(rowsets: usize) {
    counter!("tarn_tablet_primary_rowsets_entered_again_total").increment(rowsets as u64);
}

pub(crate) fn primary_index_made() {
    counter!("tarn_tablet_primary_index_made_total").increment(1);
}

pub(crate) fn indexes_made(indexes: usize) {
    counter!("tarn_tablet_indexes_made_total").increment(indexes as u64);
}
