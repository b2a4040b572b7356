//! From rows in temporary segments to a version: seal, publish, abort. Each changes memory after the disk, under the
//! commit locks of its tablets, which are taken in order of their ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tarn_proto::storage::{PublishTablet, SegmentKey};
use tarn_proto::{RowsetId, TableModel, TableSchema, TabletId, TxnId, Version, wire};

use super::Engine;
use crate::layout::sync_dir;
use crate::load::Attempt;
use crate::meta::Changes;
use crate::record::{Lifetime, RowsetRecord, RowsetState, TabletRecord, VersionRecord};
use crate::segment::TemporarySegment;
use crate::tablet::{Shape, State, Tablet};
use crate::{Error, Result, metrics};

/// The rowset that a load writes.
pub(crate) const fn rowset_of(txn: TxnId) -> RowsetId {
    RowsetId(txn.get())
}

/// The rowset that a tablet's compaction writes, counted from 1. Transactions never have these ids, and no rowset of the
/// tablet ever had it: readers cache segments by it.
pub(crate) const fn rowset_of_compaction(number: u64) -> RowsetId {
    RowsetId(COMPACTION | number)
}

/// Whether a compaction wrote the rowset.
pub(crate) const fn is_compaction(rowset: RowsetId) -> bool {
    rowset.get() & COMPACTION != 0
}

const COMPACTION: u64 = 1 << 63;

/// A tablet's finished segments of one load, in order of their numbers.
pub(crate) type Finished = BTreeMap<TabletId, (Arc<Tablet>, Vec<TemporarySegment>)>;

impl Engine {
    /// Makes a load's segments, whose rows look like `shape`, pending rowsets, durably. Tablets take its schema if it is
    /// newer than theirs. Blocks.
    pub(crate) fn seal(
        &self,
        attempt: &Arc<Attempt>,
        shape: &Arc<Shape>,
        finished: Finished,
    ) -> Result<Vec<wire::RowsetSummary>> {
        // Held to the end: who replaces or aborts the attempt waits, and then finds the rowsets.
        let open = attempt.open.lock();
        if !*open {
            return Err(attempt.replaced());
        }
        let tablets: Vec<Arc<Tablet>> = finished.values().map(|(tablet, _)| tablet.clone()).collect();
        let _commits: Vec<_> = tablets.iter().map(|t| t.commit.lock()).collect();
        let rowset = rowset_of(attempt.txn);
        for tablet in &tablets {
            tablet.check_writable()?;
            if tablet.state.read().rowsets.contains_key(&rowset) {
                return Err(Error::Published { tablet: tablet.id, txn: attempt.txn });
            }
        }
        let records = self.name_files(attempt.txn, &shape.schema, finished)?;
        let mut changes = Changes::default();
        for (tablet, record) in &records {
            changes.put_rowset(tablet.id, rowset, record);
            if tablet.is_behind(&shape.schema) {
                changes.put_tablet(tablet.id, &TabletRecord { schema: shape.schema.clone() });
            }
        }
        if let Err(error) = self.meta.write(changes) {
            tablets.iter().for_each(|t| t.note(&error));
            return Err(error);
        }
        let mut summaries = Vec::with_capacity(records.len());
        for (tablet, record) in records {
            summaries.push(wire::RowsetSummary {
                tablet_id: tablet.id.get(),
                rowset_id: rowset.get(),
                rows: record.rows(),
                bytes: record.bytes(),
            });
            if tablet.is_behind(&shape.schema) {
                tablet.adopt(shape.clone());
            }
            tablet.state.write().rowsets.insert(rowset, Arc::new(record));
        }
        if !tablets.is_empty() {
            self.pending.lock().entry(attempt.txn).or_default().extend(tablets.iter().map(|t| t.id));
        }
        metrics::rowsets("sealed", tablets.len());
        Ok(summaries)
    }

