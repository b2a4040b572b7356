//! What the files of a tablet hold, for operators: reads a segment or a tablet's directory without an engine, beside one that
//! runs or without.
//!
//! Everything comes from the files themselves and, for a directory within a node's data directory, from the node's metadata,
//! which tells names of columns, versions and deleted rows. Nothing is changed. What cannot be read is said in place of
//! it, so that damaged files can be looked at, too.

mod segment;
mod tablet;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::IoContext;
use crate::{Error, Result};

#[cfg(test)]
pub(crate) use segment::read_file;
pub use segment::{ColumnLayout, EncodingLayout, IndexLayout, KeysLayout, SegmentLayout, ShortKeyLayout};
pub use tablet::{RowsetLayout, TabletLayout};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspected {
    /// What the node's metadata tells of the tablet, if it is there.
    pub tablet: Option<TabletLayout>,
    /// The segments, by name.
    pub segments: Vec<SegmentLayout>,
}

/// Looks into a segment file (`*.vortex`) or at all segments in a tablet's directory. Blocks.
///
/// Fails if there is no segment at `path`. Damage is told in the layout.
pub fn inspect(path: &Path) -> Result<Inspected> {
    let is_dir = std::fs::metadata(path).doing("look at", path)?.is_dir();
    let (dir, mut files) = if is_dir {
        let entries = std::fs::read_dir(path).doing("list", path)?;
        let files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
        (path.to_owned(), files.doing("list", path)?)
    } else {
        (path.parent().map(Path::to_owned).unwrap_or_default(), vec![path.to_owned()])
    };
    files.retain(|file| file.extension().is_some_and(|end| end == segment::SEGMENT));
    if files.is_empty() {
        return Err(Error::NoSegment(path.to_owned()));
    }
    files.sort_by_key(|file| place(file));
    let mut tablet = tablet::read(&dir)?;
    let mut segments = Vec::with_capacity(files.len());
    for file in &files {
        let mut layout = segment::read(file)?;
        if let Some(tablet) = &mut tablet {
            tablet.complete(place(file), &mut layout);
        }
        segments.push(layout);
    }
    Ok(Inspected { tablet: tablet.map(tablet::Known::into_layout), segments })
}

/// Rowset and number of a segment, by its file's name.
fn place(file: &Path) -> (u64, u32) {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let (rowset, segment) = name.split_once('_').unwrap_or_default();
    (rowset.parse().unwrap_or_default(), segment.parse().unwrap_or_default())
}

/// A file beside a segment's.
fn beside(segment: &Path, end: &str) -> PathBuf {
    segment.with_extension(end)
}
