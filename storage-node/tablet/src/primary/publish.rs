//! What publishing and compacting a PRIMARY KEY tablet mean for its rows and for the index. All of this happens under the
//! tablet's commit lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, SchemaVersion, Version};
use tracing::warn;

use super::index::{IndexChanges, Location, Store};
use super::key::{Keys, encode};
use super::key_file::DELETED;
use super::merge::Place;
use super::rowset_keys::segments;
use super::{DeleteVector, Marks};
use crate::compaction::segment_rows::SegmentRows;
use crate::engine::Engine;
use crate::record::{RowsetRecord, SegmentRecord};
use crate::tablet::{State, Tablet};
use crate::{Error, Result, metrics};

/// Keys that are merged and looked up at a time.
pub(crate) const STEP_KEYS: usize = 1 << 16;

/// Rows of a tablet whose keys are worth files of their own in the index.
const BULK_ROWS: u64 = if cfg!(test) { 16 } else { 1 << 16 };

/// Rows to be marked, by rowset and segment.
pub(super) type Rows = HashMap<(RowsetId, u32), Vec<u32>>;

impl Engine {
    /// The delete vectors that publishing `rowset` as version `at` makes: of rows whose keys it has or deletes, and of rows
    /// of its own whose keys its later segments have or delete. Blocks.
    pub(crate) fn plan_publish(
        &self,
        tablet: &Tablet,
        rowset: RowsetId,
        record: &RowsetRecord,
        at: Version,
    ) -> Result<Marks> {
        let state = tablet.state.read().clone();
        let rows = match self.join_keys(tablet, &state, rowset, record)? {
            // The index has to be complete for what is published: it gets the keys afterwards.
            Some(rows) => self.with_index(tablet, &state, |_| Ok(())).map(|()| rows)?,
            None => self.with_index(tablet, &state, |store| self.look_up(store, tablet, &state, rowset, record))?,
        };
        let rows = rows.into_iter().map(|(place, mut rows)| {
            rows.sort_unstable();
            rows.dedup();
            (place, RoaringBitmap::from_sorted_iter(rows).expect("sorted, each once"))
        });
        let marks = Marks::of(&state, rows, at);
        metrics::primary_rows_replaced(marks.added(&state));
        Ok(marks)
    }

    /// Asks the index for the rows whose keys a rowset has or deletes, its own among them if a later segment of it does.
    pub(super) fn look_up(
        &self,
        store: &Store,
        tablet: &Tablet,
        state: &State,
        rowset: RowsetId,
        record: &RowsetRecord,
    ) -> Result<Rows> {
        if record.rows() >= BULK_ROWS && !has_rows(state) {
            return self.enter_first(store, tablet, rowset, record);
        }
        let live = Live::of(state);
        let mut merge = self.rowset_keys(tablet, rowset, record)?;
        let (mut keys, mut last, mut found, mut rows) = (Keys::new(), Vec::new(), Vec::new(), Rows::new());
        let mut lost = |_, place: Place| own_row(&mut rows, rowset, place);
        let mut replaced = Vec::new();
        while merge.next(STEP_KEYS, &mut keys, &mut last, &mut lost)? {
            store.lookup(tablet.id, &keys, &mut found)?;
            self.translate(tablet, &mut found)?;
            for location in found.iter().flatten() {
                if live.has(store, *location)? {
                    replaced.push(*location);
                }
            }
        }
        for location in replaced {
            rows.entry((location.rowset, location.segment)).or_default().push(location.row);
        }
        Ok(rows)
    }

    /// Enters the keys of a rowset that is to be published in a tablet without rows: nothing has to be looked up. Until it is
    /// published, entries that lead to it count for nothing. Returns rows of its own whose keys its later segments have or
    /// delete. Blocks.
    fn enter_first(&self, store: &Store, tablet: &Tablet, rowset: RowsetId, record: &RowsetRecord) -> Result<Rows> {
        let mut rows = Rows::new();
        self.enter_files(store, tablet, rowset, record, |place| own_row(&mut rows, rowset, place))?;
        self.primary.entered.lock().insert(tablet.id, rowset);
        Ok(rows)
    }

    /// Hands the keys of a rowset to the index as files. `lost` gets the rows whose keys later segments have or delete.
    fn enter_files(
        &self,
        store: &Store,
        tablet: &Tablet,
        rowset: RowsetId,
        record: &RowsetRecord,
        mut lost: impl FnMut(Place),
    ) -> Result<()> {
        let mut merge = self.rowset_keys(tablet, rowset, record)?;
        let (mut keys, mut last) = (Keys::new(), Vec::new());
        let mut bulk = store.bulk(tablet.id);
        while merge.next(STEP_KEYS, &mut keys, &mut last, |_, place| lost(place))? {
            for (i, Place { segment, row }) in last.iter().copied().enumerate() {
                match row {
                    DELETED => bulk.delete(keys.get(i))?,
                    row => bulk.put(keys.get(i), Location { rowset, segment, row })?,
                }
            }
        }
        bulk.finish()
    }

