//! How indexes write values: so that bytes compare as values do, and so that a value has the same bytes in a column that
//! was widened since.
//!
//! | class | types | bytes |
//! |---|---|---|
//! | `Boolean` | `boolean` | 1: 0 or 1 |
//! | `Integer` | `tinyint` `smallint` `int` `bigint` | 8, big endian, sign bit flipped |
//! | `Date` | `date` | 8, the days since 1970 as an integer |
//! | `DateTime` | `datetime` | 8, the microseconds since 1970 as an integer |
//! | `Wide` | `largeint` `decimal` | 16, big endian, sign bit flipped, the unscaled value; the class has the scale |
//! | `Text` | `char` `varchar` `string` | the bytes |
//!
//! Frozen: indexes are persisted.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType as ArrowType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type};
use xxhash_rust::xxh3::xxh3_64;

use crate::DataType;

/// Values of one class are compared with each other; those of two have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `boolean`
    Boolean,
    /// Integers of up to 64 bits.
    Integer,
    /// `date`
    Date,
    /// `datetime`
    DateTime,
    /// 128 bits, of this scale.
    Wide(i8),
    /// Text.
    Text,
}

impl Class {
    /// The class of a type's values. `None` if they cannot be indexed.
    pub const fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Boolean => Some(Self::Boolean),
            DataType::TinyInt | DataType::SmallInt | DataType::Int | DataType::BigInt => Some(Self::Integer),
            DataType::Date => Some(Self::Date),
            DataType::DateTime => Some(Self::DateTime),
            DataType::LargeInt => Some(Self::Wide(0)),
            DataType::Decimal(_, scale) => Some(Self::Wide(*scale as i8)),
            DataType::Char(_) | DataType::Varchar(_) | DataType::String => Some(Self::Text),
            DataType::Float
            | DataType::Double
            | DataType::Varbinary
            | DataType::Json
            | DataType::Array(_)
            | DataType::Map(..)
            | DataType::Struct(_) => None,
        }
    }

    pub(super) const fn encode(self) -> [u8; 2] {
        match self {
            Self::Boolean => [1, 0],
            Self::Integer => [2, 0],
            Self::Date => [3, 0],
            Self::DateTime => [4, 0],
            Self::Wide(scale) => [5, scale as u8],
            Self::Text => [6, 0],
        }
    }

    pub(super) const fn decode(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            [1, 0] => Some(Self::Boolean),
            [2, 0] => Some(Self::Integer),
            [3, 0] => Some(Self::Date),
            [4, 0] => Some(Self::DateTime),
            [5, scale] => Some(Self::Wide(scale as i8)),
            [6, 0] => Some(Self::Text),
            _ => None,
        }
    }
}

/// Values of another type than their column's, which are not indexed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("values of {found} cannot be indexed as {class:?}")]
pub struct WrongType {
    /// What was to be indexed.
    pub class: Class,
    /// What there is.
    pub found: ArrowType,
}

/// Hands every row's value to `row`, NULL as `None`, in order. `array` is of the type that segments hold, or held, values of
/// the class as.
pub fn for_each(class: Class, array: &ArrayRef, mut row: impl FnMut(Option<&[u8]>)) -> Result<(), WrongType> {
    macro_rules! numbers {
        ($arrow:ty, $encode:expr) => {{
            let array = array.as_primitive::<$arrow>();
            for value in array {
                match value {
                    Some(value) => row(Some(&$encode(value))),
                    None => row(None),
                }
            }
        }};
    }
    macro_rules! text {
        ($array:expr) => {
            for value in $array {
                row(value.map(str::as_bytes));
            }
        };
    }
    match (class, array.data_type()) {
        (Class::Boolean, ArrowType::Boolean) => {
            for value in array.as_boolean() {
                match value {
                    Some(value) => row(Some(&[u8::from(value)])),
                    None => row(None),
                }
            }
        }
        (Class::Integer, ArrowType::Int8) => numbers!(Int8Type, |v| ordered(i64::from(v))),
        (Class::Integer, ArrowType::Int16) => numbers!(Int16Type, |v| ordered(i64::from(v))),
        (Class::Integer, ArrowType::Int32) => numbers!(Int32Type, |v| ordered(i64::from(v))),
        (Class::Integer | Class::DateTime, ArrowType::Int64) => numbers!(Int64Type, ordered),
        (Class::Date, ArrowType::Date32) => numbers!(Date32Type, |v| ordered(i64::from(v))),
        (Class::Wide(scale), ArrowType::Decimal128(_, stored)) if scale == *stored => {
            numbers!(Decimal128Type, ordered_wide)
        }
        (Class::Text, ArrowType::Utf8View) => text!(array.as_string_view()),
        (Class::Text, ArrowType::Utf8) => text!(array.as_string::<i32>()),
        (Class::Text, ArrowType::LargeUtf8) => text!(array.as_string::<i64>()),
        (class, found) => return Err(WrongType { class, found: found.clone() }),
    }
    Ok(())
}

/// The bytes of the one value of an array of a type that segments hold. `None` if it is NULL or of another class.
pub fn of_one(class: Class, array: &ArrayRef) -> Option<Vec<u8>> {
    let mut found = None;
    for_each(class, array, |value| found = value.map(<[u8]>::to_vec)).ok()?;
    found.filter(|_| array.len() == 1)
}

/// What bloom filters know a value by. Frozen.
pub fn hash(value: &[u8]) -> u64 {
    xxh3_64(value)
}

const fn ordered(value: i64) -> [u8; 8] {
    ((value as u64) ^ (1 << 63)).to_be_bytes()
}

const fn ordered_wide(value: i128) -> [u8; 16] {
    ((value as u128) ^ (1 << 127)).to_be_bytes()
}
