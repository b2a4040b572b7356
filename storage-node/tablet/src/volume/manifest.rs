//! A numbered manifest of a tablet in its volume: all that the metadata store has of the tablet, but for pending rowsets.
//!
//! Format version 1, little endian: version byte, tablet (8), sequence (8), epoch (8), writer (16), number of claims (4) and
//! their sequences (8 each), number of records (4), then each record: length of the key (2), key, kind of its value (1),
//! value; CRC32C of all this (4). A value of kind 0 is its length (4) and bytes; one of kind 1 stands in another object of
//! the tablet: length of its name (2), name, offset (8), length (8), CRC32C of the value (4).

use std::collections::BTreeMap;

use bytes::Bytes;
use tarn_proto::TabletId;

use crate::framed::{self, Content};

const FORMAT: u8 = 1;

/// What the metadata store has of a tablet, by key.
pub(crate) type Records = BTreeMap<Vec<u8>, Value>;

/// A value of the metadata store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// In the manifest.
    Here(Bytes),
    /// Part of another object.
    There(Place),
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The object's name among those of the tablet's large values.
    pub object: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// CRC32C of the bytes.
    pub checksum: u32,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeManifest {
    pub tablet: TabletId,
    /// Its number, from 0: the one before is what it was made of.
    pub sequence: u64,
    /// Its writer's, as the catalog counts owners.
    pub epoch: u64,
    /// Drawn when the writer opened the tablet.
    pub writer: u128,
    /// Manifests that began somebody's ownership. They are kept for ever: whoever owned the tablet before finds one where
    /// its own next manifest would stand.
    pub claims: Vec<u64>,
    pub records: Records,
}

impl VolumeManifest {
    /// The object's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = framed::begin(FORMAT);
        out.extend_from_slice(&self.tablet.get().to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.writer.to_le_bytes());
        out.extend_from_slice(&(self.claims.len() as u32).to_le_bytes());
        self.claims.iter().for_each(|claim| out.extend_from_slice(&claim.to_le_bytes()));
        out.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        for (key, value) in &self.records {
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(key);
            match value {
                Value::Here(bytes) => {
                    out.push(0);
                    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
                Value::There(place) => {
                    out.push(1);
                    out.extend_from_slice(&(place.object.len() as u16).to_le_bytes());
                    out.extend_from_slice(place.object.as_bytes());
                    out.extend_from_slice(&place.offset.to_le_bytes());
                    out.extend_from_slice(&place.length.to_le_bytes());
                    out.extend_from_slice(&place.checksum.to_le_bytes());
                }
            }
        }
        framed::end(out)
    }

    /// Reads an object's bytes; the error tells what is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut content = Content::of(bytes, FORMAT)?;
        let tablet = TabletId(u64::from_le_bytes(content.take()?));
        let sequence = u64::from_le_bytes(content.take()?);
        let epoch = u64::from_le_bytes(content.take()?);
        let writer = u128::from_le_bytes(content.take()?);
        let count = u32::from_le_bytes(content.take()?);
        let claims = (0..count).map(|_| content.take().map(u64::from_le_bytes)).collect::<Result<_, String>>()?;
        let count = u32::from_le_bytes(content.take()?);
        let mut records = Records::new();
        for _ in 0..count {
            let length = u16::from_le_bytes(content.take()?);
            let key = content.slice(length.into())?.to_vec();
            records.insert(key, value(&mut content)?);
        }
        content.end()?;
        Ok(Self { tablet, sequence, epoch, writer, claims, records })
    }
}

fn value(content: &mut Content<'_>) -> Result<Value, String> {
    match content.take::<1>()?[0] {
        0 => {
            let length = u32::from_le_bytes(content.take()?);
            Ok(Value::Here(Bytes::copy_from_slice(content.slice(length as usize)?)))
        }
        1 => {
            let length = u16::from_le_bytes(content.take()?);
            let object = std::str::from_utf8(content.slice(length.into())?).map_err(|e| e.to_string())?.to_owned();
            let (offset, length) = (u64::from_le_bytes(content.take()?), u64::from_le_bytes(content.take()?));
            Ok(Value::There(Place { object, offset, length, checksum: u32::from_le_bytes(content.take()?) }))
        }
        kind => Err(format!("it has a value of unknown kind {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> VolumeManifest {
        let place = Place { object: "o".to_owned(), offset: 1, length: 2, checksum: 3 };
        let records = [(b"k1".to_vec(), Value::Here(Bytes::from_static(b"v"))), (b"k2".to_vec(), Value::There(place))];
        VolumeManifest {
            tablet: TabletId(7),
            sequence: 5,
            epoch: 2,
            writer: 0x0102,
            claims: vec![0, 4],
            records: records.into(),
        }
    }

    #[test]
    fn frozen_bytes() {
        let mut expected = b"\x01\x07\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x02\x01".to_vec();
        expected.extend_from_slice(&[0; 14]);
        expected.extend_from_slice(b"\x02\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x02\0\0\0");
        expected.extend_from_slice(
            b"\x02\0k1\0\x01\0\0\0v\x02\0k2\x01\x01\0o\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0",
        );
        expected.extend_from_slice(&crc32c::crc32c(&expected).to_le_bytes());
        assert_eq!(example().encode(), expected);
        assert_eq!(VolumeManifest::decode(&expected), Ok(example()));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = example().encode();
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 0x10;
            assert!(VolumeManifest::decode(&flipped).is_err(), "byte {i}");
            assert!(VolumeManifest::decode(&bytes[..i]).is_err(), "length {i}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            change in (any::<prop::sample::Index>(), any::<u8>()),
        ) {
            let _ = VolumeManifest::decode(&bytes);
            // The same behind a checksum that fits.
            let mut changed = example().encode();
            changed.truncate(changed.len() - 4);
            let at = change.0.index(changed.len());
            changed[at] ^= change.1;
            changed.extend_from_slice(&crc32c::crc32c(&changed).to_le_bytes());
            if let Ok(read) = VolumeManifest::decode(&changed) {
                prop_assert_eq!(VolumeManifest::decode(&read.encode()), Ok(read));
            }
        }
    }
}
