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
//! Wide tables are merged in whole rows: the inputs' batches are made smaller instead, so that memory stays bounded.

mod commit;
mod pick;
mod read;
mod rows;
pub(crate) mod segment_rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use roaring::RoaringTreemap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TableModel, TabletId, Version};
use tracing::{debug, warn};

use crate::codec::Codec;
use crate::engine::Engine;
use crate::engine::commit::{is_compaction, rowset_of_compaction};
use crate::record::RowsetRecord;
use crate::segment::{Combined, KeySource, TemporarySegment, write_sorted};
use crate::tablet::{Shape, State, Tablet};
use crate::{Error, Result, metrics};

/// Memory for the batches that are read at the same time, and so for one compaction but for a few columns' buffers.
const INPUT_BYTES: u64 = 128 << 20;
/// Rows of a batch that is read: enough to decode well, few enough to stay in cache.
const BATCH_ROWS: u64 = 65_536;
/// Rows of a batch that is written: the format's zone.
const OUTPUT_ROWS: u64 = 8192;
/// A segment is cut between batches, which are at most this part of it.
const CUTS: u64 = 8;

/// Tells a running compaction to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the compactions that were started with it, soon.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
    inputs: Vec<(RowsetId, Version, Arc<RowsetRecord>)>,
    /// The tablet's version when it was decided.
    at: Version,
    output: RowsetId,
    bytes: u64,
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

    /// How much a tablet wants to be compacted: the number of rowsets that a read of it has to open. None if there is
    /// nothing to do.
    pub fn compaction_score(&self, tablet: TabletId) -> Option<usize> {
        let tablet = self.tablet(tablet).ok()?;
        tablet.check_writable().ok()?;
        let state = tablet.state.read();
        let live = state.live();
        next(&tablet, &state, &live).map(|_| live.len())
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
        let done = self.merge(&job, stop).and_then(|segments| self.commit_compaction(&job, segments));
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
                metrics::compaction_failed(matches!(error, Error::Stopped(_)));
                Err(error)
            }
        }
    }

    fn plan(&self, tablet: &Arc<Tablet>) -> Option<Job> {
        let state = tablet.state.read();
        let live = state.live();
        let pick = next(tablet, &state, &live)?;
        let runs = |i: usize| if is_compaction(live[i].0) { 1 } else { live[i].2.segments.len() };
        let inputs = live[pick::within_runs(pick.inputs, runs)].to_vec();
        Some(Job {
            tablet: tablet.clone(),
            shape: tablet.shape(),
            bytes: inputs.iter().map(|(_, _, record)| record.bytes()).sum(),
            inputs,
            at: state.version,
            output: rowset_of_compaction(state.compactions + 1),
        })
    }

    /// Writes the inputs' rows to temporary segments.
    fn merge(self: &Arc<Self>, job: &Job, stop: &Stop) -> Result<Vec<TemporarySegment>> {
        let inputs = self.inputs(job)?;
        let output_rows = (self.options.segment_bytes / CUTS / row_bytes(job)).clamp(64, OUTPUT_ROWS);
        let merged =
            rows::Merged::new(&job.tablet, &job.shape, inputs, output_rows as usize, self.clone(), stop.clone())?;
        let rows: Box<dyn Iterator<Item = _> + Send> = if job.shape.schema.model.merges_on_read() {
            Box::new(Combined::new(&job.shape, job.tablet.id, merged)?)
        } else {
            Box::new(merged)
        };
        let rows = rows::Shared::new(rows);
        // Of its own: the threads of one help each other, and these have low priority.
        let codec = Codec::new();
        let attempt = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let mut segments = Vec::new();
        while rows.has_more()? {
            let key = SegmentKey { tablet: job.tablet.id, rowset: job.output, segment: segments.len() as u32 };
            let next = rows.next_bytes(self.options.segment_bytes);
            let keys = match job.shape.schema.model {
                TableModel::PrimaryKey => KeySource::Rows,
                TableModel::Duplicate | TableModel::Aggregate | TableModel::Unique => KeySource::None,
            };
            segments.push(write_sorted(&self.dir, &codec, &job.shape, key, attempt, keys, next)?);
        }
        Ok(segments)
    }

    /// The inputs in merge order: each segment of a load is sorted by itself, those of a compaction follow each other.
    fn inputs(&self, job: &Job) -> Result<Vec<read::Input>> {
        let mut runs: Vec<VecDeque<read::Segment>> = Vec::new();
        for (rowset, _, record) in &job.inputs {
            let first = runs.len();
            for (number, segment) in (0..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0) {
                let key = SegmentKey { tablet: job.tablet.id, rowset: *rowset, segment: number };
                let deleted = self.deleted(job, key)?;
                let schema_version = record.schema_version;
                let segment = read::Segment { key, record: *segment, schema_version, deleted };
                if is_compaction(*rowset) && runs.len() > first {
                    runs[first].push_back(segment);
                } else {
                    runs.push(VecDeque::from([segment]));
                }
            }
        }
        let reader = read::Reader::new(batch_rows(job, runs.len() as u64));
        let input =
            |segments| read::Input { reader: reader.clone(), shape: job.shape.clone(), segments, current: None };
        Ok(runs.into_iter().map(input).collect())
    }

    /// Rows of an input that are deleted in the version that the job was decided at.
    fn deleted(&self, job: &Job, key: SegmentKey) -> Result<Option<RoaringTreemap>> {
        if job.shape.schema.model != TableModel::PrimaryKey {
            return Ok(None);
        }
        let vector = self.meta.delete_vector(key.tablet, key.rowset, key.segment, job.at)?;
        Ok(vector.map(|vector| vector.bitmap().iter().map(u64::from).collect()))
    }

    /// Waits while a tablet has far too many rowsets, until `until` at most, which the load's first wait sets: loads go
    /// slower than compaction, and never fail for it.
    pub(crate) async fn wait_for_compaction(&self, tablet: &Tablet, until: &mut Option<tokio::time::Instant>) {
        let crowded = || {
            let state = tablet.state.read();
            let live = state.rowsets.values().filter(|r| r.is_live()).count();
            let waits = live > self.options.crowded_rowsets && !state.dropped && state.read_only.is_none();
            waits.then_some(live)
        };
        let Some(rowsets) = crowded() else { return };
        let now = tokio::time::Instant::now();
        let until = *until.get_or_insert(now + self.options.crowded_wait);
        if until <= now {
            return;
        }
        warn!(tablet = %tablet.id, rowsets, "a load waits: the tablet has more rowsets than compaction keeps up with");
        self.note_changed(tablet.id);
        let started = Instant::now();
        let relieved = tokio::time::timeout_at(until, async {
            loop {
                let relieved = tablet.relieved.notified();
                tokio::pin!(relieved);
                // From here on no change is missed.
                relieved.as_mut().enable();
                if crowded().is_none() {
                    return;
                }
                relieved.await;
            }
        });
        let in_time = relieved.await.is_ok();
        metrics::load_waited(started.elapsed());
        if !in_time {
            warn!(tablet = %tablet.id, "a load goes on although the tablet still has too many rowsets");
        }
    }
}

