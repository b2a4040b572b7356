//! Rows that a compaction moved: where they are now, by where they were.
//!
//! When a compaction of a PRIMARY KEY table is committed, the index leads to rows of its inputs. They are not looked for by
//! their keys: the merge has left a map of rows (`crate::compaction::row_map`), by which
//!
//! - before the commit, rows of the inputs that loads replaced since they were read become rows of the output that are
//!   deleted: most of them without the tablet's commit lock, the last few under it;
//! - after the commit, what the index says is translated, until all keys of the output have been entered into it. That is
//!   done in pieces, each under the commit lock for itself, so that publishes go on in between.
//!
//! The index's marker names the inputs, not the output, until all pieces are in: after a crash the output's keys are
//! entered again as those of any rowset that the index lacks. One compaction of a tablet runs at a time, so that a tablet
//! has moved once at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TabletId, Version};
use tracing::warn;

use super::index::Location;
use super::key_file::{DELETED, Entries};
use super::rowset_keys::damaged_keys;
use super::{DeleteVector, Marks};
use crate::compaction::Stop;
use crate::compaction::merge::Source;
use crate::compaction::row_map::{InputRow, RowMap};
use crate::engine::Engine;
use crate::error::IoContext;
use crate::record::{RowsetRecord, SegmentRecord};
use crate::tablet::{State, Tablet};
use crate::{Error, Result};

/// Rows that are looked up in the map at a time.
const STEP_ROWS: usize = 1 << 16;
/// Keys that are entered into the index at a time: some milliseconds.
const PIECE_KEYS: usize = if cfg!(test) { 8 } else { 1 << 14 };

/// Where the rows of a compaction's inputs went.
#[derive(Debug)]
pub(crate) struct Moved {
    tablet: TabletId,
    /// By segment: its input, and how many rows of the input come before it.
    parts: HashMap<(RowsetId, u32), Part>,
    inputs: BTreeSet<RowsetId>,
    output: RowsetId,
    /// Rows of the output's segments up to the end of each.
    ends: Vec<u64>,
    map: RowMap,
}

#[derive(Debug)]
struct Part {
    input: u32,
    before: u64,
    /// Rows that were not merged.
    deleted: RoaringBitmap,
}

/// Rows of an output that are to be deleted when it is committed, and how far the inputs were looked at.
#[derive(Debug, Default)]
pub(crate) struct Died {
    rows: BTreeMap<u32, RoaringBitmap>,
    /// Deleted rows of the inputs that are accounted for.
    seen: HashMap<(RowsetId, u32), RoaringBitmap>,
}

impl Moved {
    /// Rows of `sources`, input by input, that became `segments` of `output`.
    pub(crate) fn new(
        tablet: TabletId,
        sources: Vec<Vec<Source>>,
        inputs: BTreeSet<RowsetId>,
        output: RowsetId,
        segments: &[SegmentRecord],
        map: RowMap,
    ) -> Self {
        let mut parts = HashMap::new();
        for (input, sources) in (0..).zip(sources) {
            let mut before = 0;
            for Source { key, rows, deleted } in sources {
                let live = rows - deleted.len();
                parts.insert((key.rowset, key.segment), Part { input, before, deleted });
                before += live;
            }
        }
        let ends = segments.iter().scan(0, |end, segment| {
            *end += segment.rows;
            Some(*end)
        });
        Self { tablet, parts, inputs, output, ends: ends.collect(), map }
    }

    /// Whether an index that has these rowsets finds all rows of the output by the map.
    pub(super) fn is_covered_by(&self, complete: &BTreeSet<RowsetId>) -> bool {
        self.inputs.is_subset(complete)
    }

    /// The rowsets that an index of the rowsets `live` has while the output is not entered.
    pub(super) fn entered(&self, mut live: BTreeSet<RowsetId>) -> BTreeSet<RowsetId> {
        if live.remove(&self.output) {
            live.extend(&self.inputs);
        }
        live
    }

    /// The output.
    pub(super) const fn output(&self) -> RowsetId {
        self.output
    }

    fn input_row(&self, rowset: RowsetId, segment: u32, row: u32) -> Option<InputRow> {
        let part = self.parts.get(&(rowset, segment))?;
        if part.deleted.contains(row) {
            return None;
        }
        Some(InputRow { input: part.input, row: part.before + u64::from(row) - part.deleted.rank(row) })
    }

