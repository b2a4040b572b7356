//! Storage volumes: object stores that tables may live in.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tarn_proto::VolumeId;
use tarn_proto::volume::Volume;

/// What kind of store a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeKind {
    /// A bucket.
    S3,
    /// A folder that every node sees under the same path.
    Local,
}

impl fmt::Display for VolumeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S3 => "S3",
            Self::Local => "LOCAL",
        })
    }
}

/// A storage volume.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageVolume {
    /// Its id, never reused.
    pub id: VolumeId,
    /// Its name, unique with case among those that are not dropped.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
    /// Where it is, as declared.
    pub location: String,
    /// How to reach it, without `enabled`; names in lower case.
    pub properties: BTreeMap<String, String>,
    /// Whether tables may be made on it.
    pub enabled: bool,
    /// The comment, or empty.
    pub comment: String,
    /// Dropped by name; it goes when the objects of the last dropped table are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

impl fmt::Debug for StorageVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials are in the properties.
        f.debug_struct("StorageVolume")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl StorageVolume {
    /// The volume as this cluster's nodes reach it: clusters that share a location do not meet in it.
    pub fn volume(&self, cluster_id: &str) -> Volume {
        Volume {
            id: self.id,
            name: self.name.clone(),
            location: format!("{}/{cluster_id}", self.location.trim_end_matches('/')),
            properties: self.properties.clone(),
        }
    }
}
