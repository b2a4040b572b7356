//! Where files are, and how directories are made durable. See the crate's documentation for the picture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TabletId};

use crate::Result;
use crate::error::IoContext;

/// The node's data directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// The two files of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFiles {
    /// The Vortex file.
    pub segment: PathBuf,
    /// Checksums and short-key index.
    pub sidecar: PathBuf,
}

impl DataDir {
    /// Opens or creates the directory.
    pub(crate) fn create(root: PathBuf) -> Result<Self> {
        let dir = Self { root };
        let tablets = dir.tablets();
        fs::create_dir_all(&tablets).doing("create", &tablets)?;
        sync_dir(&dir.root)?;
        Ok(dir)
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a tablet has files here.
    pub(crate) fn has_tablets(&self) -> Result<bool> {
        let tablets = self.tablets();
        fs::read_dir(&tablets)
            .and_then(|mut entries| entries.next().transpose())
            .doing("list", &tablets)
            .map(|e| e.is_some())
    }

    /// RocksDB's directory.
    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }

    /// The directory of the tablets' directories.
    pub(crate) fn tablets(&self) -> PathBuf {
        self.root.join("tablets")
    }

    /// A tablet's directory.
    pub(crate) fn tablet(&self, tablet: TabletId) -> PathBuf {
        self.tablets().join(tablet.get().to_string())
    }

    /// Makes sure, durably, that a tablet's directory exists.
    pub(crate) fn create_tablet(&self, tablet: TabletId) -> Result<PathBuf> {
        let dir = self.tablet(tablet);
        if !dir.is_dir() {
            fs::create_dir_all(&dir).doing("create", &dir)?;
            sync_dir(&self.tablets())?;
        }
        Ok(dir)
    }

    /// A segment's files.
    pub(crate) fn segment(&self, key: SegmentKey) -> SegmentFiles {
        let dir = self.tablet(key.tablet);
        SegmentFiles {
            segment: dir.join(segment_name(key.rowset, key.segment)),
            sidecar: dir.join(format!("{}_{}.sidecar", key.rowset.get(), key.segment)),
        }
    }

    /// Temporary names of a segment that attempt `attempt` of this process writes.
    pub(crate) fn temporary(&self, key: SegmentKey, attempt: u64) -> SegmentFiles {
        let dir = self.tablet(key.tablet);
        let name = |what: &str| dir.join(format!("{}_{}.{attempt}.{what}.tmp", key.rowset.get(), key.segment));
        SegmentFiles { segment: name("vortex"), sidecar: name("sidecar") }
    }
}

/// The file name of a segment, as errors and operators see it.
pub(crate) fn segment_name(rowset: RowsetId, segment: u32) -> String {
    format!("{}_{segment}.vortex", rowset.get())
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).doing("sync", dir)
}
