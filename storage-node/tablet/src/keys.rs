//! Every key of the tablet metadata store (RocksDB, default column family). Numbers are big endian, so that a tablet's
//! rowsets stand together and in order.
//!
//! | key | value |
//! |---|---|
//! | `t` tablet (8) | [`TabletRecord`](crate::record::TabletRecord): the tablet exists |
//! | `v` tablet (8) | [`VersionRecord`](crate::record::VersionRecord): the newest published version |
//! | `r` tablet (8) rowset (8) | [`RowsetRecord`](crate::record::RowsetRecord): a pending or published rowset |

use tarn_proto::{RowsetId, TabletId};

use crate::{Error, Result};

/// A decoded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A tablet's existence.
    Tablet(TabletId),
    /// A tablet's newest published version.
    Version(TabletId),
    /// A rowset of a tablet.
    Rowset(TabletId, RowsetId),
}

impl Key {
    /// The bytes in the store.
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Tablet(tablet) => joined(b't', &[tablet.get()]),
            Self::Version(tablet) => joined(b'v', &[tablet.get()]),
            Self::Rowset(tablet, rowset) => joined(b'r', &[tablet.get(), rowset.get()]),
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
            (Some(b'r'), 17) => Ok(Self::Rowset(TabletId(number(1..9)), RowsetId(number(9..17)))),
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
            (Key::Rowset(TabletId(7), RowsetId(9)), b"r\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09".to_vec()),
        ];
        for (key, bytes) in frozen {
            assert_eq!(key.encode(), bytes);
            assert_eq!(Key::decode(&bytes).unwrap(), key);
        }
        assert!(matches!(Key::decode(b"x1"), Err(Error::Key(_))));
    }
}
