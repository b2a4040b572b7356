//! A bitmap index: the values of a column in a segment, in order, and for each the rows that hold it.
//!
//! ```text
//!  parts: the rows of each value, in order of the values, then those without a value (NULL), then blocks of the dictionary
//!  rows: a roaring bitmap in its portable format
//!  block: values in it (4), for each: length (4), its bytes, how many rows hold it (4), the place of its rows (16)
//!  directory: class (2), rows of the segment (4), values (4), rows without a value (4), the place of these (16),
//!             blocks (4), for each: values in it (4), its place (16), length of its first value (4), that value
//! ```
//!
//! A place is offset (8), length (4) and CRC32C (4). To find the rows of a value, read the directory, the one block that can
//! hold the value, and the value's rows.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use roaring::RoaringBitmap;

use super::value::{Class, WrongType, for_each, hash};
use super::{Error, Place, Tail, envelope, take, take_bytes, take_u32};
use crate::IndexKind;

/// Values of a block at most: a few kilobytes, which are read to look up one.
const VALUES_PER_BLOCK: usize = 128;

/// The longest value of an indexed segment: a column of long texts is no column that many rows share the values of.
const MAX_VALUE_BYTES: usize = 1024;

/// The most values of an indexed segment.
pub const MAX_VALUES: usize = 1 << 18;

/// So many values are always worth their index.
const FEW_VALUES: usize = 1024;

/// With more than [`FEW_VALUES`], each must be held by so many rows on average: else reading the index costs what reading
/// the column does.
const MIN_ROWS_PER_VALUE: u64 = 2;

/// Memory of an index that is being built: more is not an index that helps.
const MAX_BUILD_BYTES: usize = 96 << 20;

/// What a value weighs beside its bytes and its rows.
const VALUE_OVERHEAD: usize = 96;

/// Why a segment has no bitmap index of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhelpful {
    /// Too many values, or of too few rows each.
    #[error("it has too many distinct values")]
    ManyValues,
    /// A value of more than a kilobyte.
    #[error("it has values of more than {MAX_VALUE_BYTES} bytes")]
    LongValues,
    /// More rows than a roaring bitmap numbers.
    #[error("the segment has too many rows")]
    ManyRows,
}

/// The values seen, looked up once for every run of rows: what a builder spends its time with.
type Values = HashMap<Box<[u8]>, RoaringBitmap, BuildHasherDefault<Xxh3>>;

