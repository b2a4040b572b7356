//! Compaction: many rowsets to one, with no change to any answer.
//!
//! It is a job: [`Engine::compact`] does one on the thread that calls it. Who calls it, when and for which tablet, is the
//! storage role's business; it is told of tablets that changed.
//!
//! ```text
//!  plan    pick::step over the live rowsets: adjacent ones in merge order; else one that is mostly deleted rows
//!  merge   segments ── verified bytes ──► read::Input ─┐
//!          segments of one compaction are one input   ─┴► rows::Merged ──► Combined (AGGREGATE, UNIQUE) ──► segments, cut
//!                                                        (SortedMerge)                                      at a size
//!  name    temporary files become the output's, directory synced
//!  commit  one synced batch, under the tablet's commit lock, at its version c: the output is listed from c on,
//!          the inputs until c
//! ```
//!
//! Versions before `c` keep their manifests, and the inputs their files, until `garbage` takes them. A crash before the commit
//! leaves files that no record names, which go at the next start; after it there is nothing left to do.
//!
//! The rows of wide tables are merged by groups of columns (`vertical`), those of others whole (`rows`). Of PRIMARY KEY
//! tables a `row_map` tells where each row of the inputs went: rows that loads replace while the merge runs are marked in the
//! output by it, and the index finds rows by it until it knows their new places (`crate::primary::moved`).
//!
//! A `request` asks for more than the rule does; `history` tells what was done.

mod commit;
pub(crate) mod history;
pub(crate) mod merge;
mod pick;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod row_map;
mod rows;
mod rows_at;
pub(crate) mod segment_rows;
#[cfg(test)]
mod tests;
pub(crate) mod usage;
mod vertical;
mod wait;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tarn_proto::{RowsetId, TabletId, Version};
use tracing::debug;

use crate::engine::Engine;
use crate::engine::commit::{is_compaction, new_compaction};
use crate::record::RowsetRecord;
use crate::tablet::{Shape, State, Tablet};
use crate::{Error, Result, metrics};
use usage::Usage;

/// Tells work in the background, such as a compaction, to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the work that was started with it, soon.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends work on a tablet that is dropped, or that was told to stop.
    pub(crate) fn check(&self, tablet: &Tablet) -> Result<()> {
        if self.is_asked() || tablet.state.read().dropped {
            return Err(Error::Stopped(tablet.id));
        }
        Ok(())
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Rowsets that became one.
    pub rowsets: usize,
    /// Bytes of their segments.
    pub bytes_read: u64,
    /// Bytes of the one's segments.
    pub bytes_written: u64,
}

/// A compaction that was decided on.
struct Job {
    tablet: Arc<Tablet>,
    /// What its output looks like.
    shape: Arc<Shape>,
    /// In merge order.
    inputs: Vec<Rowset>,
    /// The tablet's version when it was decided.
    at: Version,
    /// [`State::clones`] then.
    clones: u64,
    output: RowsetId,
    bytes: u64,
    /// Somebody asked for it.
    manual: bool,
    /// Groups of columns that are merged one after the other; 0 if whole rows are.
    column_groups: usize,
    usage: Arc<Usage>,
}

/// Marks the tablet as being compacted.
struct Running<'a>(&'a Tablet);

impl<'a> Running<'a> {
    fn start(tablet: &'a Tablet) -> Option<Self> {
        (!tablet.compacting.swap(true, Ordering::Acquire)).then_some(Self(tablet))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.compacting.store(false, Ordering::Release);
    }
}