    fn location(&self, row: u64) -> Option<Location> {
        let segment = self.ends.partition_point(|end| *end <= row);
        let start = if segment == 0 { 0 } else { *self.ends.get(segment - 1)? };
        (segment < self.ends.len()).then(|| Location {
            rowset: self.output,
            segment: segment as u32,
            row: (row - start) as u32,
        })
    }

    /// Replaces locations in the inputs by those in the output; by none if the row had died before it was read.
    pub(super) fn translate(&self, found: &mut [Option<Location>]) -> std::io::Result<()> {
        let (mut wanted, mut places) = (Vec::new(), Vec::new());
        for (place, location) in found.iter_mut().enumerate() {
            let Some(at) = location.filter(|at| self.inputs.contains(&at.rowset)) else { continue };
            *location = None;
            if let Some(row) = self.input_row(at.rowset, at.segment, at.row) {
                wanted.push(row);
                places.push(place);
            }
        }
        self.map.find(&wanted, |position, row| found[places[position]] = self.location(row))
    }

    /// Adds what died in the inputs since the last call. Reads the map.
    fn look(&self, state: &State, died: &mut Died) -> std::io::Result<()> {
        for (place, part) in &self.parts {
            let Some(vector) = state.delete_vectors.get(place) else { continue };
            let seen = died.seen.entry(*place).or_insert_with(|| part.deleted.clone());
            if vector.rows == seen.len() {
                continue;
            }
            let now = vector.bitmap();
            let new = &now - &*seen;
            *seen = now;
            let mut rows = new.iter().filter_map(|row| self.input_row(place.0, place.1, row));
            loop {
                let step: Vec<InputRow> = rows.by_ref().take(STEP_ROWS).collect();
                if step.is_empty() {
                    break;
                }
                self.map.find(&step, |_, row| {
                    if let Some(at) = self.location(row) {
                        died.rows.entry(at.segment).or_default().insert(at.row);
                    }
                })?;
            }
        }
        Ok(())
    }
}

impl Died {
    /// The output's delete vectors from version `at` on.
    fn marks(&self, output: RowsetId, at: Version) -> Marks {
        let vectors = self.rows.iter().filter(|(_, rows)| !rows.is_empty());
        Marks(vectors.map(|(segment, rows)| ((output, *segment), DeleteVector::new(at, rows))).collect())
    }
}

impl Engine {
    /// Looks at what loads did to a compaction's inputs up to now. Blocks; needs no lock.
    pub(crate) fn look_at_inputs(&self, tablet: &Tablet, moved: &Moved, died: &mut Died) -> Result<()> {
        let state = tablet.state.read().clone();
        moved.look(&state, died).doing("read", self.dir.tablet(tablet.id))
    }

    /// The delete vectors of an output that is to be listed from version `at` on. Under the tablet's commit lock: what is
    /// left is what was published since the inputs were last looked at. Blocks.
    pub(crate) fn marks_of_output(
        &self,
        tablet: &Tablet,
        moved: &Moved,
        died: &mut Died,
        at: Version,
    ) -> Result<Marks> {
        self.look_at_inputs(tablet, moved, died)?;
        Ok(died.marks(moved.output, at))
    }

    /// Lets the index find the rows of a committed output by where they were. Under the tablet's commit lock. Blocks.
    pub(crate) fn install_moved(&self, moved: Moved) {
        let store = self.primary.store.read();
        // Without a store, or with one that lacks an input, the next publish enters the output.
        let Some(store) = &*store else { return };
        let mut complete = self.primary.complete.lock();
        if let std::collections::hash_map::Entry::Vacant(unknown) = complete.entry(moved.tablet) {
            match store.marker(moved.tablet) {
                Ok(Some(marker)) => drop(unknown.insert(marker)),
                Ok(None) | Err(_) => return,
            }
        }
        if complete.get(&moved.tablet).is_some_and(|complete| moved.is_covered_by(complete)) {
            drop(complete);
            self.primary.moved.lock().insert(moved.tablet, Arc::new(moved));
        }
    }

    /// Replaces what the index says of rows that a compaction has moved by where they are. Blocks.
    pub(super) fn translate(&self, tablet: &Tablet, found: &mut [Option<Location>]) -> Result<()> {
        let moved = self.primary.moved.lock().get(&tablet.id).cloned();
        let Some(moved) = moved else { return Ok(()) };
        // A map that cannot be read is as good as an index that cannot: both are made anew.
        moved.translate(found).map_err(|error| {
            warn!(tablet = %tablet.id, %error, "the row map of a compaction cannot be read");
            Error::Index { action: "translate", path: self.dir.tablet(tablet.id), source: None }
        })
    }

