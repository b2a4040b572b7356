//! From rows in temporary segments to pending rowsets, and their end: seal, abort. Each changes memory after the disk, under the
//! commit locks of its tablets, which are taken in order of their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, SchemaVersion, TabletId, TxnId, wire};

use super::Engine;
use crate::layout::sync_dir;
use crate::load::Attempt;
use crate::meta::Changes;
use crate::record::{Change, RowsetRecord, RowsetState, TabletRecord};
use crate::segment::TemporarySegment;
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result, index, metrics};

/// The rowset that a load writes.
pub(crate) const fn rowset_of(txn: TxnId) -> RowsetId {
    RowsetId(txn.get())
}

/// A rowset that a compaction is to write. Transactions never have these ids, and no rowset of the tablet ever had it, on
/// any of its replicas: readers cache segments by it, and replicas that have the same fetch none.
pub(crate) fn new_compaction() -> RowsetId {
    // Each half of a random UUID has some bits that are always the same, at different places.
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    RowsetId(COMPACTION | (high.rotate_left(32) ^ low))
}

/// The rowset that a load of some columns is published as: it has whole rows.
pub(crate) const fn resolved_of(txn: TxnId) -> RowsetId {
    RowsetId(RESOLVED | txn.get())
}

/// Whether a compaction wrote the rowset.
pub(crate) const fn is_compaction(rowset: RowsetId) -> bool {
    rowset.get() & COMPACTION != 0
}

const COMPACTION: u64 = 1 << 63;

/// A rowset with all rows of a tablet that another schema's were converted to. Like a compaction's it is no load's and no
/// other tablet's or replica's, but its segments are sorted one by one, as a load's are.
pub(crate) fn new_conversion() -> RowsetId {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    RowsetId((high.rotate_left(32) ^ low) & (CONVERSION - 1) | CONVERSION)
}

/// Whether a load wrote the rowset: it has this id on all replicas.
pub(crate) const fn is_load(rowset: RowsetId) -> bool {
    rowset.get() & (COMPACTION | CONVERSION) == 0
}

const CONVERSION: u64 = 1 << 62;
/// Transactions' numbers do not come so far.
const RESOLVED: u64 = 1 << 61;

/// A tablet's finished segments of one load, in order of their numbers, and the schema that they are written with.
pub(crate) type Finished = BTreeMap<TabletId, (Arc<Tablet>, SchemaVersion, Vec<TemporarySegment>)>;

impl Engine {
    /// Makes a load's segments, whose rows look like `shape`, pending rowsets that do `change` when they are published,
    /// durably. Tablets take its schema if it is newer than theirs. Blocks.
    pub(crate) fn seal(
        &self,
        attempt: &Arc<Attempt>,
        shape: &Arc<Shape>,
        change: Option<&Change>,
        finished: Finished,
    ) -> Result<Vec<wire::RowsetSummary>> {
        // Held to the end: who replaces or aborts the attempt waits, and then finds the rowsets.
        let open = attempt.open.lock();
        if !*open {
            return Err(attempt.replaced());
        }
        let tablets: Vec<Arc<Tablet>> = finished.values().map(|(tablet, ..)| tablet.clone()).collect();
        let _commits: Vec<_> = tablets.iter().map(|t| t.commit.lock()).collect();
        let rowset = rowset_of(attempt.txn);
        for tablet in &tablets {
            tablet.check_writable()?;
            if tablet.state.read().rowset_of_txn(attempt.txn).is_some() {
                return Err(Error::Published { tablet: tablet.id, txn: attempt.txn });
            }
        }
        self.check_duration(attempt, &tablets)?;
        let records = self.name_files(attempt.txn, change, finished)?;
        self.store_pending(attempt.txn, &records)?;
        let mut changes = Changes::default();
        for (tablet, record) in &records {
            changes.put_rowset(tablet.id, rowset, record);
            if tablet.is_behind(&shape.schema) {
                changes.put_tablet(tablet.id, &TabletRecord { schema: shape.schema.clone() });
            }
        }
        if let Err(error) = self.write(changes) {
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
                holders: Vec::new(),
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
        change: Option<&Change>,
        finished: Finished,
    ) -> Result<Vec<(Arc<Tablet>, RowsetRecord)>> {
        let mut records = Vec::with_capacity(finished.len());
        for (id, (tablet, schema_version, segments)) in finished {
            let named = segments.into_iter().map(|s| s.keep(&self.dir)).collect::<Result<Vec<_>>>();
            // What has no rows has made no directory.
            let named = named.and_then(|segments| self.dir.create_tablet(id).map(|_| segments));
            let named = named.and_then(|segments| sync_dir(&self.dir.tablet(id)).map(|()| segments));
            match named {
                Ok(segments) => {
                    let (state, change) = (RowsetState::Pending, change.cloned());
                    records.push((tablet, RowsetRecord { txn, state, schema_version, segments, change }));
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

    /// Forgets what a transaction wrote and did not publish, and stops who still writes it. Idempotent. Blocks.
    pub fn abort(&self, txn: TxnId) -> Result<()> {
        self.incoming.abort(txn);
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
                forgotten.push((tablet, record));
            }
        }
        self.meta.write(changes)?;
        for (tablet, _) in &forgotten {
            tablet.state.write().rowsets.remove(&rowset);
        }
        self.pending.lock().remove(&txn);
        for (tablet, record) in &forgotten {
            self.remove_pending(tablet, txn, record, true);
            self.remove_files(tablet.id, rowset, record.segments.len() as u32);
        }
        metrics::rowsets("aborted", forgotten.len());
        Ok(())
    }

    /// Removes the files of a rowset that no record names any more. Blocks.
    pub(crate) fn remove_files(&self, tablet: TabletId, rowset: RowsetId, segments: u32) {
        for segment in 0..segments {
            self.dir.segment(SegmentKey { tablet, rowset, segment }).remove();
        }
        index::remove_files(&self.dir, tablet, rowset);
        // Afterwards: who has the record still cannot open them anew.
        self.open.retain(|key| key.tablet != tablet || key.rowset != rowset);
    }
}
