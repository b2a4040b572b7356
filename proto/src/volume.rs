//! Storage volumes: object stores that tablets live in, as every role reaches them.
//!
//! ```text
//!  options   properties of S3, as FILES() and CREATE STORAGE VOLUME have them ──► a client
//!  location  "s3://bucket/prefix", "file:///folder"
//!  folder    a folder as an object store
//!  store     VolumeStore: requests with retries, whose answers are verified; names of objects
//!  pool      VolumePool: one client for each definition
//! ```
//!
//! What the objects of a tablet mean is `tarn-tablet`'s. Segments are named by their content, so that an object never
//! changes and no two writers mean different bytes by one name:
//!
//! ```text
//!  <location>/<tablet>/<rowset>_<segment>_<CRC32C of the segment>.vortex     also .sidecar, .keys, ..
//! ```

mod error;
mod folder;
mod location;
mod options;
mod pool;
mod store;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use error::Error;
pub use location::Location;
pub use object_store::path::Path;
pub use options::{S3Options, is_secret, s3};
pub use pool::VolumePool;
pub use store::{Created, Object, VolumeStore};

use crate::{VolumeId, wire};

/// A storage volume, as those who read and write it need it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Its id, never reused.
    pub id: VolumeId,
    /// Its name, for errors.
    pub name: String,
    /// `s3://bucket/prefix` or `file:///folder`.
    pub location: String,
    /// How to reach it; names in lower case.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials are in the properties.
        f.debug_struct("Volume")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl From<&Volume> for wire::Volume {
    fn from(volume: &Volume) -> Self {
        Self {
            id: volume.id.get(),
            name: volume.name.clone(),
            location: volume.location.clone(),
            properties: volume.properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

impl From<wire::Volume> for Volume {
    fn from(volume: wire::Volume) -> Self {
        Self {
            id: VolumeId(volume.id),
            name: volume.name,
            location: volume.location,
            properties: volume.properties.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_credentials() {
        let properties = [("aws.s3.secret_key".to_owned(), "SK".to_owned())].into();
        let volume = Volume { id: VolumeId(3), name: "v".into(), location: "s3://b/p".into(), properties };
        assert!(!format!("{volume:?}").contains("SK"));
        assert_eq!(Volume::from(wire::Volume::from(&volume)), volume);
    }
}