    /// Enters a rowset that was just published, and is in the tablet's state, into the index. If that fails, the next
    /// publish does it. Blocks.
    pub(crate) fn apply_keys(&self, tablet: &Tablet, rowset: RowsetId) {
        let store = self.primary.store.read();
        // Taken out: if the change fails half-way, the marker tells what is complete. Without a store or if it was
        // replaced since the plan, there is nothing to keep up to date.
        let complete = self.primary.complete.lock().remove(&tablet.id);
        let (Some(store), Some(complete)) = (&*store, complete) else { return };
        let state = tablet.state.read().clone();
        let live: BTreeSet<RowsetId> = state.live().into_iter().map(|(id, ..)| id).collect();
        let live = self.entered(tablet, live, &complete);
        if live.iter().any(|id| *id != rowset && !complete.contains(id)) {
            return;
        }
        match self.apply(store, tablet, &state, rowset, &live) {
            Ok(()) => drop(self.primary.complete.lock().insert(tablet.id, live)),
            Err(error) => {
                let reason = tarn_proto::error::chain(&error);
                warn!(tablet = %tablet.id, reason, "the primary-key index is behind: the next load brings it up to date");
            }
        }
    }

    /// Which rows of a segment are deleted at a version that is kept. Blocks.
    pub(crate) fn delete_vector_at(
        &self,
        tablet: &Tablet,
        rowset: RowsetId,
        segment: u32,
        version: Version,
    ) -> Result<Option<DeleteVector>> {
        let newest = tablet.state.read().delete_vectors.get(&(rowset, segment)).cloned();
        match newest {
            Some(newest) if newest.since > version => self.meta.delete_vector(tablet.id, rowset, segment, version),
            newest => Ok(newest),
        }
    }

    /// Forgets delete vectors that no version from the tablet's oldest on needs, once that is durable and in its state:
    /// who reads an older one meanwhile finds that it is no longer kept. If it fails, the next call does it. Blocks.
    pub(crate) fn drop_old_vectors(&self, tablet: &Tablet) {
        let (oldest, rowsets) = {
            let mut state = tablet.state.write();
            let rowsets: BTreeSet<RowsetId> = state.rowsets.keys().copied().collect();
            state.delete_vectors.retain(|(rowset, _), _| rowsets.contains(rowset));
            (state.oldest, rowsets)
        };
        let old = self.meta.old_delete_vectors(tablet.id, oldest, |rowset| rowsets.contains(&rowset));
        if let Err(error) = old.and_then(|changes| self.write(changes)) {
            warn!(tablet = %tablet.id, reason = tarn_proto::error::chain(&error), "cannot forget old delete vectors");
        }
    }

    fn apply(
        &self,
        store: &Store,
        tablet: &Tablet,
        state: &State,
        rowset: RowsetId,
        live: &BTreeSet<RowsetId>,
    ) -> Result<()> {
        let mut changes = store.changes(tablet.id);
        let is_entered = self.primary.entered.lock().remove(&tablet.id) == Some(rowset);
        let record = state.rowsets.get(&rowset).filter(|record| record.is_live() && !is_entered);
        if let Some(record) = record
            && !self.enter_many(store, tablet, rowset, record)?
        {
            // A key may be deleted by one segment and inserted by another: the row that lives is put last.
            for (place, segment) in segments(tablet, rowset, record) {
                if self.open_keys(place, segment)?.deletes() {
                    let mut delete = |key: &[u8], row| if row == DELETED { changes.delete(key) } else { Ok(()) };
                    self.each_entry(place, segment, &mut delete)?;
                }
            }
            for segment in segments(tablet, rowset, record) {
                self.put_rows(&mut changes, tablet, state, segment, record.schema_version)?;
            }
        }
        changes.finish(live)
    }

    /// Enters a rowset of many keys; false if it has few, or a key file is damaged.
    fn enter_many(&self, store: &Store, tablet: &Tablet, rowset: RowsetId, record: &RowsetRecord) -> Result<bool> {
        if record.rows() < BULK_ROWS {
            return Ok(false);
        }
        match self.enter_files(store, tablet, rowset, record, drop) {
            Err(Error::Damaged { .. }) => Ok(false),
            entered => entered.map(|()| true),
        }
    }

    /// Does `work` with an index that is complete for the tablet. Blocks.
    pub(super) fn with_index<T>(
        &self,
        tablet: &Tablet,
        state: &State,
        work: impl Fn(&Store) -> Result<T>,
    ) -> Result<T> {
        self.primary.with(
            |id| self.tablet(id).is_ok(),
            |store| {
                self.catch_up(store, tablet, state)?;
                work(store)
            },
        )
    }

