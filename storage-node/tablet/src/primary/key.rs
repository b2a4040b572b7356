//! The encoding of a PRIMARY KEY tuple: what the index and key files hold. Persisted, and independent of arrow's.
//!
//! The key columns follow one another in their declared order, none of which is nullable:
//!
//! | type | bytes |
//! |---|---|
//! | BOOLEAN | 1: 0 or 1 |
//! | TINYINT, SMALLINT, INT, BIGINT, DATE (days), DATETIME (microseconds) | 1, 2, 4, 8, 4, 8: big endian, sign bit flipped |
//! | LARGEINT, DECIMAL | 16: the unscaled number, big endian, sign bit flipped |
//! | text and VARBINARY, as the last key column | as it is |
//! | text and VARBINARY, before others | each byte 0 as `00 ff`, then `00 00` |
//!
//! Equal tuples have equal bytes and no others do. The order of the bytes is that of the tuples, so that rows sorted by
//! their primary key are looked up in the order of the index.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType as ArrowType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow::error::ArrowError;
use tarn_proto::TableSchema;
use tarn_proto::segment::storage_type;

/// The most bytes of an encoded key.
pub(crate) const MAX_KEY_BYTES: usize = 128;

/// Encoded keys, one after the other in one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Where each key starts, and the end of the last.
    offsets: Vec<usize>,
    bytes: Vec<u8>,
}

impl Keys {
    /// No keys.
    pub(crate) fn new() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The key of a row.
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Adds a key.
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.offsets.push(self.bytes.len());
    }

    /// Adds a key that begins with the first `shared` bytes of the last one.
    pub(crate) fn push_shared(&mut self, shared: usize, suffix: &[u8]) {
        let start = self.offsets[self.offsets.len().saturating_sub(2)];
        self.bytes.extend_from_within(start..start + shared);
        self.push(suffix);
    }

    /// Adds the keys of `others`.
    pub(crate) fn append(&mut self, others: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&others.bytes);
        self.offsets.extend(others.offsets[1..].iter().map(|offset| start + offset));
    }

    /// Forgets all keys and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.offsets.truncate(1);
        self.bytes.clear();
    }
}

/// Bytes that every value of a type takes; none if they differ.
fn fixed_width(stored: &ArrowType) -> Option<usize> {
    match stored {
        ArrowType::Boolean | ArrowType::Int8 => Some(1),
        ArrowType::Int16 => Some(2),
        ArrowType::Int32 | ArrowType::Date32 => Some(4),
        ArrowType::Int64 => Some(8),
        ArrowType::Decimal128(..) => Some(16),
        _ => None,
    }
}

/// Checks that a schema's primary key can be encoded.
pub(crate) fn check_schema(schema: &TableSchema) -> Result<(), ArrowError> {
    if schema.keys.is_empty() {
        return Err(ArrowError::SchemaError("a PRIMARY KEY table has at least one key column".to_owned()));
    }
    for column in schema.keys.iter().filter_map(|id| schema.columns.get(schema.index_of(*id)?)) {
        let stored = storage_type(&column.data_type.to_arrow());
        let text = matches!(stored, ArrowType::Utf8View | ArrowType::BinaryView);
        if fixed_width(&stored).is_none() && !text {
            return Err(ArrowError::SchemaError(format!(
                "column `{}` cannot be part of a PRIMARY KEY: values of {} have no stable equality, choose an integer, \
                 date or text type",
                column.name, column.data_type
            )));
        }
        if column.nullable {
            return Err(ArrowError::SchemaError(format!(
                "column `{}` is part of the PRIMARY KEY and must be NOT NULL",
                column.name
            )));
        }
    }
    Ok(())
}

/// Encodes the keys of rows. `columns` are all of the table's, as segments hold them.
///
/// Fails, naming the column, if a key is longer than [`MAX_KEY_BYTES`].
pub(crate) fn encode(schema: &TableSchema, columns: &[ArrayRef]) -> Result<Keys, ArrowError> {
    let positions: Vec<usize> = schema.keys.iter().filter_map(|id| schema.index_of(*id)).collect();
    let rows = columns.first().map_or(0, |c| c.len());
    let fixed: usize = positions.iter().filter_map(|i| fixed_width(columns[*i].data_type())).sum();
    // The length of each key, then its start, which moves to its end as columns are written.
    let mut offsets = vec![fixed; rows + 1];
    offsets[0] = 0;
    for (number, position) in positions.iter().enumerate() {
        let last = number + 1 == positions.len();
        match columns[*position].data_type() {
            ArrowType::Utf8View => {
                add_lengths(
                    &mut offsets,
                    columns[*position].as_string_view().iter().map(|v| v.map(str::as_bytes)),
                    last,
                );
            }
            ArrowType::BinaryView => {
                add_lengths(&mut offsets, columns[*position].as_binary_view().iter(), last);
            }
            _ => {}
        }
    }
    if let Some(row) = offsets.iter().skip(1).position(|length| *length > MAX_KEY_BYTES) {
        return Err(too_long(schema, columns, &positions, row, offsets[row + 1]));
    }
    let mut start = 0;
    for offset in offsets.iter_mut().skip(1) {
        start += std::mem::replace(offset, start);
    }
    let mut keys = Keys { offsets, bytes: vec![0; start] };
    for (number, position) in positions.iter().enumerate() {
        write_column(&mut keys, &columns[*position], number + 1 == positions.len());
    }
    Ok(keys)
}

