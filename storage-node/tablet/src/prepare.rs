//! What is done for a publish before anybody has to wait for it: work that reads rows that are there.
//!
//! ```text
//!  an update   its rows are completed from those that they replace ──► temporary segments   (`primary::resolve`)
//!  a delete    the predicate over the rows that are there          ──► rows to mark
//! ```
//!
//! The outcome is a function of the load and of the version before it, whose rows never change, so that every replica
//! comes to the same rows. None of it holds the tablet's commit lock but for looking up where rows are: loads and
//! compactions go on. A compaction that is committed meanwhile leaves the rows as they are, elsewhere: an update has read
//! them by then or looks for them again, and a delete looks at its output under the lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::MutexGuard;
use roaring::RoaringBitmap;
use tarn_proto::storage::{DeletePredicate, PublishTablet, SegmentKey};
use tarn_proto::{RowsetId, TabletId, TxnId, Version};

use crate::compaction::read::Reader;
use crate::delete_predicate::Matcher;
use crate::engine::Engine;
use crate::engine::commit::resolved_of;
use crate::layout::sync_dir;
use crate::primary::Marks;
use crate::primary::resolve::Resolved;
use crate::record::{Change, RowsetRecord, RowsetState, SegmentRecord};
use crate::tablet::{State, Tablet};
use crate::{Error, Result, parallel};

/// Rows of a batch that a predicate is evaluated on.
const PREDICATE_ROWS: u64 = 65_536;
/// Memory of a value that a predicate looks at, about.
const PREDICATE_VALUE_BYTES: u64 = 32;

/// Rows to be deleted, by rowset and segment.
pub(crate) type Deleted = HashMap<(RowsetId, u32), RoaringBitmap>;

/// What was prepared for a publish. While it lives, nobody else prepares the same tablets.
pub(crate) struct Prepared<'a> {
    tablets: BTreeMap<TabletId, Result<Outcome>>,
    _alone: Vec<MutexGuard<'a, ()>>,
}

/// What was prepared for one tablet.
pub(crate) enum Outcome {
    /// The rows of an update, completed.
    Rows(Resolved),
    /// The rows that a delete matches.
    Deletes(Deleted),
}

impl Prepared<'_> {
    /// What was prepared for a tablet, if anything had to be.
    pub(crate) fn take(&mut self, tablet: TabletId) -> Result<Option<Outcome>> {
        self.tablets.remove(&tablet).transpose()
    }
}

