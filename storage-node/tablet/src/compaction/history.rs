//! What compactions did on this node, for operators: those that were asked for and wait, those that run, and the last ones
//! that ended. Forgotten when the node stops.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tarn_proto::TabletId;
use tarn_proto::wire::{CompactionReport, CompactionState};

use super::Job;
use super::usage::Usage;
use crate::record::SegmentRecord;

/// Compactions that have ended and are remembered: some hours of a busy node.
const KEPT: usize = 500;

/// The compactions of a node.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    started: u64,
    running: BTreeMap<u64, CompactionReport>,
    /// Oldest first.
    ended: VecDeque<CompactionReport>,
}

/// A compaction that runs. Counts as stopped when it is dropped without [`Running::end`].
pub(super) struct Running<'a> {
    history: &'a History,
    id: u64,
}

impl History {
    /// Notes that a job begins.
    pub(super) fn start(&self, job: &Job) -> Running<'_> {
        let records = job.inputs.iter().map(|(_, _, record)| record);
        let mut known = self.0.lock();
        known.started += 1;
        let id = known.started;
        let report = CompactionReport {
            id,
            tablet_id: job.tablet.id.get(),
            state: CompactionState::Running.into(),
            manual: job.manual,
            rowsets: job.inputs.len() as u64,
            segments: records.clone().map(|record| record.segments.len() as u64).sum(),
            rows: records.map(|record| record.rows()).sum(),
            bytes: job.bytes,
            column_groups: job.column_groups as u64,
            started_unix_ms: now_ms(),
            ..CompactionReport::default()
        };
        known.running.insert(id, report);
        Running { history: self, id }
    }

    /// All that is known, newest first, after the tablets that `wait`.
    pub(super) fn reports(&self, wait: impl Iterator<Item = TabletId>) -> Vec<CompactionReport> {
        let pending = wait.map(|tablet| CompactionReport {
            tablet_id: tablet.get(),
            state: CompactionState::Pending.into(),
            manual: true,
            ..CompactionReport::default()
        });
        let mut reports: Vec<_> = pending.collect();
        let known = self.0.lock();
        reports.extend(known.running.values().rev().cloned());
        reports.extend(known.ended.iter().rev().cloned());
        reports
    }
}

impl Running<'_> {
    /// Notes a segment that was written.
    pub(super) fn wrote(&self, segment: &SegmentRecord) {
        if let Some(report) = self.history.0.lock().running.get_mut(&self.id) {
            report.segments_out += 1;
            report.rows_out += segment.rows;
            report.bytes_out += segment.bytes;
        }
    }

    /// Notes the end: that the output took the place of the inputs, or why it did not.
    pub(super) fn end(self, usage: &Usage, failure: Option<String>) {
        if let Some(report) = self.history.0.lock().running.get_mut(&self.id) {
            report.bytes_read = usage.read();
            report.peak_memory = usage.peak();
        }
        self.finish(failure);
    }

    fn finish(&self, failure: Option<String>) {
        let mut known = self.history.0.lock();
        let Some(mut report) = known.running.remove(&self.id) else { return };
        report.finished_unix_ms = now_ms();
        match failure {
            None => {
                report.rowsets_out = 1;
                report.state = CompactionState::Finished.into();
            }
            Some(error) => {
                report.error = error;
                report.state = CompactionState::Failed.into();
            }
        }
        if known.ended.len() == KEPT {
            known.ended.pop_front();
        }
        known.ended.push_back(report);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.finish(Some("it was given up: the node's log tells why".to_owned()));
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
