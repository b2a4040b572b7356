//! The end of a compaction: its output takes the place of its inputs, durably and at once.
//!
//! Under the tablet's commit lock stand only one look at what was published since the last one, a batch of metadata, and the
//! change of the state. What comes before (names of files, most rows that died meanwhile) and after (keys into the index)
//! lets publishes go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use tarn_proto::{RowsetId, TabletId};

use super::merge::Merged;
use super::{Job, Stop};
use crate::engine::Engine;
use crate::layout::sync_dir;
use crate::meta::Changes;
use crate::primary::moved::{Died, Moved};
use crate::record::{Lifetime, RowsetRecord, RowsetState, SegmentRecord};
use crate::segment::TemporarySegment;
use crate::tablet::State;
use crate::{Error, Result};

/// Looks at the inputs before the lock is taken, at most: each has less to look at than the one before.
const LOOKS: usize = 8;

impl Engine {
    /// Publishes a job's segments at the tablet's version. Returns their bytes.
    pub(super) fn commit_compaction(&self, job: &Job, merged: Merged, stop: &Stop) -> Result<u64> {
        let Merged { segments, sources, map } = merged;
        self.store_segments(&job.tablet, &segments)?;
        let count = segments.len() as u32;
        // Before the store has heard of the output its files are of no use. Afterwards it may have kept what it failed to
        // acknowledge: the next start tells, and until then the tablet is read-only.
        let unnamed = |error: Error| {
            self.remove_files(job.tablet.id, job.output, count);
            error
        };
        let segments = self.name_output(job.tablet.id, segments).map_err(unnamed)?;
        let inputs: BTreeSet<RowsetId> = job.inputs.iter().map(|(rowset, ..)| *rowset).collect();
        let moved = map.map(|map| Moved::new(job.tablet.id, sources, inputs, job.output, &segments, map));
        let mut died = Died::default();
        if let Some(moved) = &moved {
            self.follow_inputs(job, moved, &mut died).map_err(unnamed)?;
        }
        let output = {
            let _commit = job.tablet.commit.lock();
            self.replace_inputs(job, segments, moved, died).map_err(|error| match error {
                // The store may hold what it did not acknowledge.
                Error::Meta { .. } => error,
                refused => unnamed(refused),
            })?
        };
        job.tablet.superseded.lock().add(job.inputs.iter().map(|(rowset, ..)| *rowset));
        job.tablet.relieved.notify_waiters();
        self.enter_output(&job.tablet, job.output, &output, stop);
        Ok(output.bytes())
    }

    /// Looks at what loads do to the inputs until they have done nothing meanwhile, or often enough.
    fn follow_inputs(&self, job: &Job, moved: &Moved, died: &mut Died) -> Result<()> {
        let version = || job.tablet.state.read().version;
        for _ in 0..LOOKS {
            let before = version();
            self.look_at_inputs(&job.tablet, moved, died)?;
            #[cfg(test)]
            self.primary.between_steps();
            if version() == before {
                break;
            }
        }
        Ok(())
    }

    /// Under the tablet's commit lock. Returns the output's record.
    fn replace_inputs(
        &self,
        job: &Job,
        segments: Vec<SegmentRecord>,
        moved: Option<Moved>,
        mut died: Died,
    ) -> Result<RowsetRecord> {
        job.tablet.check_writable()?;
        let state = job.tablet.state.read().clone();
        let ended = ended(job, &state).filter(|_| state.clones == job.clones);
        // What was read is not what is there any more: a clone took its place, or rows were deleted that the output has.
        let ended = ended.ok_or(Error::Stopped(job.tablet.id))?;
        if moved.is_none() && lost_rows(job, &state) {
            return Err(Error::Stopped(job.tablet.id));
        }
        let output = output(job, &state, segments);
        let marks = match &moved {
            Some(moved) => Some(self.marks_of_output(&job.tablet, moved, &mut died, state.version)?),
            None => None,
        };
        let mut changes = Changes::default();
        changes.put_version(job.tablet.id, state.versions());
        changes.put_rowset(job.tablet.id, job.output, &output);
        for (rowset, input) in &ended {
            changes.put_rowset(job.tablet.id, *rowset, input);
        }
        if let Some(marks) = &marks {
            marks.put(job.tablet.id, &mut changes);
        }
        self.write(changes).inspect_err(|error| job.tablet.note(error))?;

        let mut state = job.tablet.state.write();
        state.rowsets.insert(job.output, Arc::new(output.clone()));
        state.rowsets.extend(ended.into_iter().map(|(rowset, input)| (rowset, Arc::new(input))));
        if let Some(marks) = marks {
            marks.enter(&mut state);
        }
        drop(state);
        if let Some(moved) = moved {
            self.install_moved(moved);
        }
        Ok(output)
    }

    /// Gives the segments their names, durably.
    pub(crate) fn name_output(&self, tablet: TabletId, segments: Vec<TemporarySegment>) -> Result<Vec<SegmentRecord>> {
        let named = segments.into_iter().map(|s| s.keep(&self.dir)).collect::<Result<Vec<_>>>()?;
        sync_dir(&self.dir.tablet(tablet))?;
        Ok(named)
    }
}

/// The output's record, in the version that the tablet has.
fn output(job: &Job, state: &State, segments: Vec<SegmentRecord>) -> RowsetRecord {
    let newest = job.inputs.iter().max_by_key(|(_, version, _)| *version).expect("a pick has inputs");
    RowsetRecord {
        state: RowsetState::Published(Lifetime { version: newest.1, since: state.version, until: None }),
        schema_version: job.shape.schema.version,
        segments,
        change: None,
        ..newest.2.as_ref().clone()
    }
}

/// The inputs' records afterwards; none if one of them is not there any more.
fn ended(job: &Job, state: &State) -> Option<Vec<(RowsetId, RowsetRecord)>> {
    let ended = job.inputs.iter().map(|(rowset, version, _)| {
        let record = state.rowsets.get(rowset).filter(|record| record.is_live())?;
        let since = record.published().map_or(*version, |lifetime| lifetime.since);
        let lifetime = Lifetime { version: *version, since, until: Some(state.version) };
        Some((*rowset, RowsetRecord { state: RowsetState::Published(lifetime), ..record.as_ref().clone() }))
    });
    ended.collect()
}

/// Whether rows of the inputs were deleted since they were read.
fn lost_rows(job: &Job, state: &State) -> bool {
    job.inputs.iter().any(|(rowset, ..)| {
        let mut vectors = state.delete_vectors.range((*rowset, 0)..=(*rowset, u32::MAX));
        vectors.any(|(_, vector)| vector.since > job.at)
    })
}
