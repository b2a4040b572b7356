//! From the rows of an update to whole rows that take the place of those that are there.
//!
//! ```text
//!  keys of the load, in order (`merge`)
//!    ──► where their rows are (`locate`, the one step under the tablet's commit lock)
//!    ──► the condition: which row of the load counts, and whether it does against the one that is there
//!    ──► columns that the load gives from its segments, the others from the old rows (`gather`)
//!    ──► a segment with these rows, and a key file with them and the keys that the load deletes
//! ```
//!
//! It goes through the keys in chunks, so that it holds a bounded part of the rows. What comes out are plain rows: who
//! publishes them, here or on a replica that fetches them, upserts them and looks at no condition any more.

use std::cmp::Ordering;

use arrow::array::ArrayRef;
use tarn_proto::storage::{PartialUpdate, SegmentKey, UpdateMode};
use tarn_proto::{Column, RowsetId, SchemaVersion, Version};

use super::flush::condition_order;
use super::index::Location;
use super::key::Keys;
use super::key_file::{DELETED, Encoder};
use super::merge::Place;
use crate::compaction::read::Reader;
use crate::engine::Engine;
use crate::engine::commit::resolved_of;
use crate::gather::Sources;
use crate::record::RowsetRecord;
use crate::segment::{Chunks, KeySource, TemporarySegment, write_sorted};
use crate::sort::sort_order;
use crate::tablet::{Shape, State, Tablet};
use crate::{Error, Result};

/// Memory for the rows of a chunk, if so many are updated. Few rows: each chunk reads what it needs of the old segments.
const ROW_MODE_BYTES: u64 = 64 << 20;
/// The same where many rows of a tablet are updated: fewer chunks go fewer times over the old segments.
const COLUMN_MODE_BYTES: u64 = 256 << 20;
/// Rows of a chunk, at least and at most.
const CHUNK_ROWS: std::ops::RangeInclusive<u64> = 1024..=1 << 20;
/// Keys that are looked up under one hold of the commit lock.
const STEP_KEYS: usize = 1 << 16;
/// How often a chunk is begun anew because the rowsets that it reads went meanwhile.
const ATTEMPTS: usize = 8;

/// Whole rows, in segments that nobody knows yet.
pub(crate) struct Resolved {
    /// The segments.
    pub segments: Vec<TemporarySegment>,
    /// The schema that they are written with.
    pub schema_version: SchemaVersion,
}

/// Keys of the load that are resolved together, in order.
struct Chunk {
    keys: Keys,
    /// The place of each key's last row, [`DELETED`] if the load deletes it.
    last: Vec<Place>,
    /// Rows before the last one of their key, by number of the key, in order.
    lost: Vec<(usize, Place)>,
}

/// What does not change from chunk to chunk.
struct Resolving<'a> {
    engine: &'a Engine,
    tablet: &'a Tablet,
    /// Of the rows that come out.
    shape: std::sync::Arc<Shape>,
    load: RowsetId,
    record: &'a RowsetRecord,
    update: &'a PartialUpdate,
    condition: Option<Column>,
    /// The version that is published.
    at: Version,
    reader: Reader,
}

impl Engine {
    /// Completes the rows of an update, a pending rowset that is to be published at version `at`. `condition` is the
    /// column of its condition as it was when the load was planned. Blocks, and works the processor.
    pub(crate) fn resolve(
        &self,
        tablet: &Tablet,
        load: RowsetId,
        record: &RowsetRecord,
        update: &PartialUpdate,
        condition: Option<&Column>,
        at: Version,
    ) -> Result<Resolved> {
        let shape = tablet.shape();
        let now = |column: &Column| shape.schema.columns.iter().find(|c| c.id == column.id).unwrap_or(column).clone();
        let row_bytes = row_bytes(tablet, &shape, record);
        // The rows as they were read and as they are put together. To the end: see `engine::publish`.
        let memory = self.publish_memory.take((2 * row_bytes * record.rows()).min(mode_bytes(update.mode)));
        let rows = (memory.bytes() / 2 / row_bytes).clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end());
        let resolving = Resolving {
            engine: self,
            tablet,
            condition: condition.map(now),
            shape: shape.clone(),
            load,
            record,
            update,
            at,
            reader: Reader::new(rows.min(1 << 16)),
        };
        let mut merge = self.rowset_keys(tablet, load, record)?;
        let mut resolved = Resolved { segments: Vec::new(), schema_version: shape.schema.version };
        loop {
            let mut chunk = Chunk { keys: Keys::new(), last: Vec::new(), lost: Vec::new() };
            let conditional = resolving.condition.is_some();
            let lost = |key, place| {
                if conditional {
                    chunk.lost.push((key, place));
                }
            };
            if !merge.next(rows as usize, &mut chunk.keys, &mut chunk.last, lost)? {
                return Ok(resolved);
            }
            let number = resolved.segments.len() as u32;
            resolved.segments.extend(resolving.chunk(&chunk, number)?);
        }
    }
}