fn encoded_length(value: &[u8], last: bool) -> usize {
    if last { value.len() } else { value.len() + value.iter().filter(|b| **b == 0).count() + 2 }
}

fn add_lengths<'a>(offsets: &mut [usize], values: impl Iterator<Item = Option<&'a [u8]>>, last: bool) {
    for (length, value) in offsets[1..].iter_mut().zip(values) {
        *length += encoded_length(value.unwrap_or_default(), last);
    }
}

fn too_long(schema: &TableSchema, columns: &[ArrayRef], positions: &[usize], row: usize, length: usize) -> ArrowError {
    let bytes = |i: usize| match columns[i].data_type() {
        ArrowType::Utf8View => columns[i].as_string_view().value(row).len(),
        ArrowType::BinaryView => columns[i].as_binary_view().value(row).len(),
        other => fixed_width(other).unwrap_or_default(),
    };
    let longest = positions.iter().copied().max_by_key(|i| bytes(*i)).unwrap_or_default();
    ArrowError::InvalidArgumentError(format!(
        "a row's PRIMARY KEY takes {length} bytes, {} of them in column `{}`; the limit is {MAX_KEY_BYTES} bytes: \
         shorten the value or choose a shorter key",
        bytes(longest),
        schema.columns[longest].name
    ))
}

fn write_column(keys: &mut Keys, column: &ArrayRef, last: bool) {
    match column.data_type() {
        ArrowType::Boolean => {
            let values = column.as_boolean().values();
            write_fixed(keys, values.iter().map(|v| [u8::from(v)]));
        }
        ArrowType::Int8 => {
            write_fixed(keys, values::<Int8Type>(column).iter().map(|v| (v ^ i8::MIN).to_be_bytes()));
        }
        ArrowType::Int16 => {
            write_fixed(keys, values::<Int16Type>(column).iter().map(|v| (v ^ i16::MIN).to_be_bytes()));
        }
        ArrowType::Int32 => {
            write_fixed(keys, values::<Int32Type>(column).iter().map(|v| (v ^ i32::MIN).to_be_bytes()));
        }
        ArrowType::Date32 => {
            write_fixed(keys, values::<Date32Type>(column).iter().map(|v| (v ^ i32::MIN).to_be_bytes()));
        }
        ArrowType::Int64 => {
            write_fixed(keys, values::<Int64Type>(column).iter().map(|v| (v ^ i64::MIN).to_be_bytes()));
        }
        ArrowType::Decimal128(..) => {
            write_fixed(keys, values::<Decimal128Type>(column).iter().map(|v| (v ^ i128::MIN).to_be_bytes()));
        }
        ArrowType::Utf8View => {
            write_bytes(keys, column.as_string_view().iter().map(|v| v.map(str::as_bytes)), last);
        }
        ArrowType::BinaryView => write_bytes(keys, column.as_binary_view().iter(), last),
        other => unreachable!("{other} is refused as a key column when the tablet is created"),
    }
}

fn values<T: ArrowPrimitiveType>(column: &ArrayRef) -> &[T::Native] {
    column.as_primitive::<T>().values()
}

fn write_fixed<const N: usize>(keys: &mut Keys, values: impl Iterator<Item = [u8; N]>) {
    for (end, value) in keys.offsets[1..].iter_mut().zip(values) {
        keys.bytes[*end..*end + N].copy_from_slice(&value);
        *end += N;
    }
}

fn write_bytes<'a>(keys: &mut Keys, values: impl Iterator<Item = Option<&'a [u8]>>, last: bool) {
    for (end, value) in keys.offsets[1..].iter_mut().zip(values) {
        let value = value.unwrap_or_default();
        if last {
            keys.bytes[*end..*end + value.len()].copy_from_slice(value);
            *end += value.len();
            continue;
        }
        for byte in value {
            keys.bytes[*end] = *byte;
            *end += 1;
            if *byte == 0 {
                keys.bytes[*end] = 0xff;
                *end += 1;
            }
        }
        // The buffer holds zeros: the end is there.
        *end += 2;
    }
}

#[cfg(test)]
mod tests;
