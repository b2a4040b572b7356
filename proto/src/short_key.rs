//! The short-key index of a segment: the leading sort-key values of every 1024th row, so that a predicate on them becomes
//! a range of rows without reading the segment.
//!
//! **Encoding of a key** (frozen: indexes are persisted). The first columns of the sort key, at most
//! [`MAX_COLUMNS`], as long as all fit into [`MAX_ENTRY_BYTES`]; text ends the list, other types than these end it before
//! them. A NULL is the byte 0. A value is the byte 1 and what [`crate::index::value`] makes of it, cut where the entry is full,
//! so that bytewise order is the sort order (ascending, NULL first) up to the cut.
//!
//! **Encoding of the index**: version byte 1; number of columns (1 byte), their ids (4 each); rows per entry (4); rows of
//! the segment (8); number of entries (4); for each entry its length (1 byte) and its bytes. Integers little endian. A
//! segment whose first sort column cannot be indexed has an index without columns; it selects all rows.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::error::ArrowError;

use crate::index::{Class, value};
use crate::segment::storage_type;
use crate::{ColumnId, DataType, TableSchema};

/// Rows from one entry to the next.
pub const ROWS_PER_ENTRY: u32 = 1024;
/// The longest entry.
pub const MAX_ENTRY_BYTES: usize = 36;
/// The most columns an entry holds.
pub const MAX_COLUMNS: usize = 3;

const FORMAT: u8 = 1;

/// Bytes that are no index this build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by a build with another format version.
    #[error("short-key index has format version {0}, this build reads {FORMAT}: upgrade this node")]
    Version(u8),
    /// Cut short or inconsistent.
    #[error("damaged short-key index")]
    Damaged,
}

/// Which columns of a table are in its short-key index, and how their values are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortKey {
    columns: Vec<KeyColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyColumn {
    id: ColumnId,
    position: usize,
    data_type: DataType,
}

impl ShortKey {
    /// The short key of segments that are written with this schema.
    pub fn of(schema: &TableSchema) -> Self {
        let mut columns = Vec::new();
        let mut bytes = 0;
        for id in schema.sort_key.iter().take(MAX_COLUMNS) {
            let Some(position) = schema.index_of(*id) else { break };
            let data_type = schema.columns[position].data_type.clone();
            let Some(width) = width(&data_type) else { break };
            bytes += width;
            if bytes > MAX_ENTRY_BYTES {
                break;
            }
            let last = data_type.is_text();
            columns.push(KeyColumn { id: *id, position, data_type });
            if last {
                break;
            }
        }
        Self { columns }
    }

    /// The columns, in order of significance.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = ColumnId> + '_ {
        self.columns.iter().map(|c| c.id)
    }

    /// Encodes the bound `(values[0], values[1], ..)` on the first columns. Each value is an array of one element, which
    /// is cast to its column's type.
    ///
    /// Fails if a value does not fit its column's type or there are more values than [`ShortKey::columns`]; the caller
    /// then has no bound.
    pub fn encode_bound(&self, values: &[ArrayRef]) -> Result<Vec<u8>, ArrowError> {
        if values.len() > self.columns.len() {
            return Err(ArrowError::InvalidArgumentError("more values than short-key columns".to_owned()));
        }
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let mut out = Vec::with_capacity(MAX_ENTRY_BYTES);
        for (value, column) in values.iter().zip(&self.columns) {
            if value.len() != 1 {
                return Err(ArrowError::InvalidArgumentError("a bound has one value per column".to_owned()));
            }
            let declared = column.data_type.to_arrow();
            let value = cast_with_options(value, &declared, &strict)?;
            let value = cast_with_options(&value, &storage_type(&declared), &strict)?;
            append(&column.data_type, &value, 0, &mut out);
        }
        Ok(out)
    }

    /// Encodes the key of one row. `columns` are all the table's columns in declared order, as segments hold them
    /// ([`storage_type`]).
    pub fn encode_row(&self, columns: &[ArrayRef], row: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_ENTRY_BYTES);
        for column in &self.columns {
            append(&column.data_type, &columns[column.position], row, &mut out);
        }
        out
    }
}

/// Least bytes of an entry that the type needs, or `None` if it cannot be indexed.
fn width(data_type: &DataType) -> Option<usize> {
    let bytes = match Class::of(data_type)? {
        Class::Boolean => 1,
        Class::Integer | Class::Date | Class::DateTime => 8,
        Class::Wide(_) => 16,
        // The rest is cut off.
        Class::Text => 1,
    };
    Some(1 + bytes)
}

/// Appends the value of `array` at `row`. `array` has the type that segments hold `data_type` as.
fn append(data_type: &DataType, array: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    let class = Class::of(data_type).expect("`ShortKey::of` leaves out types that cannot be indexed");
    let value = value::for_each(class, &array.slice(row, 1), |value| match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            out.extend_from_slice(&value[..value.len().min(MAX_ENTRY_BYTES - out.len())]);
        }
    });
    value.expect("segments hold values as their columns' types say");
}