    /// Gives the segments their names, durably.
    fn name_files(
        &self,
        txn: TxnId,
        schema: &TableSchema,
        finished: Finished,
    ) -> Result<Vec<(Arc<Tablet>, RowsetRecord)>> {
        let mut records = Vec::with_capacity(finished.len());
        for (id, (tablet, segments)) in finished {
            let named = segments.into_iter().map(|s| s.keep(&self.dir)).collect::<Result<Vec<_>>>();
            let named = named.and_then(|segments| sync_dir(&self.dir.tablet(id)).map(|()| segments));
            match named {
                Ok(segments) => {
                    let schema_version = schema.version;
                    records.push((tablet, RowsetRecord { txn, state: RowsetState::Pending, schema_version, segments }));
                }
                Err(error) => {
                    // What has a name already is an orphan, which goes at the next start.
                    tablet.note(&error);
                    return Err(error);
                }
            }
        }
        Ok(records)
    }

    /// Makes a transaction part of the tablets' next version, all or none, durably. Idempotent. Blocks.
    pub fn publish(&self, txn: TxnId, requests: &[PublishTablet]) -> Result<()> {
        let started = Instant::now();
        let requests: BTreeMap<TabletId, &PublishTablet> = requests.iter().map(|r| (r.tablet, r)).collect();
        let tablets = requests.keys().map(|id| self.tablet(*id)).collect::<Result<Vec<_>>>()?;
        let _commits: Vec<_> = tablets.iter().map(|t| t.commit.lock()).collect();
        let rowset = rowset_of(txn);
        let mut changes = Changes::default();
        let mut published = Vec::with_capacity(tablets.len());
        for (tablet, request) in tablets.iter().zip(requests.values()) {
            let Some(record) = next(tablet, txn, request)? else { continue };
            let mut marks = None;
            if let Some(record) = &record {
                changes.put_rowset(tablet.id, rowset, record);
                if tablet.shape().schema.model == TableModel::PrimaryKey {
                    let planned = self.plan_publish(tablet, rowset, record, request.version)?;
                    planned.put(tablet.id, &mut changes);
                    marks = Some(planned);
                }
            }
            let versions = VersionRecord { version: request.version, ..tablet.state.read().versions() };
            changes.put_version(tablet.id, versions);
            published.push((tablet, request.version, record, marks));
        }
        if let Err(error) = self.meta.write(changes) {
            tablets.iter().for_each(|t| t.note(&error));
            return Err(error);
        }
        let mut pending = self.pending.lock();
        let mut rowsets = 0;
        let mut keyed = Vec::new();
        for (tablet, version, record, marks) in published {
            let mut state = tablet.state.write();
            state.version = version;
            if let Some(record) = record {
                state.rowsets.insert(rowset, Arc::new(record));
                rowsets += 1;
                self.note_changed(tablet.id);
            }
            if let Some(marks) = marks {
                marks.enter(&mut state);
                keyed.push(tablet);
            }
            if let Some(waiting) = pending.get_mut(&txn) {
                waiting.remove(&tablet.id);
            }
        }
        if pending.get(&txn).is_some_and(|waiting| waiting.is_empty()) {
            pending.remove(&txn);
        }
        drop(pending);
        keyed.into_iter().for_each(|tablet| self.apply_keys(tablet, rowset));
        metrics::rowsets("published", rowsets);
        metrics::published(started.elapsed());
        Ok(())
    }

    /// Forgets what a transaction wrote and did not publish, and stops who still writes it. Idempotent. Blocks.
    pub fn abort(&self, txn: TxnId) -> Result<()> {
        self.replace_attempt(txn, None)
    }

    /// Ends the attempt to write a transaction, forgets its pending rowsets and lets `newest` write instead.
    pub(super) fn replace_attempt(&self, txn: TxnId, newest: Option<Arc<Attempt>>) -> Result<()> {
        let before = match &newest {
            Some(newest) => self.attempts.lock().insert(txn, newest.clone()),
            None => self.attempts.lock().remove(&txn),
        };
        if let Some(before) = before {
            *before.open.lock() = false;
        }
        self.forget_pending(txn, newest.as_deref())
    }

    /// Ends this attempt, if no other has taken its place.
    pub(crate) fn end_attempt(&self, attempt: &Attempt) {
        let mut attempts = self.attempts.lock();
        if attempts.get(&attempt.txn).is_some_and(|newest| newest.number == attempt.number) {
            attempts.remove(&attempt.txn);
        }
    }

    /// Transactions with sealed rowsets that are neither published nor aborted. Blocks.
    pub fn pending(&self) -> Vec<TxnId> {
        self.pending.lock().keys().copied().collect()
    }

