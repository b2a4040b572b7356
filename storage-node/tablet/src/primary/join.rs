//! Where the keys of a large load are, without the index: its keys are merged with those of all live rowsets, both in order
//! and from their key files. One step of that takes some nanoseconds, a lookup in the index microseconds.

use tarn_proto::RowsetId;
use tarn_proto::storage::SegmentKey;
use tracing::warn;

use super::key::Keys;
use super::key_file::{DELETED, Entries};
use super::merge::Place;
use super::publish::{Rows, STEP_KEYS};
use super::rowset_keys::{KeyFile, damaged_keys, segments};
use crate::engine::Engine;
use crate::record::{RowsetRecord, SegmentRecord};
use crate::tablet::{State, Tablet};
use crate::{Result, metrics};

/// A lookup in the index takes as long as merging so many keys.
const LOOKUP: u64 = if cfg!(test) { 4 } else { 128 };
/// Opening a key file does.
const FILE: u64 = if cfg!(test) { 1 } else { 2048 };
/// Key files that are open at a time, beside those of the load. Each takes about half a megabyte.
const OPEN_FILES: usize = if cfg!(test) { 4 } else { 16 };

/// A segment of the tablet.
type Segment<'a> = (SegmentKey, &'a SegmentRecord);

impl Engine {
    /// The rows whose keys `rowset` has or deletes, its own among them if a later segment of it does; none if the index is
    /// to be asked: that takes less time, or a key file is damaged. Under the tablet's commit lock. Blocks.
    pub(super) fn join_keys(
        &self,
        tablet: &Tablet,
        state: &State,
        rowset: RowsetId,
        record: &RowsetRecord,
    ) -> Result<Option<Rows>> {
        let live = state.live();
        let has_live = |(key, segment): &Segment<'_>| {
            let vector = state.delete_vectors.get(&(key.rowset, key.segment));
            vector.map_or(0, |vector| vector.rows) < segment.rows
        };
        let others = live.iter().flat_map(|(id, _, record)| segments(tablet, *id, record)).filter(has_live);
        let others: Vec<Segment<'_>> = others.collect();
        let keys: u64 = others.iter().map(|(_, segment)| segment.rows).sum();
        if others.is_empty() || keys + FILE * others.len() as u64 > LOOKUP * record.rows() {
            return Ok(None);
        }
        let mut rows = Rows::new();
        for (number, others) in others.chunks(OPEN_FILES).enumerate() {
            match self.join_files(tablet, rowset, record, others, &mut rows, number == 0) {
                Err(error) if error.damaged_rowset().is_some_and(|damaged| damaged != rowset) => {
                    let reason = tarn_proto::error::chain(&error);
                    warn!(tablet = %tablet.id, reason, "the keys of a load are looked up in the index");
                    return Ok(None);
                }
                joined => joined?,
            }
        }
        metrics::primary_keys_merged(keys);
        Ok(Some(rows))
    }

    /// Adds the rows of `others` whose keys the rowset has; if it is `first`, those of its own that it replaces.
    fn join_files(
        &self,
        tablet: &Tablet,
        rowset: RowsetId,
        record: &RowsetRecord,
        others: &[Segment<'_>],
        rows: &mut Rows,
        first: bool,
    ) -> Result<()> {
        let mut merge = self.rowset_keys(tablet, rowset, record)?;
        let mut others =
            others.iter().map(|(key, segment)| KeyRows::open(self, *key, segment)).collect::<Result<Vec<_>>>()?;
        let (mut keys, mut last, mut own) = (Keys::new(), Vec::new(), Vec::new());
        let mut lost = |_, place: Place| {
            if first {
                own.push(place);
            }
        };
        while merge.next(STEP_KEYS, &mut keys, &mut last, &mut lost)? {
            for other in &mut others {
                other.find(&keys)?;
            }
        }
        for other in others {
            if !other.found.is_empty() {
                rows.entry((other.place.rowset, other.place.segment)).or_default().extend(other.found);
            }
        }
        for place in own {
            rows.entry((rowset, place.segment)).or_default().push(place.row);
        }
        Ok(())
    }
}

/// The keys of a segment on the way to the end, and rows whose keys were found.
struct KeyRows {
    place: SegmentKey,
    file: KeyFile,
    entries: Entries,
    next: usize,
    found: Vec<u32>,
}

impl KeyRows {
    fn open(engine: &Engine, place: SegmentKey, segment: &SegmentRecord) -> Result<Self> {
        let file = engine.open_keys(place, segment)?;
        Ok(Self { place, file, entries: Entries::new(), next: 0, found: Vec::new() })
    }

    /// Finds the rows of `keys`, which are sorted and greater than those of the last call.
    fn find(&mut self, keys: &Keys) -> Result<()> {
        for number in 0..keys.len() {
            let key = keys.get(number);
            while self.is_before(key) {
                self.next = 0;
                if !self.file.next(&mut self.entries).map_err(|what| damaged_keys(self.place, what))? {
                    return Ok(());
                }
            }
            self.next = first_not_less(&self.entries.keys, self.next, key);
            let row = self.entries.rows[self.next];
            if row != DELETED && self.entries.keys.get(self.next) == key {
                self.found.push(row);
            }
        }
        Ok(())
    }

    /// Whether all entries of the block are less than `key`.
    fn is_before(&self, key: &[u8]) -> bool {
        let keys = &self.entries.keys;
        keys.len().checked_sub(1).is_none_or(|last| keys.get(last) < key)
    }
}

/// The number of the first key that is not less than `key`, from `start` on, where one is: in steps that double, as it is near.
fn first_not_less(keys: &Keys, start: usize, key: &[u8]) -> usize {
    let (mut low, mut step) = (start, 1);
    while low + step < keys.len() && keys.get(low + step) < key {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(keys.len() - 1);
    while low < high {
        let middle = usize::midpoint(low, high);
        if keys.get(middle) < key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