impl Engine {
    /// Tablets that got or lost rowsets since the last call; all of them at first.
    pub fn take_changed(&self) -> BTreeSet<TabletId> {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Waits until a tablet changes. May return for changes that were taken already.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn note_changed(&self, tablet: TabletId) {
        self.changed.lock().insert(tablet);
        self.wake.notify_one();
    }

    /// How much a tablet wants to be compacted: the number of sorted runs that a read of it has to merge. None if there
    /// is nothing to do.
    pub fn compaction_score(&self, tablet: TabletId) -> Option<usize> {
        let tablet = self.tablet(tablet).ok()?;
        tablet.check_writable().ok()?;
        let state = tablet.state.read();
        let live = state.live();
        chosen(&tablet, &state, &live).map(|_| score(&live))
    }

    /// Does the next compaction of a tablet, if there is one and none runs. Blocks, and works the processor.
    ///
    /// Fails with what is wrong with an input, which stays as it is and is left out from then on, until the node restarts;
    /// with [`Error::Stopped`] if it was told to stop; and as writes do. Only a failed write of metadata makes the tablet
    /// read-only: whatever else a full disk refuses belongs to nothing yet.
    pub fn compact(self: &Arc<Self>, tablet: TabletId, stop: &Stop) -> Result<Option<Compacted>> {
        let tablet = self.tablet(tablet)?;
        let Some(_running) = Running::start(&tablet) else { return Ok(None) };
        tablet.check_writable()?;
        let Some(job) = self.plan(&tablet) else { return Ok(None) };
        let started = Instant::now();
        let running = self.history.start(&job);
        // The output is no larger than the inputs, which stay for a while.
        let done = self.disk.admit(job.bytes).and_then(|()| self.merge(&job, stop, &running));
        let done = done.and_then(|merged| self.commit_compaction(&job, merged, stop));
        running.end(&job.usage, done.as_ref().err().map(|error| tarn_proto::error::chain(error)));
        metrics::compaction_took(job.usage.read(), job.usage.peak(), job.column_groups);
        match done {
            Ok(written) => {
                let done = Compacted { rowsets: job.inputs.len(), bytes_read: job.bytes, bytes_written: written };
                metrics::compacted(&done, started.elapsed());
                debug!(
                    tablet = %tablet.id, rowsets = done.rowsets, bytes = done.bytes_read, written,
                    seconds = started.elapsed().as_secs_f64(), "rowsets compacted"
                );
                self.note_changed(tablet.id);
                Ok(Some(done))
            }
            // Its files go with it, whatever else happens to them.
            Err(_) if tablet.state.read().dropped => Err(Error::UnknownTablet(tablet.id)),
            Err(error) => {
                if let Error::Damaged { rowset, .. } | Error::Decode { rowset, .. } = &error {
                    tablet.unmergeable.lock().insert(*rowset);
                }
                tablet.note_damage(&error);
                metrics::compaction_failed(matches!(error, Error::Stopped(_)));
                Err(error)
            }
        }
    }

    fn plan(&self, tablet: &Arc<Tablet>) -> Option<Job> {
        let state = tablet.state.read();
        let live = state.live();
        let (inputs, manual) = chosen(tablet, &state, &live)?;
        let inputs = live[inputs].to_vec();
        let shape = tablet.shape();
        Some(Job {
            tablet: tablet.clone(),
            column_groups: self.column_groups(&shape, &inputs),
            shape,
            bytes: inputs.iter().map(|(_, _, record)| record.bytes()).sum(),
            inputs,
            at: state.version,
            clones: state.clones,
            output: new_compaction(),
            manual,
            usage: Arc::default(),
        })
    }
}

impl Job {
    fn is_vertical(&self) -> bool {
        self.column_groups > 0
    }
}

/// A live rowset: its id, the version that it stands for, its record.
type Rowset = (RowsetId, Version, Arc<RowsetRecord>);

/// The rowsets to be merged next, and whether somebody asked for it. A request that is reached is forgotten.
fn chosen(tablet: &Tablet, state: &State, live: &[Rowset]) -> Option<(Range<usize>, bool)> {
    let requested = *tablet.requested.lock();
    if let Some(requested) = requested {
        if let Some(inputs) = request::next(&parts(tablet, state, live, requested.until), requested) {
            return Some((inputs, true));
        }
        // Unless it was replaced meanwhile.
        tablet.requested.lock().take_if(|now| *now == requested);
    }
    let pick = next(tablet, state, live)?;
    Some((pick::within_runs(pick.inputs, |i| runs(&live[i])), false))
}

/// The sorted runs that a read of these rowsets has to merge.
pub(crate) fn score(live: &[Rowset]) -> usize {
    live.iter().map(runs).sum()
}

/// Sorted runs of a rowset.
fn runs((rowset, _, record): &Rowset) -> usize {
    if is_compaction(*rowset) { 1 } else { record.segments.len() }
}

/// What a request has to know of the rowsets. Rows that are deleted after it do not count.
fn parts(tablet: &Tablet, state: &State, live: &[Rowset], until: Version) -> Vec<request::Part> {
    let unmergeable = tablet.unmergeable.lock();
    let parts = live.iter().zip(sizes(state, live)).map(|(rowset, bytes)| {
        let mut vectors = state.delete_vectors.range((rowset.0, 0)..=(rowset.0, u32::MAX));
        request::Part {
            version: rowset.1,
            bytes,
            runs: runs(rowset),
            has_deleted: vectors.any(|(_, vector)| vector.since <= until && vector.rows > 0),
            is_readable: !unmergeable.contains(&rowset.0),
        }
    });
    parts.collect()
}

/// The rowsets to be merged next. Those that cannot be read stay as they are, and what lies on either side of them apart.
fn next(tablet: &Tablet, state: &State, live: &[Rowset]) -> Option<pick::Pick> {
    let sizes = sizes(state, live);
    let bytes: Vec<u64> = live.iter().map(|(_, _, record)| record.bytes()).collect();
    let unmergeable = tablet.unmergeable.lock();
    let mut end = 0;
    let picks = live.split(|(rowset, ..)| unmergeable.contains(rowset)).filter_map(|run| {
        let start = end;
        // One further is the rowset that ended the run.
        end += run.len() + 1;
        let of = start..start + run.len();
        let pick = pick::step(&sizes[of.clone()]).or_else(|| pick::reclaim(&bytes[of.clone()], &sizes[of]))?;
        Some(pick::Pick { inputs: start + pick.inputs.start..start + pick.inputs.end, bytes: pick.bytes })
    });
    picks.min_by_key(|pick| pick.bytes)
}

/// What live rowsets count for when a merge is picked: the bytes of rows that are not deleted.
fn sizes(state: &State, live: &[Rowset]) -> Vec<u64> {
    let size = |(rowset, _, record): &Rowset| {
        let vectors = state.delete_vectors.range((*rowset, 0)..=(*rowset, u32::MAX));
        let (dead, rows) = (vectors.map(|(_, vector)| vector.rows).sum::<u64>(), record.rows().max(1));
        (u128::from(record.bytes()) * u128::from(rows.saturating_sub(dead)) / u128::from(rows)) as u64
    };
    live.iter().map(size).collect()
}
