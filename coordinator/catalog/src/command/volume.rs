//! Storage volumes, and who owns the tablets on them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tarn_proto::{NodeId, TabletId};

use crate::model::VolumeKind;

/// A storage volume to be created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VolumeSpec {
    pub name: String,
    pub kind: VolumeKind,
    pub location: String,
    pub properties: BTreeMap<String, String>,
    pub enabled: bool,
    pub comment: String,
}

/// What changes of a storage volume; what is not mentioned stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VolumeChange {
    pub comment: Option<String>,
    pub enabled: Option<bool>,
    /// An empty value removes a property.
    pub properties: BTreeMap<String, String>,
}

/// A tablet on a storage volume that gets another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMove {
    /// The tablet.
    pub tablet: TabletId,
    /// The epoch of the owner that it has: the move is void if it has another one since.
    pub epoch: u64,
    /// Its owner from the next epoch on.
    pub to: NodeId,
}

impl fmt::Debug for VolumeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials are in the properties.
        f.debug_struct("VolumeSpec").field("name", &self.name).field("location", &self.location).finish_non_exhaustive()
    }
}

impl fmt::Debug for VolumeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeChange").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}
