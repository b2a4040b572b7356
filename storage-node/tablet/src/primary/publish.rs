//! What publishing and compacting a PRIMARY KEY tablet mean for its rows and for the index. All of this happens under the
//! tablet's commit lock.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, SchemaVersion, Version};
use tracing::warn;

use super::index::{IndexChanges, Location, Store};
use super::key::{Keys, encode};
use super::key_file::{DELETED, Entries, Reader};
use super::merge::{Fault, KeyMerge, Place};
use super::{DeleteVector, Marks};
use crate::compaction::segment_rows::SegmentRows;
use crate::engine::Engine;
use crate::layout::key_file_name;
use crate::open_segment::{damaged, unreadable};
use crate::record::{RowsetRecord, SegmentRecord};
use crate::tablet::{State, Tablet};
use crate::{Error, Result, metrics};

/// Keys that are merged and looked up at a time.
const STEP_KEYS: usize = 1 << 16;
/// Bytes of a key file that are read at a time.
const READ_BYTES: usize = 128 << 10;

/// Rows to be marked, by rowset and segment.
type Rows = HashMap<(RowsetId, u32), Vec<u32>>;

type KeyFile = Reader<BufReader<File>>;

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
        let live = Live::of(&state);
        let rows = self.with_index(tablet, &state, |store| {
            let (mut rows, mut lost) = (Rows::new(), Vec::new());
            self.walk(
                store,
                tablet,
                rowset,
                record,
                |place| lost.push(place),
                |_, found| {
                    if let Some(found) = found
                        && live.has(store, found)?
                    {
                        rows.entry((found.rowset, found.segment)).or_default().push(found.row);
                    }
                    Ok(())
                },
            )?;
            for place in lost {
                rows.entry((rowset, place.segment)).or_default().push(place.row);
            }
            Ok(rows)
        })?;
        let marks = marks(&state, rows, at);
        metrics::primary_rows_replaced(marks.added(&state));
        Ok(marks)
    }

    /// The delete vectors of a compaction's output that is to be listed from version `at` on: of rows that were replaced or
    /// deleted since the inputs were read, at version `read`. Blocks.
    pub(crate) fn plan_output(
        &self,
        tablet: &Tablet,
        inputs: &[(RowsetId, Version, Arc<RowsetRecord>)],
        read: Version,
        output: RowsetId,
        record: &RowsetRecord,
        at: Version,
    ) -> Result<Marks> {
        let state = tablet.state.read().clone();
        let mut died: Vec<Vec<u8>> = Vec::new();
        for (rowset, _, record) in inputs {
            for (key, segment) in segments(tablet, *rowset, record) {
                let Some(now) = state.delete_vectors.get(&(*rowset, key.segment)) else { continue };
                if now.since <= read {
                    continue;
                }
                let before = self.meta.delete_vector(tablet.id, *rowset, key.segment, read)?;
                let new = now.bitmap() - before.as_ref().map(DeleteVector::bitmap).unwrap_or_default();
                self.each_key(tablet, key, segment, record.schema_version, |key, row| {
                    if new.contains(row) {
                        died.push(key.to_vec());
                    }
                    Ok(())
                })?;
            }
        }
        died.sort_unstable();
        died.dedup();
        let mut rows = Rows::new();
        if !died.is_empty() {
            for (key, segment) in segments(tablet, output, record) {
                let of_segment = rows.entry((output, key.segment)).or_default();
                self.each_key(tablet, key, segment, record.schema_version, |key, row| {
                    if died.binary_search_by(|died| died.as_slice().cmp(key)).is_ok() {
                        of_segment.push(row);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(marks(&state, rows, at))
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
        if let Err(error) = self.meta.drop_delete_vectors(tablet.id, oldest, |rowset| rowsets.contains(&rowset)) {
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
        if let Some(record) = state.rowsets.get(&rowset).filter(|record| record.is_live()) {
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

    /// Does `work` with an index that is complete for the tablet. Blocks.
    fn with_index<T>(&self, tablet: &Tablet, state: &State, work: impl Fn(&Store) -> Result<T>) -> Result<T> {
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
        let missing: Vec<_> = live.into_iter().filter(|(id, ..)| !complete.contains(id)).collect();
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

    /// Goes through the entries of a key file.
    fn each_entry(
        &self,
        place: SegmentKey,
        segment: &SegmentRecord,
        mut each: impl FnMut(&[u8], u32) -> Result<()>,
    ) -> Result<()> {
        let mut file = self.open_keys(place, segment)?;
        let mut entries = Entries::new();
        while file.next(&mut entries).map_err(|what| damaged_keys(place, what))? {
            for (i, row) in entries.rows.iter().enumerate() {
                each(entries.keys.get(i), *row)?;
            }
        }
        Ok(())
    }

    /// Goes through the keys of a rowset in their order: `each` gets the place of a key's last operation and where the
    /// index has it, `lost` the places that it takes from earlier segments of the rowset.
    fn walk(
        &self,
        store: &Store,
        tablet: &Tablet,
        rowset: RowsetId,
        record: &RowsetRecord,
        mut lost: impl FnMut(Place),
        mut each: impl FnMut(Place, Option<Location>) -> Result<()>,
    ) -> Result<()> {
        let fault =
            |fault: Fault| damaged_keys(SegmentKey { tablet: tablet.id, rowset, segment: fault.segment }, fault.what);
        let files = segments(tablet, rowset, record).map(|(key, segment)| self.open_keys(key, segment));
        let mut merge = KeyMerge::new(files.collect::<Result<Vec<_>>>()?).map_err(fault)?;
        let (mut keys, mut last, mut found) = (Keys::new(), Vec::new(), Vec::new());
        while merge.next(STEP_KEYS, &mut keys, &mut last, &mut lost).map_err(fault)? {
            store.lookup(tablet.id, &keys, &mut found)?;
            for (place, location) in last.iter().zip(&found) {
                each(*place, *location)?;
            }
        }
        Ok(())
    }

    fn open_keys(&self, key: SegmentKey, segment: &SegmentRecord) -> Result<KeyFile> {
        let file = File::open(self.dir.segment(key).keys)
            .map_err(|error| unreadable(key, key_file_name(key.rowset, key.segment), error))?;
        let source = BufReader::with_capacity(READ_BYTES, file);
        Reader::new(source, segment.rows, segment.checksum).map_err(|what| damaged_keys(key, what))
    }
}

fn segments<'a>(
    tablet: &Tablet,
    rowset: RowsetId,
    record: &'a RowsetRecord,
) -> impl Iterator<Item = (SegmentKey, &'a SegmentRecord)> {
    let tablet = tablet.id;
    (0..).zip(&record.segments).map(move |(segment, record)| (SegmentKey { tablet, rowset, segment }, record))
}

fn damaged_keys(key: SegmentKey, what: String) -> Error {
    damaged(key, key_file_name(key.rowset, key.segment), what)
}

/// The rowsets of a tablet's newest version.
struct Live(HashMap<RowsetId, Arc<RowsetRecord>>);

impl Live {
    fn of(state: &State) -> Self {
        Self(state.live().into_iter().map(|(id, _, record)| (id, record)).collect())
    }

    /// Whether an entry of the index leads to a row of a rowset that is listed. One that leads beyond a segment is damage.
    fn has(&self, store: &Store, location: Location) -> Result<bool> {
        let Some(record) = self.0.get(&location.rowset) else { return Ok(false) };
        match record.segments.get(location.segment as usize) {
            Some(segment) if u64::from(location.row) < segment.rows => Ok(true),
            _ => Err(store.damaged()),
        }
    }
}

/// The delete vectors at version `at` that mark `rows` beside those that are marked now.
fn marks(state: &State, rows: Rows, at: Version) -> Marks {
    let mut marks = Marks::default();
    for (place, mut rows) in rows {
        rows.sort_unstable();
        rows.dedup();
        let new = RoaringBitmap::from_sorted_iter(rows).expect("sorted, each once");
        let before = state.delete_vectors.get(&place);
        let all = before.map(DeleteVector::bitmap).unwrap_or_default() | new;
        if all.len() > before.map_or(0, |vector| vector.rows) {
            marks.0.insert(place, DeleteVector::new(at, &all));
        }
    }
    marks
}
