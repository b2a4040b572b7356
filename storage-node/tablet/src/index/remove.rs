//! The end of index files.

use std::fs;

use tarn_proto::{RowsetId, TabletId};

use crate::layout::{DataDir, is_index_of};

/// Removes the index files of a rowset that is gone. What cannot be removed now is an orphan, which goes at the next start.
pub(crate) fn remove_files(dir: &DataDir, tablet: TabletId, rowset: RowsetId) {
    let Ok(entries) = fs::read_dir(dir.tablet(tablet)) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| is_index_of(name, rowset)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