/// Hashes short values in few cycles. Users choose the values, but a slow map only slows their own load.
#[derive(Debug, Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(5) ^ hash(bytes);
    }

    fn write_usize(&mut self, number: usize) {
        self.0 ^= number as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes an index of rows that come in order, in bounded memory.
#[derive(Debug)]
pub struct Builder {
    class: Class,
    values: Values,
    nulls: RoaringBitmap,
    rows: u32,
    /// The value of the last rows, which are not entered yet.
    run: Run,
    /// What is held takes about so much memory.
    bytes: usize,
    unhelpful: Option<Unhelpful>,
}

#[derive(Debug)]
struct Run {
    start: u32,
    is_null: bool,
    value: Vec<u8>,
}

impl Run {
    fn goes_on_with(&self, value: Option<&[u8]>) -> bool {
        match value {
            Some(value) => !self.is_null && self.value == value,
            None => self.is_null,
        }
    }
}

impl Builder {
    /// The index of a segment without rows.
    pub fn new(class: Class) -> Self {
        Self {
            class,
            values: Values::default(),
            nulls: RoaringBitmap::new(),
            rows: 0,
            run: Run { start: 0, is_null: true, value: Vec::new() },
            bytes: 0,
            unhelpful: None,
        }
    }

    /// Adds the next rows, as segments hold them. Does nothing once the index is known not to help.
    pub fn push(&mut self, column: &ArrayRef) -> Result<(), WrongType> {
        if self.unhelpful.is_some() {
            return Ok(());
        }
        if u32::try_from(column.len()).ok().and_then(|rows| self.rows.checked_add(rows)).is_none() {
            self.give_up(Unhelpful::ManyRows);
            return Ok(());
        }
        let class = self.class;
        for_each(class, column, |value| {
            if !self.run.goes_on_with(value) {
                self.end_run();
                self.run.is_null = value.is_none();
                self.run.value.clear();
                self.run.value.extend_from_slice(value.unwrap_or_default());
            }
            self.rows += 1;
        })
    }

    fn give_up(&mut self, why: Unhelpful) {
        self.unhelpful = Some(why);
        self.values = Values::default();
        self.nulls = RoaringBitmap::new();
    }

    fn end_run(&mut self) {
        let rows = self.run.start..self.rows;
        self.run.start = self.rows;
        if rows.is_empty() || self.unhelpful.is_some() {
            return;
        }
        if self.run.is_null {
            enter(&mut self.nulls, rows);
            return;
        }
        let value = &self.run.value;
        self.bytes += 2 * rows.len().min(8);
        if let Some(held) = self.values.get_mut(value.as_slice()) {
            enter(held, rows);
        } else if value.len() > MAX_VALUE_BYTES {
            return self.give_up(Unhelpful::LongValues);
        } else if self.values.len() == MAX_VALUES {
            return self.give_up(Unhelpful::ManyValues);
        } else {
            self.bytes += value.len() + VALUE_OVERHEAD;
            let mut held = RoaringBitmap::new();
            enter(&mut held, rows);
            self.values.insert(value.as_slice().into(), held);
        }
        if self.bytes > MAX_BUILD_BYTES {
            self.give_up(Unhelpful::ManyValues);
        }
    }

    /// The file, or why there is none.
    pub fn finish(mut self) -> Result<Vec<u8>, Unhelpful> {
        self.end_run();
        let many = self.values.len() > FEW_VALUES
            && (self.values.len() as u64).saturating_mul(MIN_ROWS_PER_VALUE) > u64::from(self.rows);
        if let Some(why) = self.unhelpful.or(many.then_some(Unhelpful::ManyValues)) {
            return Err(why);
        }
        let mut out = Vec::new();
        let mut sorted: Vec<(Box<[u8]>, RoaringBitmap)> = self.values.into_iter().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut entries = Vec::with_capacity(sorted.len());
        for (value, rows) in sorted {
            entries.push(Entry { value: value.into_vec(), rows: rows.len() as u32, place: append(&mut out, rows) });
        }
        let null_rows = self.nulls.len() as u32;
        let nulls = append(&mut out, self.nulls);
        let mut directory = Vec::new();
        directory.extend_from_slice(&self.class.encode());
        directory.extend_from_slice(&self.rows.to_le_bytes());
        directory.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        directory.extend_from_slice(&null_rows.to_le_bytes());
        nulls.encode(&mut directory);
        directory.extend_from_slice(&(entries.len().div_ceil(VALUES_PER_BLOCK) as u32).to_le_bytes());
        for block in entries.chunks(VALUES_PER_BLOCK) {
            let place = Place::append(&mut out, &encode_block(block));
            directory.extend_from_slice(&(block.len() as u32).to_le_bytes());
            place.encode(&mut directory);
            directory.extend_from_slice(&(block[0].value.len() as u32).to_le_bytes());
            directory.extend_from_slice(&block[0].value);
        }
        Ok(envelope::seal(out, IndexKind::Bitmap, &directory))
    }
}

/// Adds rows behind all that are there.
fn enter(held: &mut RoaringBitmap, rows: Range<u32>) {
    if rows.len() == 1 {
        held.insert(rows.start);
    } else {
        held.insert_range(rows);
    }
}

fn append(out: &mut Vec<u8>, mut rows: RoaringBitmap) -> Place {
    rows.optimize();
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    rows.serialize_into(&mut bytes).expect("writing to memory does not fail");
    Place::append(out, &bytes)
}

fn encode_block(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        out.extend_from_slice(&(entry.value.len() as u32).to_le_bytes());
        out.extend_from_slice(&entry.value);
        out.extend_from_slice(&entry.rows.to_le_bytes());
        entry.place.encode(&mut out);
    }
    out
}

/// A value of the dictionary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// See [`super::value`].
    pub value: Vec<u8>,
    /// How many rows hold it.
    pub rows: u32,
    /// Where they are told.
    pub place: Place,
}