    /// Adds the rowsets that the index lacks.
    fn catch_up(&self, store: &Store, tablet: &Tablet, state: &State) -> Result<()> {
        let live = state.live();
        let ids: BTreeSet<RowsetId> = live.iter().map(|(id, ..)| *id).collect();
        let known = self.primary.complete.lock().get(&tablet.id).cloned();
        let complete = match known {
            Some(complete) => complete,
            None => match store.marker(tablet.id)? {
                Some(complete) => complete,
                None => {
                    store.clear(tablet.id)?;
                    BTreeSet::new()
                }
            },
        };
        let ids = self.entered(tablet, ids, &complete);
        let missing: Vec<_> = live.into_iter().filter(|(id, ..)| ids.contains(id) && !complete.contains(id)).collect();
        if !missing.is_empty() {
            let mut changes = store.changes(tablet.id);
            for (rowset, _, record) in &missing {
                for segment in segments(tablet, *rowset, record) {
                    self.put_rows(&mut changes, tablet, state, segment, record.schema_version)?;
                }
            }
            changes.finish(&ids)?;
            metrics::primary_rowsets_entered_again(missing.len());
        }
        self.primary.complete.lock().insert(tablet.id, ids);
        Ok(())
    }

    /// The rowsets that the index is to be complete for when it is for `live`: where a compaction's output is found by where
    /// its rows were, its inputs in place of it. If the index, which is complete for `complete`, lacks these, where the rows
    /// were is of no use and is forgotten.
    fn entered(&self, tablet: &Tablet, live: BTreeSet<RowsetId>, complete: &BTreeSet<RowsetId>) -> BTreeSet<RowsetId> {
        let mut all = self.primary.moved.lock();
        match all.get(&tablet.id) {
            None => live,
            Some(moved) if live.contains(&moved.output()) && moved.is_covered_by(complete) => moved.entered(live),
            Some(_) => {
                all.remove(&tablet.id);
                live
            }
        }
    }

    /// Lets the keys of a segment's live rows lead to them.
    fn put_rows(
        &self,
        changes: &mut IndexChanges<'_>,
        tablet: &Tablet,
        state: &State,
        (place, segment): (SegmentKey, &SegmentRecord),
        schema_version: SchemaVersion,
    ) -> Result<()> {
        let dead =
            state.delete_vectors.get(&(place.rowset, place.segment)).map(DeleteVector::bitmap).unwrap_or_default();
        self.each_key(tablet, place, segment, schema_version, |key, row| {
            if dead.contains(row) {
                return Ok(());
            }
            changes.put(key, Location { rowset: place.rowset, segment: place.segment, row })
        })
    }

    /// Goes through the keys of a published segment's rows, dead ones too: in their order, from the key file; if that is
    /// damaged, once more in the order of the rows, from these.
    fn each_key(
        &self,
        tablet: &Tablet,
        place: SegmentKey,
        segment: &SegmentRecord,
        schema_version: SchemaVersion,
        mut each: impl FnMut(&[u8], u32) -> Result<()>,
    ) -> Result<()> {
        match self.each_entry(place, segment, |key, row| if row == DELETED { Ok(()) } else { each(key, row) }) {
            Err(error @ Error::Damaged { .. }) => {
                let reason = tarn_proto::error::chain(&error);
                warn!(tablet = %tablet.id, reason, "the keys of a segment are read from its rows");
            }
            done => return done,
        }
        let shape = tablet.shape();
        let mut number = 0;
        let mut rows = SegmentRows::new(&shape, place, segment, schema_version);
        while let Some(batch) = rows.next(self)? {
            let keys = encode(&shape.schema, batch.columns());
            let keys = keys.map_err(|source| Error::Rows { tablet: tablet.id, source })?;
            for i in 0..keys.len() {
                each(keys.get(i), number)?;
                number += 1;
            }
        }
        Ok(())
    }
}

/// Adds a row of the rowset that is published.
fn own_row(rows: &mut Rows, rowset: RowsetId, place: Place) {
    rows.entry((rowset, place.segment)).or_default().push(place.row);
}

/// The rowsets of a tablet's newest version.
pub(super) struct Live(HashMap<RowsetId, Arc<RowsetRecord>>);

impl Live {
    pub(super) fn of(state: &State) -> Self {
        Self(state.live().into_iter().map(|(id, _, record)| (id, record)).collect())
    }

    /// Whether an entry of the index leads to a row of a rowset that is listed. One that leads beyond a segment is damage.
    pub(super) fn has(&self, store: &Store, location: Location) -> Result<bool> {
        let Some(record) = self.0.get(&location.rowset) else { return Ok(false) };
        match record.segments.get(location.segment as usize) {
            Some(segment) if u64::from(location.row) < segment.rows => Ok(true),
            _ => Err(store.damaged()),
        }
    }
}

/// Whether any row of a tablet lives.
fn has_rows(state: &State) -> bool {
    state.live().iter().any(|(rowset, _, record)| {
        let vectors = state.delete_vectors.range((*rowset, 0)..=(*rowset, u32::MAX));
        record.rows() > vectors.map(|(_, vector)| vector.rows).sum()
    })
}
