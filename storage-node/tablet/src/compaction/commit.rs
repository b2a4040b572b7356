//! The end of a compaction: its output takes the place of its inputs, durably and at once.

use std::sync::Arc;

use tarn_proto::{TableModel, TabletId};

use super::Job;
use crate::engine::Engine;
use crate::layout::sync_dir;
use crate::meta::Changes;
use crate::record::{Lifetime, RowsetRecord, RowsetState, SegmentRecord, VersionRecord};
use crate::segment::TemporarySegment;
use crate::{Error, Result};

impl Engine {
    /// Publishes a job's segments at the tablet's version. Returns their bytes.
    pub(super) fn commit_compaction(&self, job: &Job, segments: Vec<TemporarySegment>) -> Result<u64> {
        let count = segments.len() as u32;
        // Before the store has heard of the output its files are of no use. Afterwards it may have kept what it failed to
        // acknowledge: the next start tells, and until then the tablet is read-only.
        let unnamed = |error: Error| {
            self.remove_files(job.tablet.id, job.output, count);
            error
        };
        let segments = self.name_output(job.tablet.id, segments).map_err(unnamed)?;
        let _commit = job.tablet.commit.lock();
        job.tablet.check_writable().map_err(unnamed)?;
        let (output, ended) = records(job, segments);
        let bytes = output.bytes();
        let state = job.tablet.state.read();
        let versions = VersionRecord { compactions: state.compactions + 1, ..state.versions() };
        drop(state);

        let mut changes = Changes::default();
        changes.put_version(job.tablet.id, versions);
        changes.put_rowset(job.tablet.id, job.output, &output);
        for (input, (rowset, ..)) in ended.iter().zip(&job.inputs) {
            changes.put_rowset(job.tablet.id, *rowset, input);
        }
        let has_keys = job.shape.schema.model == TableModel::PrimaryKey;
        let marks = if has_keys {
            let at = versions.version;
            let marks = self.plan_output(&job.tablet, &job.inputs, job.at, job.output, &output, at);
            Some(marks.map_err(unnamed)?)
        } else {
            None
        };
        if let Some(marks) = &marks {
            marks.put(job.tablet.id, &mut changes);
        }
        self.meta.write(changes).inspect_err(|error| job.tablet.note(error))?;

        let mut state = job.tablet.state.write();
        state.compactions = versions.compactions;
        state.rowsets.insert(job.output, Arc::new(output));
        for (input, (rowset, ..)) in ended.into_iter().zip(&job.inputs) {
            state.rowsets.insert(*rowset, Arc::new(input));
        }
        if let Some(marks) = marks {
            marks.enter(&mut state);
        }
        drop(state);
        if has_keys {
            self.apply_keys(&job.tablet, job.output);
        }
        job.tablet.superseded.lock().add(job.inputs.iter().map(|(rowset, ..)| *rowset));
        job.tablet.relieved.notify_waiters();
        Ok(bytes)
    }

    /// Gives the segments their names, durably.
    pub(super) fn name_output(&self, tablet: TabletId, segments: Vec<TemporarySegment>) -> Result<Vec<SegmentRecord>> {
        let named = segments.into_iter().map(|s| s.keep(&self.dir)).collect::<Result<Vec<_>>>()?;
        sync_dir(&self.dir.tablet(tablet))?;
        Ok(named)
    }
}

/// The output's record and those of the inputs afterwards, when the tablet's version is the job's or a later one.
fn records(job: &Job, segments: Vec<SegmentRecord>) -> (RowsetRecord, Vec<RowsetRecord>) {
    let at = job.tablet.state.read().version;
    let newest = job.inputs.iter().max_by_key(|(_, version, _)| *version).expect("a pick has inputs");
    let output = RowsetRecord {
        txn: newest.2.txn,
        state: RowsetState::Published(Lifetime { version: newest.1, since: at, until: None }),
        schema_version: job.shape.schema.version,
        segments,
    };
    let ended = job.inputs.iter().map(|(_, version, record)| {
        let since = record.published().map_or(*version, |lifetime| lifetime.since);
        let lifetime = Lifetime { version: *version, since, until: Some(at) };
        RowsetRecord { state: RowsetState::Published(lifetime), ..record.as_ref().clone() }
    });
    (output, ended.collect())
}