/// The rowsets to be merged next. Those that cannot be read stay as they are, and what lies on either side of them apart.
fn next(tablet: &Tablet, state: &State, live: &[(RowsetId, Version, Arc<RowsetRecord>)]) -> Option<pick::Pick> {
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
fn sizes(state: &State, live: &[(RowsetId, Version, Arc<RowsetRecord>)]) -> Vec<u64> {
    let size = |(rowset, _, record): &(RowsetId, Version, Arc<RowsetRecord>)| {
        let vectors = state.delete_vectors.range((*rowset, 0)..=(*rowset, u32::MAX));
        let (dead, rows) = (vectors.map(|(_, vector)| vector.rows).sum::<u64>(), record.rows().max(1));
        (u128::from(record.bytes()) * u128::from(rows.saturating_sub(dead)) / u128::from(rows)) as u64
    };
    live.iter().map(size).collect()
}

/// Rows of a batch that is read, so that one of each input fits into [`INPUT_BYTES`].
fn batch_rows(job: &Job, inputs: u64) -> u64 {
    (INPUT_BYTES / inputs.max(1) / row_bytes(job)).clamp(256, BATCH_ROWS)
}

/// Memory of a row, about: four times as much as compressed, and sixteen bytes for each value as a number or a view.
fn row_bytes(job: &Job) -> u64 {
    let rows: u64 = job.inputs.iter().map(|(_, _, record)| record.rows()).sum();
    (4 * job.bytes / rows.max(1) + 16 * job.shape.schema.columns.len() as u64).max(1)
}
