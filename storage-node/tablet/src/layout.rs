//! Where files are, and how directories are made durable. See the crate's documentation for the picture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tarn_proto::storage::{IndexKey, SegmentKey};
use tarn_proto::{RowsetId, TabletId};

use crate::Result;
use crate::error::IoContext;

/// The node's data directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// The files of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFiles {
    /// The Vortex file.
    pub segment: PathBuf,
    /// Checksums and short-key index.
    pub sidecar: PathBuf,
    /// Encoded keys of a PRIMARY KEY table's segment; other tables have no such file.
    pub keys: PathBuf,
    /// What the names of the files of its indexes begin with, ...
    index: PathBuf,
    /// ... and end with.
    index_end: &'static str,
}

/// The end of the names of index files.
const INDEX: &str = "index";
/// The end of the names of index files that are being written.
const TEMPORARY_INDEX: &str = "index.tmp";

impl SegmentFiles {
    /// The file of an index.
    pub(crate) fn index(&self, key: IndexKey) -> PathBuf {
        let mut path = self.index.clone().into_os_string();
        path.push(format!(".{}.{}.{}", key.column, key.kind.name().to_ascii_lowercase(), self.index_end));
        path.into()
    }

    /// Gives the files, of these indexes among others, other names in the same directory. They are durable under them once
    /// it is synced.
    pub(crate) fn rename(&self, to: &Self, indexes: impl Iterator<Item = IndexKey>) -> Result<()> {
        for (from, to) in [(&self.sidecar, &to.sidecar), (&self.segment, &to.segment)] {
            fs::rename(from, to).doing("rename", from)?;
        }
        for key in indexes {
            let from = self.index(key);
            fs::rename(&from, to.index(key)).doing("rename", &from)?;
        }
        match fs::rename(&self.keys, &to.keys) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.doing("rename", &self.keys),
        }
    }

    /// Removes the files but those of indexes. What cannot be removed now is an orphan, which goes at the next start.
    pub(crate) fn remove(&self) {
        for file in [&self.segment, &self.sidecar, &self.keys] {
            let _ = fs::remove_file(file);
        }
    }
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

    /// The primary-key index.
    pub(crate) fn primary(&self) -> PathBuf {
        self.root.join("primary")
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

    /// Gives the directory of a dropped tablet a name that no tablet has, unless there is none. What cannot be renamed
    /// stays where it is until the next start.
    pub(crate) fn put_aside(&self, tablet: TabletId, number: u64) -> Option<PathBuf> {
        let aside = self.tablets().join(format!("{}.dropped-{number}", tablet.get()));
        fs::rename(self.tablet(tablet), &aside).ok().map(|()| aside)
    }

    /// A segment's files.
    pub(crate) fn segment(&self, key: SegmentKey) -> SegmentFiles {
        let dir = self.tablet(key.tablet);
        SegmentFiles {
            segment: dir.join(segment_name(key.rowset, key.segment)),
            sidecar: dir.join(format!("{}_{}.sidecar", key.rowset.get(), key.segment)),
            keys: dir.join(key_file_name(key.rowset, key.segment)),
            index: dir.join(format!("{}_{}", key.rowset.get(), key.segment)),
            index_end: INDEX,
        }
    }

    /// Temporary names of a segment that attempt `attempt` of this process writes.
    pub(crate) fn temporary(&self, key: SegmentKey, attempt: u64) -> SegmentFiles {
        let dir = self.tablet(key.tablet);
        let name = |what: &str| dir.join(format!("{}_{}.{attempt}.{what}.tmp", key.rowset.get(), key.segment));
        SegmentFiles {
            segment: name("vortex"),
            sidecar: name("sidecar"),
            keys: name("keys"),
            index: dir.join(format!("{}_{}.{attempt}", key.rowset.get(), key.segment)),
            index_end: TEMPORARY_INDEX,
        }
    }
}

/// Whether a file of this name is an index of a segment of the rowset.
pub(crate) fn is_index_of(name: &str, rowset: RowsetId) -> bool {
    let of_rowset = name.split_once('_').is_some_and(|(id, _)| id.parse() == Ok(rowset.get()));
    of_rowset && name.rsplit_once('.').is_some_and(|(_, end)| end == INDEX)
}

/// The file name of a segment, as errors and operators see it.
pub(crate) fn segment_name(rowset: RowsetId, segment: u32) -> String {
    format!("{}_{segment}.vortex", rowset.get())
}

/// The file name of a segment's keys, as errors and operators see it.
pub(crate) fn key_file_name(rowset: RowsetId, segment: u32) -> String {
    format!("{}_{segment}.keys", rowset.get())
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).doing("sync", dir)
}
