//! The envelope of everything Tarn persists with serde: one version byte, then MessagePack with field names.
//!
//! Field names make additions with `#[serde(default)]` readable both ways; whatever is not an addition raises the
//! version byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that this build cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing at all.
    #[error("empty {what} record")]
    Empty {
        /// What was expected.
        what: &'static str,
    },
    /// Written by a build with another format version.
    #[error("{what} record has format version {found}, this build reads {expected}: upgrade this node")]
    Version {
        /// What was expected.
        what: &'static str,
        /// The version byte found.
        found: u8,
        /// The version byte this build writes.
        expected: u8,
    },
    /// Damaged bytes.
    #[error("damaged {what} record")]
    Damaged {
        /// What was expected.
        what: &'static str,
        /// The decoder's complaint.
        #[source]
        source: rmp_serde::decode::Error,
    },
}

/// Encodes `value` behind `version`.
pub fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut out = vec![version];
    let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
    value.serialize(&mut serializer).expect("plain data in memory always encodes");
    out
}

/// Decodes what [`encode`] wrote with the same `version`. `what` names the record in errors.
pub fn decode<T: DeserializeOwned>(what: &'static str, version: u8, bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty { what }),
        Some((&found, _)) if found != version => Err(Error::Version { what, found, expected: version }),
        Some((_, body)) => rmp_serde::from_slice(body).map_err(|source| Error::Damaged { what, source }),
    }
}