impl Resolving<'_> {
    /// The segment of a chunk; none if nothing comes of it.
    fn chunk(&self, chunk: &Chunk, number: u32) -> Result<Option<TemporarySegment>> {
        for _ in 1..ATTEMPTS {
            match self.try_chunk(chunk, number) {
                Err(error) if self.is_gone(&error) => {}
                done => return done,
            }
        }
        self.try_chunk(chunk, number)
    }

    /// Whether an error is about a rowset that was there and has gone since.
    fn is_gone(&self, error: &Error) -> bool {
        let state = self.tablet.state.read();
        !state.dropped && error.damaged_rowset().is_some_and(|rowset| !state.rowsets.contains_key(&rowset))
    }

    fn try_chunk(&self, chunk: &Chunk, number: u32) -> Result<Option<TemporarySegment>> {
        let (old, sources) = self.locate(chunk)?;
        let winners = self.winners(chunk, &old, &sources)?;
        let kept: Vec<usize> = (0..winners.len()).filter(|key| winners[*key].is_some()).collect();
        let upserts: Vec<usize> = kept.iter().copied().filter(|key| self.location(winners[*key]).is_some()).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let columns = self.whole_rows(&upserts, &winners, &old, &sources)?;

        let refused = |source| Error::Rows { tablet: self.tablet.id, source };
        let order = if self.shape.schema.sort_key == self.shape.schema.keys {
            None
        } else {
            let sort_key: Vec<ArrayRef> = self.shape.sort_columns.iter().map(|i| columns[*i].clone()).collect();
            sort_order(&sort_key).map_err(refused)?
        };
        let mut position = vec![DELETED; winners.len()];
        match &order {
            None => upserts.iter().zip(0..).for_each(|(key, row)| position[*key] = row),
            Some(order) => order.iter().zip(0..).for_each(|(upsert, row)| position[upserts[*upsert as usize]] = row),
        }
        let mut keys = Encoder::new();
        kept.iter().for_each(|key| keys.push(chunk.keys.get(*key), position[*key]));

        let engine = self.engine;
        let key = SegmentKey { tablet: self.tablet.id, rowset: resolved_of(self.record.txn), segment: number };
        let attempt = engine.next_attempt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tablet = self.tablet.id;
        let batches = Chunks::new(self.shape.stored.clone(), columns, order, upserts.len());
        let batches = batches.map(move |batch| batch.map_err(|source| Error::Rows { tablet, source }));
        let keys = KeySource::Known(keys.into());
        write_sorted(&engine.dir, &engine.codec, &self.shape, key, attempt, keys, batches).map(Some)
    }

    /// Where the rows of the chunk's keys are before this version, and the segments that hold them and the load's.
    fn locate(&self, chunk: &Chunk) -> Result<(Vec<Option<Location>>, Sources)> {
        let mut sources = Sources::new(self.tablet.id);
        sources.add(self.load, self.record);
        let mut old = Vec::with_capacity(chunk.keys.len());
        for start in (0..chunk.keys.len()).step_by(STEP_KEYS) {
            let mut step = Keys::new();
            (start..chunk.keys.len().min(start + STEP_KEYS)).for_each(|i| step.push(chunk.keys.get(i)));
            let _commit = self.tablet.commit.lock();
            let state = self.tablet.state.read().clone();
            self.check(&state)?;
            let found = self.engine.locate(self.tablet, &state, &step)?;
            for place in found.iter().flatten() {
                if let Some(record) = state.rowsets.get(&place.rowset) {
                    sources.add(place.rowset, record);
                }
            }
            old.extend(found);
        }
        Ok((old, sources))
    }

    /// Refuses to go on where the version was published meanwhile.
    fn check(&self, state: &State) -> Result<()> {
        if state.dropped {
            return Err(Error::UnknownTablet(self.tablet.id));
        }
        if state.version.next() != self.at {
            return Err(Error::NotNext { tablet: self.tablet.id, current: state.version, version: self.at });
        }
        Ok(())
    }

    /// What becomes of each key: the place of the load's row, or of its deletion; none if it stays as it is.
    fn winners(&self, chunk: &Chunk, old: &[Option<Location>], sources: &Sources) -> Result<Vec<Option<Place>>> {
        let mut winners = chunk.last.clone();
        let mut counts = vec![true; winners.len()];
        if let Some(condition) = &self.condition {
            let refused = |source| Error::Rows { tablet: self.tablet.id, source };
            let value = |places: &[Location]| -> Result<ArrayRef> {
                let mut values = sources.gather(self.engine, &self.reader, places, std::slice::from_ref(condition))?;
                values.pop().ok_or(Error::Background("a condition"))
            };
            // Among the rows of the load: each against the best before it.
            let several: Vec<&[(usize, Place)]> = chunk.lost.chunk_by(|a, b| a.0 == b.0).collect();
            let candidates = several.iter().flat_map(|lost| {
                let last = lost.first().map(|(key, _)| chunk.last[*key]);
                lost.iter().map(|(_, place)| *place).chain(last)
            });
            let candidates: Vec<Place> = candidates.collect();
            let places: Vec<Location> = candidates.iter().map(|place| self.place(*place)).collect();
            let values = value(&places)?;
            let compare = condition_order(&values, &values).map_err(refused)?;
            let mut first = 0;
            for lost in several {
                let newer = |best: usize, next: usize| if compare(next, best) == Ordering::Less { best } else { next };
                let end = first + lost.len() + 1;
                if let (Some(best), Some((key, _))) = ((first..end).reduce(newer), lost.first()) {
                    winners[*key] = candidates[best];
                }
                first = end;
            }
            // Against the rows that are there.
            let both: Vec<(usize, Location)> =
                old.iter().enumerate().filter_map(|(key, old)| Some((key, (*old)?))).collect();
            let mine = value(&both.iter().map(|(key, _)| self.place(winners[*key])).collect::<Vec<_>>())?;
            let theirs = value(&both.iter().map(|(_, place)| *place).collect::<Vec<_>>())?;
            let compare = condition_order(&mine, &theirs).map_err(refused)?;
            for (row, (key, _)) in both.iter().enumerate() {
                counts[*key] = compare(row, row) != Ordering::Less;
            }
        }
        if self.update.only_existing {
            // A key that is deleted stays deleted.
            (0..winners.len())
                .filter(|key| winners[*key].row != DELETED && old[*key].is_none())
                .for_each(|key| counts[key] = false);
        }
        Ok(winners.into_iter().zip(counts).map(|(place, counts)| counts.then_some(place)).collect())
    }

    /// The columns of the rows of `upserts`, which are numbers of keys.
    fn whole_rows(
        &self,
        upserts: &[usize],
        winners: &[Option<Place>],
        old: &[Option<Location>],
        sources: &Sources,
    ) -> Result<Vec<ArrayRef>> {
        let loaded: Vec<Location> = upserts.iter().filter_map(|key| self.location(winners[*key])).collect();
        // A new row has in the load what it gets.
        let kept: Vec<Location> =
            upserts.iter().zip(&loaded).map(|(key, loaded)| old[*key].unwrap_or(*loaded)).collect();
        let is_given = |column: &Column| self.update.columns.contains(&column.id);
        let (given, others): (Vec<Column>, Vec<Column>) =
            self.shape.schema.columns.iter().cloned().partition(|column| is_given(column));
        let given = sources.gather(self.engine, &self.reader, &loaded, &given)?;
        let others = sources.gather(self.engine, &self.reader, &kept, &others)?;
        let (mut given, mut others) = (given.into_iter(), others.into_iter());
        let columns = self.shape.schema.columns.iter();
        let columns = columns.filter_map(|column| if is_given(column) { given.next() } else { others.next() });
        Ok(columns.collect())
    }

    /// The place of a row of the load in the tablet.
    const fn place(&self, place: Place) -> Location {
        Location { rowset: self.load, segment: place.segment, row: place.row }
    }

    /// The place of the row that a key gets; none if it gets none.
    fn location(&self, winner: Option<Place>) -> Option<Location> {
        winner.filter(|place| place.row != DELETED).map(|place| self.place(place))
    }
}

const fn mode_bytes(mode: UpdateMode) -> u64 {
    match mode {
        UpdateMode::Row => ROW_MODE_BYTES,
        UpdateMode::Column => COLUMN_MODE_BYTES,
    }
}

/// Memory of a row, about: four times as much as compressed, and sixteen bytes for each value as a number or a view.
fn row_bytes(tablet: &Tablet, shape: &Shape, record: &RowsetRecord) -> u64 {
    let live = tablet.state.read().live();
    let rowsets = || live.iter().map(|(_, _, record)| record.as_ref()).chain([record]);
    let (rows, bytes) =
        (rowsets().map(RowsetRecord::rows).sum::<u64>(), rowsets().map(RowsetRecord::bytes).sum::<u64>());
    (4 * bytes / rows.max(1) + 16 * shape.schema.columns.len() as u64).max(1)
}