    /// Ends an attempt whose writer went away while it was sealed, and forgets what it left. Blocks.
    pub(crate) fn take_back(&self, attempt: &Attempt) -> Result<()> {
        let mut attempts = self.attempts.lock();
        if attempts.get(&attempt.txn).is_none_or(|newest| newest.number != attempt.number) {
            // Who has taken its place has forgotten it.
            return Ok(());
        }
        attempts.remove(&attempt.txn);
        drop(attempts);
        self.forget_pending(attempt.txn, None)
    }

    /// Forgets the transaction's pending rowsets for `newest`, an attempt that begins, or for good.
    fn forget_pending(&self, txn: TxnId, newest: Option<&Attempt>) -> Result<()> {
        let waiting = self.pending.lock().get(&txn).cloned().unwrap_or_default();
        let tablets: Vec<Arc<Tablet>> = waiting.iter().filter_map(|id| self.tablet(*id).ok()).collect();
        let _commits: Vec<_> = tablets.iter().map(|t| t.commit.lock()).collect();
        if let Some(newest) = newest
            && !*newest.open.lock()
        {
            // An attempt that began meanwhile has forgotten what was there, and what is there now is its own.
            return Err(newest.replaced());
        }
        let rowset = rowset_of(txn);
        let mut changes = Changes::default();
        let mut forgotten = Vec::new();
        for tablet in &tablets {
            // It may have been published meanwhile.
            let record = tablet.state.read().rowsets.get(&rowset).cloned();
            if let Some(record) = record.filter(|r| r.is_pending()) {
                changes.delete_rowset(tablet.id, rowset);
                forgotten.push((tablet, record.segments.len() as u32));
            }
        }
        self.meta.write(changes)?;
        for (tablet, _) in &forgotten {
            tablet.state.write().rowsets.remove(&rowset);
        }
        self.pending.lock().remove(&txn);
        for (tablet, segments) in &forgotten {
            self.remove_files(tablet.id, rowset, *segments);
        }
        metrics::rowsets("aborted", forgotten.len());
        Ok(())
    }

    /// Removes the files of a rowset that no record names any more. Blocks.
    pub(crate) fn remove_files(&self, tablet: TabletId, rowset: RowsetId, segments: u32) {
        for segment in 0..segments {
            self.dir.segment(SegmentKey { tablet, rowset, segment }).remove();
        }
        // Afterwards: who has the record still cannot open them anew.
        self.open.retain(|key| key.tablet != tablet || key.rowset != rowset);
    }
}

/// What publishing `request` changes: nothing if it is published already, else the rowset's new record if it has one.
fn next(tablet: &Tablet, txn: TxnId, request: &PublishTablet) -> Result<Option<Option<RowsetRecord>>> {
    let state = tablet.state.read();
    if state.dropped {
        return Err(Error::UnknownTablet(tablet.id));
    }
    let record = state.rowsets.get(&rowset_of(txn));
    if state.version >= request.version {
        let there = record.and_then(|r| r.published()).is_some_and(|lifetime| lifetime.version == request.version);
        return if there == request.has_rowset || is_compacted(&state, request.version) {
            Ok(None)
        } else {
            Err(Error::VersionTaken { tablet: tablet.id, version: request.version, txn })
        };
    }
    if state.version.next() != request.version {
        return Err(Error::NotNext { tablet: tablet.id, current: state.version, version: request.version });
    }
    match (request.has_rowset, record) {
        (false, _) => Ok(Some(None)),
        (true, Some(record)) if record.is_pending() => {
            let state = RowsetState::Published(Lifetime::loaded(request.version));
            Ok(Some(Some(RowsetRecord { state, ..record.as_ref().clone() })))
        }
        (true, _) => Err(Error::MissingRowset { tablet: tablet.id, txn }),
    }
}

/// Whether what a published version brought, if anything, is in a compaction's rowset by now: the next live one then
/// holds all from some version before it up to its own.
fn is_compacted(state: &State, version: Version) -> bool {
    state.live().into_iter().find(|(_, newest, _)| *newest >= version).is_some_and(|(id, ..)| is_compaction(id))
}