impl Engine {
    /// Prepares a transaction's publish in those tablets where it is more than adding rows. Blocks, and works the
    /// processor.
    pub(crate) fn prepare<'a>(
        &self,
        txn: TxnId,
        tablets: &'a [Arc<Tablet>],
        requests: &BTreeMap<TabletId, &PublishTablet>,
    ) -> Prepared<'a> {
        let mut alone = Vec::new();
        let mut work = Vec::new();
        for tablet in tablets {
            let Some(request) = requests.get(&tablet.id).filter(|request| request.has_rowset) else { continue };
            if to_prepare(tablet, txn, request.version).is_none() {
                continue;
            }
            // A publish that is asked for again while it runs waits for the first, and finds it done.
            alone.push(tablet.preparing.lock());
            if let Some((rowset, record)) = to_prepare(tablet, txn, request.version) {
                work.push((tablet, rowset, record, request.version));
            }
        }
        let done = parallel::each("publish", work, |(tablet, rowset, record, at)| {
            (tablet.id, self.prepare_tablet(tablet, rowset, &record, at))
        });
        Prepared { tablets: done.into_iter().collect(), _alone: alone }
    }

    fn prepare_tablet(&self, tablet: &Tablet, rowset: RowsetId, record: &RowsetRecord, at: Version) -> Result<Outcome> {
        match &record.change {
            Some(Change::Delete(predicate)) => {
                let live = tablet.state.read().live();
                let rowsets = live.iter().map(|(id, _, record)| (*id, record.as_ref()));
                // To the end: see `engine::publish`.
                let columns = predicate.conditions.len() as u64;
                let _memory = self.publish_memory.take(PREDICATE_ROWS * PREDICATE_VALUE_BYTES * columns);
                self.predicate_rows(tablet, predicate, rowsets).map(Outcome::Deletes)
            }
            Some(Change::Update { update, condition }) => {
                let resolved = self.resolve(tablet, rowset, record, update, condition.as_ref(), at)?;
                self.store_segments(tablet, &resolved.segments)?;
                Ok(Outcome::Rows(resolved))
            }
            None => Err(Error::Background("a publish that has nothing to prepare")),
        }
    }

    /// Gives the segments of an update their names, durably, and returns the rowset that is published in the place of the
    /// one that was loaded. Under the commit lock. Blocks.
    pub(crate) fn name_resolved(
        &self,
        tablet: &Tablet,
        txn: TxnId,
        resolved: Resolved,
        state: RowsetState,
    ) -> Result<(RowsetId, RowsetRecord)> {
        let Resolved { segments, schema_version } = resolved;
        let named = segments.into_iter().map(|segment| segment.keep(&self.dir)).collect::<Result<Vec<SegmentRecord>>>();
        let segments = named.and_then(|segments| sync_dir(&self.dir.tablet(tablet.id)).map(|()| segments));
        let segments = segments.inspect_err(|error| tablet.note(error))?;
        Ok((resolved_of(txn), RowsetRecord { txn, state, schema_version, segments, change: None }))
    }

    /// The delete vectors at version `at` of rows that `predicate` matches: those that were found before, and those of
    /// rowsets that a compaction has made since. Under the commit lock. Blocks.
    pub(crate) fn plan_delete(
        &self,
        tablet: &Tablet,
        predicate: &DeletePredicate,
        mut found: Deleted,
        before: &State,
        at: Version,
    ) -> Result<Marks> {
        let live = before.live();
        let is_new = |id: &RowsetId, record: &RowsetRecord| {
            let numbered = (0..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0);
            let mut numbers = numbered.map(|(number, _)| number);
            numbers.any(|number: u32| !found.contains_key(&(*id, number)))
        };
        let new =
            live.iter().filter(|(id, _, record)| is_new(id, record)).map(|(id, _, record)| (*id, record.as_ref()));
        let more = self.predicate_rows(tablet, predicate, new)?;
        found.extend(more);
        let is_live = |rowset: &RowsetId| live.iter().any(|(id, ..)| id == rowset);
        found.retain(|(rowset, _), rows| is_live(rowset) && !rows.is_empty());
        Ok(Marks::of(before, found, at))
    }

    /// The rows of rowsets that a predicate matches: an entry for each segment that has rows. Blocks.
    pub(crate) fn predicate_rows<'a>(
        &self,
        tablet: &Tablet,
        predicate: &DeletePredicate,
        rowsets: impl Iterator<Item = (RowsetId, &'a RowsetRecord)>,
    ) -> Result<Deleted> {
        let refused = |source| Error::Rows { tablet: tablet.id, source };
        let matcher = Matcher::new(predicate, &tablet.shape().schema).map_err(refused)?;
        let reader = Reader::new(PREDICATE_ROWS);
        let mut deleted = Deleted::new();
        for (rowset, record) in rowsets {
            for (number, segment) in (0u32..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0) {
                let key = SegmentKey { tablet: tablet.id, rowset, segment: number };
                let mut rows = RoaringBitmap::new();
                let mut first = 0;
                let mut columns = reader.columns(self, key, segment, matcher.columns().to_vec(), None)?;
                while let Some(batch) = columns.next()? {
                    let matching = matcher.matches(&batch).map_err(refused)?;
                    rows.extend(matching.set_indices_u32().map(|row| first + row));
                    first += batch.num_rows() as u32;
                }
                deleted.insert((rowset, number), rows);
            }
        }
        Ok(deleted)
    }
}

/// The pending rowset that a publish at this version adds to the tablet, if it has to be prepared.
fn to_prepare(tablet: &Tablet, txn: TxnId, version: Version) -> Option<(RowsetId, Arc<RowsetRecord>)> {
    let state = tablet.state.read();
    if state.dropped || state.version.next() != version {
        return None;
    }
    let (rowset, record) = state.rowset_of_txn(txn)?;
    (record.is_pending() && record.change.is_some()).then_some((rowset, record))
}
