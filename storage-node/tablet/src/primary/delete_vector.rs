//! Which rows of a segment are deleted, from a version on.
//!
//! Stored under the key tablet, rowset, segment, version as a version byte 1 and the roaring bitmap of all rows that are
//! deleted at that version, in its portable serialisation: readers get the latter.

use bytes::Bytes;
use roaring::RoaringBitmap;
use tarn_proto::Version;

const FORMAT: u8 = 1;

/// A segment's deleted rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteVector {
    /// The first version that they are deleted at.
    pub since: Version,
    /// How many there are.
    pub rows: u64,
    /// Portable serialisation of their numbers.
    pub portable: Bytes,
}

impl DeleteVector {
    /// Rows that are deleted from version `since` on.
    pub(crate) fn new(since: Version, rows: &RoaringBitmap) -> Self {
        let mut portable = Vec::with_capacity(rows.serialized_size());
        rows.serialize_into(&mut portable).expect("memory takes every write");
        Self { since, rows: rows.len(), portable: portable.into() }
    }

    /// The stored value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[FORMAT][..], &self.portable].concat()
    }

    /// Reads a stored value; the error tells what is wrong with it.
    pub(crate) fn decode(since: Version, bytes: &[u8]) -> Result<Self, String> {
        match bytes.split_first() {
            None => Err("it is empty".to_owned()),
            Some((&FORMAT, portable)) => {
                let mut rest = portable;
                let rows = RoaringBitmap::deserialize_from(&mut rest).map_err(|e| format!("it is no bitmap: {e}"))?;
                if !rest.is_empty() {
                    return Err(format!("it has {} bytes behind its end", rest.len()));
                }
                Ok(Self { since, rows: rows.len(), portable: Bytes::copy_from_slice(portable) })
            }
            Some((version, _)) => Err(format!("it has format version {version}, this build reads {FORMAT}")),
        }
    }

    /// The numbers of the deleted rows.
    pub(crate) fn bitmap(&self) -> RoaringBitmap {
        RoaringBitmap::deserialize_from(&self.portable[..]).expect("checked when it was read or made")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frozen_bytes() {
        let vector = DeleteVector::new(Version(4), &RoaringBitmap::from_iter([1, 3, 65_541]));
        let expected: &[u8] = b"\x01\x3a\x30\0\0\x02\0\0\0\0\0\x01\0\x01\0\0\0\x18\0\0\0\x1c\0\0\0\x01\0\x03\0\x05\0";
        assert_eq!(vector.encode(), expected);
        assert_eq!(DeleteVector::decode(Version(4), expected).unwrap(), vector);
        assert_eq!((vector.rows, vector.bitmap().len()), (3, 3));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in prop::collection::btree_set(0u32..200_000, 0..300)) {
            let vector = DeleteVector::new(Version(9), &rows.iter().copied().collect());
            let read = DeleteVector::decode(Version(9), &vector.encode()).unwrap();
            prop_assert!(read.bitmap().iter().eq(rows.iter().copied()));
            prop_assert_eq!(read.rows, rows.len() as u64);
            prop_assert_eq!(read, vector);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            rows in prop::collection::btree_set(0u32..200_000, 0..300),
            change in (any::<prop::sample::Index>(), any::<u8>()),
        ) {
            let _ = DeleteVector::decode(Version(1), &bytes);
            let _ = DeleteVector::decode(Version(1), &[&[FORMAT], &bytes[..]].concat());
            let mut changed = DeleteVector::new(Version(1), &rows.into_iter().collect()).encode();
            let at = change.0.index(changed.len());
            changed[at] ^= change.1;
            if let Ok(vector) = DeleteVector::decode(Version(1), &changed) {
                prop_assert_eq!(vector.bitmap().len(), vector.rows);
            }
        }
    }
}
