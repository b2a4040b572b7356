//! The persisted form of the whole catalog.

use tarn_proto::encoding;

use crate::Catalog;

/// Format version of encoded catalogs.
pub const SNAPSHOT_ENCODING: u8 = 1;

impl Catalog {
    /// The versioned encoding. Equal catalogs have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(SNAPSHOT_ENCODING, self)
    }

    /// Reads [`Self::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, encoding::Error> {
        encoding::decode("catalog snapshot", SNAPSHOT_ENCODING, bytes)
    }
}
