//! Tablets on a storage volume as callers of a storage node name them.

use crate::{TabletId, Version, wire};

/// A tablet on a storage volume that a node shall own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTablet {
    /// The tablet.
    pub tablet: TabletId,
    /// Counts its owners: who has a smaller one does not own it any more.
    pub epoch: u64,
    /// What is visible of it: less than that in the volume is loss, and not opened.
    pub version: Version,
}

impl From<OpenTablet> for wire::OpenTablet {
    fn from(open: OpenTablet) -> Self {
        Self { tablet_id: open.tablet.get(), epoch: open.epoch, version: open.version.get() }
    }
}

impl From<wire::OpenTablet> for OpenTablet {
    fn from(open: wire::OpenTablet) -> Self {
        Self { tablet: TabletId(open.tablet_id), epoch: open.epoch, version: Version(open.version) }
    }
}