/// Encodes the index of a segment of `rows` rows.
///
/// `columns` are all the table's columns in declared order, as segments hold them ([`storage_type`]), and `row_at` tells for a row of the
/// segment where in the columns it is: segments are sorted, `columns` need not be.
pub fn encode_index(key: &ShortKey, columns: &[ArrayRef], rows: usize, row_at: impl Fn(usize) -> usize) -> Vec<u8> {
    encode_index_every(ROWS_PER_ENTRY, key, columns, rows, row_at)
}

fn encode_index_every(
    step: u32,
    key: &ShortKey,
    columns: &[ArrayRef],
    rows: usize,
    row_at: impl Fn(usize) -> usize,
) -> Vec<u8> {
    let mut index = IndexBuilder::every(step, key);
    for row in (0..rows).step_by(step as usize) {
        index.add_entry(columns, row_at(row));
    }
    index.rows = rows as u64;
    index.finish()
}

/// Makes the index of a segment whose rows come in pieces.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    key: ShortKey,
    step: u32,
    rows: u64,
    count: u32,
    /// Encoded, with their lengths.
    entries: Vec<u8>,
}

impl IndexBuilder {
    /// The index of a segment without rows.
    pub fn new(key: &ShortKey) -> Self {
        Self::every(ROWS_PER_ENTRY, key)
    }

    fn every(step: u32, key: &ShortKey) -> Self {
        Self { key: key.clone(), step, rows: 0, count: 0, entries: Vec::new() }
    }

    /// Adds the next `rows` rows of the segment. `columns` are all the table's columns in declared order, as segments hold
    /// them ([`storage_type`]).
    pub fn push(&mut self, columns: &[ArrayRef], rows: usize) {
        let step = u64::from(self.step);
        let first = (self.rows.next_multiple_of(step) - self.rows) as usize;
        for row in (first..rows).step_by(self.step as usize) {
            self.add_entry(columns, row);
        }
        self.rows += rows as u64;
    }

    fn add_entry(&mut self, columns: &[ArrayRef], row: usize) {
        if !self.key.columns.is_empty() {
            let bytes = self.key.encode_row(columns, row);
            self.entries.push(bytes.len() as u8);
            self.entries.extend_from_slice(&bytes);
            self.count += 1;
        }
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The encoded index, as [`encode_index`] makes it of all rows at once.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.entries.len());
        out.push(FORMAT);
        out.push(self.key.columns.len() as u8);
        for id in self.key.columns() {
            out.extend_from_slice(&id.get().to_le_bytes());
        }
        out.extend_from_slice(&self.step.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.entries);
        out
    }
}

/// A decoded index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortKeyIndex {
    columns: Vec<ColumnId>,
    rows_per_entry: u32,
    rows: u64,
    entries: Vec<Vec<u8>>,
}

impl ShortKeyIndex {
    /// Reads what [`encode_index`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        match take::<1>(&mut rest)?[0] {
            FORMAT => {}
            version => return Err(Error::Version(version)),
        }
        let columns = take::<1>(&mut rest)?[0];
        let columns = (0..columns)
            .map(|_| Ok(ColumnId(u32::from_le_bytes(take(&mut rest)?))))
            .collect::<Result<Vec<_>, Error>>()?;
        let rows_per_entry = u32::from_le_bytes(take(&mut rest)?);
        let rows = u64::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        let expected = match (columns.is_empty(), rows_per_entry) {
            (_, 0) => return Err(Error::Damaged),
            (true, _) => 0,
            (false, step) => rows.div_ceil(u64::from(step)),
        };
        if u64::from(count) != expected {
            return Err(Error::Damaged);
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            let length = usize::from(take::<1>(&mut rest)?[0]);
            let (entry, after) = rest.split_at_checked(length).ok_or(Error::Damaged)?;
            entries.push(entry.to_vec());
            rest = after;
        }
        if rest.is_empty() { Ok(Self { columns, rows_per_entry, rows, entries }) } else { Err(Error::Damaged) }
    }

    /// Whether bounds of `key` may be looked up here: the segment was written with the same short key.
    pub fn matches(&self, key: &ShortKey) -> bool {
        self.columns.iter().copied().eq(key.columns())
    }

    /// Rows of the segment.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The entries: the key of a row and the row's position.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let step = u64::from(self.rows_per_entry);
        self.entries.iter().zip(0..).map(move |(entry, number)| (entry.as_slice(), number * step))
    }

    /// Rows that can have `lower <= key <= upper`, where a bound ([`ShortKey::encode_bound`]) is compared to as many
    /// leading columns as it has. Never leaves out a matching row; rounds out to whole entries.
    pub fn row_range(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Range<u64> {
        if self.entries.is_empty() {
            return 0..self.rows;
        }
        let row = |entry: usize| (entry as u64 * u64::from(self.rows_per_entry)).min(self.rows);
        // The rows before an entry are not greater than it: the last entry below the bound begins the range.
        let start = lower.map_or(0, |bound| self.entries.partition_point(|e| e.as_slice() < bound).saturating_sub(1));
        // The rows from an entry on are not less than it: the first entry above the bound ends the range.
        let end = upper.map_or(self.entries.len(), |bound| {
            self.entries.partition_point(|e| e[..e.len().min(bound.len())] <= *bound)
        });
        row(start.min(end))..row(end)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Error::Damaged)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests;
