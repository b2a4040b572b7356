//! The bucket hash: which tablet of a partition a row belongs to. Frozen for ever, because stored rows were placed by it.
//!
//! A row's bucket is `XXH3-64(encoding) % buckets`, seed 0, where the encoding is the concatenation over the bucket
//! columns of one presence byte (0 NULL, 1 value) and, for a value, the *declared* type's canonical bytes:
//!
//! | type | bytes |
//! |---|---|
//! | `boolean` | 1: 0 or 1 |
//! | `tinyint` `smallint` `int` `bigint` | 1, 2, 4, 8, little endian |
//! | `largeint` `decimal` | 16, little endian, the unscaled value |
//! | `char` `varchar` `string` | length in 4 bytes, little endian, then the UTF-8 bytes |
//! | `date` | 4, little endian, days since 1970-01-01 |
//! | `datetime` | 8, little endian, microseconds since 1970-01-01 |
//!
//! The physical arrow encoding (view, dictionary, offsets, other integer width) does not matter: arrays are cast to the
//! declared type's arrow type first. [`HASH_VERSION`] is stored with each table.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use xxhash_rust::xxh3::xxh3_64;

use crate::DataType;

/// The version of the definition above.
pub const HASH_VERSION: u32 = 1;

/// Hashes of `rows` rows.
///
/// `columns` are the bucket columns in the table's declared order and `types` their declared types; all columns have
/// `rows` values. Fails if a column cannot be cast to its declared type, or the type cannot be a bucket column.
pub fn hash_rows(columns: &[ArrayRef], types: &[DataType], rows: usize) -> Result<Vec<u64>, ArrowError> {
    let columns = columns
        .iter()
        .zip(types)
        .map(|(array, t)| {
            if !t.is_key() {
                return Err(ArrowError::InvalidArgumentError(format!("type {t} cannot be a bucket column")));
            }
            let wanted = t.to_arrow();
            if array.data_type() == &wanted { Ok(array.clone()) } else { cast(array, &wanted) }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let encoders: Vec<Encoder<'_>> = columns.iter().zip(types).map(|(array, t)| encoder(array, t)).collect();
    let mut buffer = Vec::with_capacity(64);
    Ok((0..rows)
        .map(|row| {
            buffer.clear();
            for (array, encode) in columns.iter().zip(&encoders) {
                if array.is_null(row) {
                    buffer.push(0);
                } else {
                    buffer.push(1);
                    encode(row, &mut buffer);
                }
            }
            xxh3_64(&buffer)
        })
        .collect())
}

/// The bucket, `0..buckets`, of a row with this hash.
pub const fn bucket_of(hash: u64, buckets: u32) -> u32 {
    (hash % buckets as u64) as u32
}

type Encoder<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// Appends a non-NULL value's canonical bytes. `array` has the type `t.to_arrow()`.
fn encoder<'a>(array: &'a ArrayRef, t: &DataType) -> Encoder<'a> {
    macro_rules! fixed {
        ($arrow:ty) => {{
            let values = array.as_primitive::<$arrow>().values();
            Box::new(move |row, out: &mut Vec<u8>| out.extend_from_slice(&values[row].to_le_bytes()))
        }};
    }
    match t {
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(move |row, out| out.push(u8::from(values.value(row))))
        }
        DataType::TinyInt => fixed!(Int8Type),
        DataType::SmallInt => fixed!(Int16Type),
        DataType::Int => fixed!(Int32Type),
        DataType::BigInt => fixed!(Int64Type),
        DataType::LargeInt | DataType::Decimal(..) => fixed!(Decimal128Type),
        DataType::Date => fixed!(Date32Type),
        DataType::DateTime => fixed!(TimestampMicrosecondType),
        DataType::Char(_) | DataType::Varchar(_) | DataType::String => {
            let values = array.as_string_view();
            Box::new(move |row, out| {
                let text = values.value(row);
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            })
        }
        DataType::Float
        | DataType::Double
        | DataType::Varbinary
        | DataType::Json
        | DataType::Array(_)
        | DataType::Map(..)
        | DataType::Struct(_) => unreachable!("hash_rows refuses types that are not keys"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Int8Array, Int32Array, Int64Array, LargeStringArray, StringArray,
        StringViewArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::DataType as ArrowType;
    use proptest::prelude::*;

    use super::*;

    fn hash(columns: Vec<ArrayRef>, types: &[DataType]) -> Vec<u64> {
        let rows = columns[0].len();
        hash_rows(&columns, types, rows).unwrap()
    }

    /// The definition, written out by hand from the table above.
    fn by_hand(parts: &[Option<&[u8]>]) -> u64 {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                None => bytes.push(0),
                Some(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(value);
                }
            }
        }
        xxh3_64(&bytes)
    }

    #[test]
    fn values_are_hashed_by_their_canonical_bytes() {
        let int = |v: Option<i32>| hash(vec![Arc::new(Int32Array::from(vec![v]))], &[DataType::Int])[0];
        assert_eq!(int(Some(7)), by_hand(&[Some(&[7, 0, 0, 0])]));
        assert_eq!(int(None), by_hand(&[None]));
        let text = hash(vec![Arc::new(StringArray::from(vec!["ab"]))], &[DataType::String])[0];
        assert_eq!(text, by_hand(&[Some(&[2, 0, 0, 0, b'a', b'b'])]));
    }

    #[test]
    fn frozen_vectors() {
        let vectors: Vec<(ArrayRef, DataType)> = vec![
            (Arc::new(BooleanArray::from(vec![true])), DataType::Boolean),
            (Arc::new(Int8Array::from(vec![-1])), DataType::TinyInt),
            (Arc::new(Int32Array::from(vec![20_240_229])), DataType::Int),
            (Arc::new(Int64Array::from(vec![i64::MIN])), DataType::BigInt),
            (
                Arc::new(Decimal128Array::from(vec![-12_345]).with_precision_and_scale(10, 2).unwrap()),
                DataType::Decimal(10, 2),
            ),
            (Arc::new(Date32Array::from(vec![19_782])), DataType::Date),
            (Arc::new(TimestampMicrosecondArray::from(vec![1_709_164_800_000_001])), DataType::DateTime),
            (Arc::new(StringArray::from(vec!["Tarn, ein Bergsee"])), DataType::Varchar(20)),
            (Arc::new(Int32Array::from(vec![None::<i32>])), DataType::Int),
        ];
        let hashes: Vec<u64> = vectors.into_iter().map(|(a, t)| hash(vec![a], &[t])[0]).collect();
        assert_eq!(hashes, FROZEN);
    }

    const FROZEN: [u64; 9] = [
        0x070d_80d6_a768_65f3,
        0x08f8_8395_ec2f_5ae4,
        0x8a67_7003_4dd2_8e20,
        0x6f16_315a_ee31_3307,
        0xd456_6e24_a660_5b88,
        0x3b4e_2557_2ba3_4f6b,
        0x7788_cc7a_fbf8_00ea,
        0x6c0a_7037_c2bc_d833,
        0xc44b_dff4_074e_ecdb,
    ];

    proptest! {
        #[test]
        fn physical_encoding_does_not_matter(values in prop::collection::vec(prop::option::of(".{0,20}"), 1..40)) {
            let t = [DataType::String];
            let view: ArrayRef = Arc::new(StringViewArray::from_iter(values.iter().map(|v| v.as_deref())));
            let expected = hash(vec![view.clone()], &t);
            let utf8: ArrayRef = Arc::new(StringArray::from_iter(values.iter().map(|v| v.as_deref())));
            let large: ArrayRef = Arc::new(LargeStringArray::from_iter(values.iter().map(|v| v.as_deref())));
            let dictionary = cast(&utf8, &ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8))).unwrap();
            for other in [utf8, large, dictionary] {
                prop_assert_eq!(&hash(vec![other], &t), &expected);
            }
            let sliced = hash(vec![view.slice(1, view.len() - 1)], &t);
            prop_assert_eq!(&sliced[..], &expected[1..]);
        }

        #[test]
        fn integer_width_does_not_matter(values in prop::collection::vec(any::<i8>(), 1..40)) {
            let narrow: ArrayRef = Arc::new(Int8Array::from(values.clone()));
            let wide: ArrayRef = Arc::new(Int64Array::from_iter_values(values.iter().map(|v| i64::from(*v))));
            prop_assert_eq!(hash(vec![narrow], &[DataType::BigInt]), hash(vec![wide], &[DataType::BigInt]));
        }
    }
}
