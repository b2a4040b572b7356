//! Every key of the tablet metadata store (RocksDB, default column family). Numbers are big endian, so that a tablet's
//! rowsets stand together and in order.
//!
//! | key | value |
//! |---|---|
//! | `t` tablet (8) | [`TabletRecord`](crate::record::TabletRecord): the tablet exists |
//! | `v` tablet (8) | [`VersionRecord`](crate::record::VersionRecord): its newest and its oldest version |
//! | `r` tablet (8) rowset (8) | [`RowsetRecord`](crate::record::RowsetRecord): a pending, published or superseded rowset |
//! | `d` tablet (8) rowset (8) segment (4) version (8) | delete vector from this version on, see [`DeleteVector`](crate::primary::DeleteVector) |
//! | `o` tablet (8) | [`VolumeRecord`](crate::record::VolumeRecord): the tablet is on a volume, and all else here a copy |

use tarn_proto::{RowsetId, TabletId, Version};

use crate::{Error, Result};

/// A decoded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A tablet's existence.
    Tablet(TabletId),
    /// Where a tablet stands.
    Version(TabletId),
    /// That a tablet is on a storage volume.
    Volume(TabletId),
    /// A rowset of a tablet.
    Rowset(TabletId, RowsetId),
    /// A segment's delete vector from a version on.
    DeleteVector(TabletId, RowsetId, u32, Version),
}

impl Key {
    /// The bytes in the store.
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Tablet(tablet) => joined(b't', &[tablet.get()]),
            Self::Version(tablet) => joined(b'v', &[tablet.get()]),
            Self::Volume(tablet) => joined(b'o', &[tablet.get()]),
            Self::Rowset(tablet, rowset) => joined(b'r', &[tablet.get(), rowset.get()]),
            Self::DeleteVector(tablet, rowset, segment, version) => {
                let mut key = joined(b'd', &[tablet.get(), rowset.get()]);
                key.extend_from_slice(&segment.to_be_bytes());
                key.extend_from_slice(&version.get().to_be_bytes());
                key
            }
        }
    }

    /// The key that these bytes are.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let number = |range: std::ops::Range<usize>| {
            bytes.get(range).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes).unwrap_or_default()
        };
        match (bytes.first(), bytes.len()) {
            (Some(b't'), 9) => Ok(Self::Tablet(TabletId(number(1..9)))),
            (Some(b'v'), 9) => Ok(Self::Version(TabletId(number(1..9)))),
            (Some(b'o'), 9) => Ok(Self::Volume(TabletId(number(1..9)))),
            (Some(b'r'), 17) => Ok(Self::Rowset(TabletId(number(1..9)), RowsetId(number(9..17)))),
            (Some(b'd'), 29) => {
                // The lower half of these bytes.
                let segment = number(13..21) as u32;
                Ok(Self::DeleteVector(
                    TabletId(number(1..9)),
                    RowsetId(number(9..17)),
                    segment,
                    Version(number(21..29)),
                ))
            }
            _ => Err(Error::Key(bytes.to_vec())),
        }
    }
}

fn joined(kind: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = vec![kind];
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_bytes() {
        let frozen = [
            (Key::Tablet(TabletId(0x0102)), b"t\0\0\0\0\0\0\x01\x02".to_vec()),
            (Key::Version(TabletId(7)), b"v\0\0\0\0\0\0\0\x07".to_vec()),
            (Key::Volume(TabletId(7)), b"o\0\0\0\0\0\0\0\x07".to_vec()),
            (Key::Rowset(TabletId(7), RowsetId(9)), b"r\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09".to_vec()),
            (
                Key::DeleteVector(TabletId(7), RowsetId(u64::MAX), 0xffff_fff0, Version(2)),
                b"d\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0\0\0\0\0\0\0\0\x02".to_vec(),
            ),
        ];
        for (key, bytes) in frozen {
            assert_eq!(key.encode(), bytes);
            assert_eq!(Key::decode(&bytes).unwrap(), key);
        }
        assert!(matches!(Key::decode(b"x1"), Err(Error::Key(_))));
    }
}