    /// Enters the keys of an output into the index, piece by piece, and forgets where its rows were. Whatever keeps it from
    /// doing so, the next publish does it. Blocks; takes the tablet's commit lock for each piece.
    pub(crate) fn enter_output(&self, tablet: &Tablet, output: RowsetId, record: &RowsetRecord, stop: &Stop) {
        if !self.has_moved(tablet, output) {
            return;
        }
        if let Err(error) = self.enter_pieces(tablet, output, record, stop) {
            if !matches!(error, Error::Stopped(_)) {
                let reason = tarn_proto::error::chain(&error);
                warn!(tablet = %tablet.id, reason, "the keys of a compaction are entered by the next load");
            }
            let _commit = tablet.commit.lock();
            self.primary.moved.lock().remove(&tablet.id);
        }
    }

    fn has_moved(&self, tablet: &Tablet, output: RowsetId) -> bool {
        self.primary.moved.lock().get(&tablet.id).is_some_and(|moved| moved.output == output)
    }

    /// Whether the output is entered still, under the tablet's commit lock: an index that was made anew, or is behind, has not
    /// all pieces that were entered before, and gets the output with the next publish.
    fn is_entering(&self, tablet: &Tablet, output: RowsetId) -> bool {
        let complete = self.primary.complete.lock().get(&tablet.id).cloned().unwrap_or_default();
        let mut all = self.primary.moved.lock();
        let goes_on = |moved: &&Arc<Moved>| moved.output == output && moved.is_covered_by(&complete);
        if all.get(&tablet.id).filter(goes_on).is_some() {
            return true;
        }
        all.remove(&tablet.id);
        false
    }

    fn enter_pieces(&self, tablet: &Tablet, output: RowsetId, record: &RowsetRecord, stop: &Stop) -> Result<()> {
        for (number, segment) in (0..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0) {
            let place = SegmentKey { tablet: tablet.id, rowset: output, segment: number };
            let mut file = self.open_keys(place, segment)?;
            let mut block = Entries::new();
            while file.next(&mut block).map_err(|what| damaged_keys(place, what))? {
                for start in (0..block.rows.len()).step_by(PIECE_KEYS) {
                    stop.check(tablet)?;
                    let piece = start..block.rows.len().min(start + PIECE_KEYS);
                    if !self.enter_piece(tablet, place, &block, piece)? {
                        return Ok(());
                    }
                    #[cfg(test)]
                    self.primary.between_steps();
                }
            }
        }
        let _commit = tablet.commit.lock();
        if !self.is_entering(tablet, output) {
            return Ok(());
        }
        let store = self.primary.store.read();
        let live: BTreeSet<RowsetId> = tablet.state.read().live().into_iter().map(|(id, ..)| id).collect();
        let Some(store) = &*store else { return Ok(()) };
        // What the index lacks beside the output, it lacks still.
        let complete = self.primary.complete.lock().get(&tablet.id).cloned().unwrap_or_default();
        let complete = live.into_iter().filter(|id| *id == output || complete.contains(id)).collect();
        store.changes(tablet.id).finish(&complete)?;
        self.primary.complete.lock().insert(tablet.id, complete);
        self.primary.moved.lock().remove(&tablet.id);
        Ok(())
    }

    /// Enters keys of a segment whose rows live; false if somebody else has entered the output, or nobody needs it.
    fn enter_piece(&self, tablet: &Tablet, place: SegmentKey, entries: &Entries, piece: Range<usize>) -> Result<bool> {
        let _commit = tablet.commit.lock();
        if !self.is_entering(tablet, place.rowset) {
            return Ok(false);
        }
        let store = self.primary.store.read();
        let Some(store) = &*store else { return Ok(false) };
        let vector = tablet.state.read().delete_vectors.get(&(place.rowset, place.segment)).cloned();
        let dead = vector.map(|vector| vector.bitmap()).unwrap_or_default();
        let mut changes = store.changes(place.tablet);
        for i in piece {
            let row = entries.rows[i];
            if row != DELETED && !dead.contains(row) {
                changes.put(entries.keys.get(i), Location { rowset: place.rowset, segment: place.segment, row })?;
            }
        }
        changes.write()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