/// A block of the dictionary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its least value.
    pub first: Vec<u8>,
    /// How many values it has.
    pub values: u32,
    /// Where it is.
    pub place: Place,
}

/// What the end of the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// What its values are.
    pub class: Class,
    /// Rows of the segment.
    pub rows: u32,
    /// How many values there are, NULL not counted.
    pub values: u32,
    /// How many rows hold NULL.
    pub null_rows: u32,
    /// Where these are told.
    pub nulls: Place,
    /// In order of their values.
    pub blocks: Vec<Block>,
}

impl Directory {
    /// Reads the last bytes of a file of `bytes` bytes.
    pub fn decode(tail: &[u8], bytes: u64) -> Result<Tail<Self>, Error> {
        let (mut rest, end) = match envelope::open(tail, bytes, IndexKind::Bitmap)? {
            Tail::Complete(found) => found,
            Tail::Longer(needed) => return Ok(Tail::Longer(needed)),
        };
        let rest = &mut rest;
        let class = Class::decode(take(rest)?).ok_or(Error::Damaged("its values are of no known class"))?;
        let (rows, values, null_rows) = (take_u32(rest)?, take_u32(rest)?, take_u32(rest)?);
        let nulls = Place::decode(rest, end)?;
        let mut blocks: Vec<Block> = Vec::new();
        let mut counted = 0u32;
        for _ in 0..take_u32(rest)? {
            let held = take_u32(rest)?;
            let place = Place::decode(rest, end)?;
            let length = take_u32(rest)? as usize;
            let first = take_bytes(rest, length)?.to_vec();
            if blocks.last().is_some_and(|before| before.first >= first) {
                return Err(Error::Damaged("its blocks are not in order"));
            }
            counted = counted.checked_add(held).ok_or(Error::Damaged("it has too many values"))?;
            blocks.push(Block { first, values: held, place });
        }
        if !rest.is_empty() || counted != values {
            return Err(Error::Damaged("its directory does not add up"));
        }
        Ok(Tail::Complete(Self { class, rows, values, null_rows, nulls, blocks }))
    }

    /// The block that holds a value, if any does.
    pub fn block_of(&self, value: &[u8]) -> Option<usize> {
        self.blocks.partition_point(|block| block.first.as_slice() <= value).checked_sub(1)
    }

    /// The blocks that can hold values from `lower` to `upper`, both included.
    pub fn blocks_within(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Range<usize> {
        let start = lower.map_or(0, |value| self.block_of(value).unwrap_or(0));
        let end = upper.map_or(self.blocks.len(), |value| self.block_of(value).map_or(0, |block| block + 1));
        start.min(end)..end
    }

    /// Reads a block's bytes.
    pub fn decode_block(&self, number: usize, bytes: &[u8]) -> Result<Vec<Entry>, Error> {
        let block = self.blocks.get(number).ok_or(Error::Damaged("it has no such block"))?;
        block.place.check(bytes)?;
        let mut rest = bytes;
        let rest = &mut rest;
        if take_u32(rest)? != block.values {
            return Err(Error::Damaged("a block does not add up"));
        }
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..block.values {
            let length = take_u32(rest)? as usize;
            let value = take_bytes(rest, length)?.to_vec();
            let rows = take_u32(rest)?;
            let place = Place::decode(rest, block.place.offset)?;
            let in_order = entries.last().map_or(&block.first, |before| &before.value);
            if value < *in_order || (!entries.is_empty() && value == *in_order) {
                return Err(Error::Damaged("its values are not in order"));
            }
            entries.push(Entry { value, rows, place });
        }
        if rest.is_empty() { Ok(entries) } else { Err(Error::Damaged("a block does not add up")) }
    }

    /// Reads the rows at `place`, of which there must be `count`.
    pub fn decode_rows(&self, place: &Place, count: u32, bytes: &[u8]) -> Result<RoaringBitmap, Error> {
        place.check(bytes)?;
        let rows = RoaringBitmap::deserialize_from(bytes).map_err(|_| Error::Damaged("rows cannot be read"))?;
        if rows.len() != u64::from(count) || rows.max().is_some_and(|last| last >= self.rows) {
            return Err(Error::Damaged("rows do not add up"));
        }
        Ok(rows)
    }
}
