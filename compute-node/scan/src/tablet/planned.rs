//! What a run of a scan has decided to read: its segments and its pieces of work.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use tarn_proto::{RowsetId, SchemaVersion, wire};
use tokio::sync::OnceCell;
use vortex::file::VortexFile;
use vortex::layout::LayoutReader;

use super::TabletRead;
use super::deleted::Deleted;
use super::index::Selected;
use super::merge::Merging;
use super::morsel::{Morsel, Work};
use crate::segment::SegmentFile;

/// What is read.
pub(super) struct Planned {
    pub segments: Vec<Segment>,
    pub merging: Option<Arc<Merging>>,
    /// One queue, or one for each partition.
    pub queues: Vec<Mutex<VecDeque<Work>>>,
}

impl Planned {
    /// The next work for an output partition.
    pub fn take(&self, partition: usize) -> Option<Work> {
        self.queues[partition % self.queues.len()].lock().pop_front()
    }
}

/// A segment of a tablet that is read.
pub(super) struct Segment {
    pub tablet: TabletRead,
    pub rowset: RowsetId,
    /// The version of the schema it was written under.
    pub written: SchemaVersion,
    pub file: SegmentFile,
    /// Rows of the segment.
    pub rows: u64,
    /// Those that the sort key's index leaves.
    pub range: Range<u64>,
    pub deleted: Option<Arc<Deleted>>,
    /// Its indexes that have a file.
    pub indexes: Vec<wire::SegmentIndex>,
    pub opened: OnceCell<Opened>,
    /// What its indexes leave. A segment is read with the same filters throughout.
    pub selected: OnceCell<Selected>,
}

impl Segment {
    /// Rows of a morsel that are not deleted.
    pub fn live(&self, morsel: &Morsel) -> u64 {
        let rows = morsel.rows.end - morsel.rows.start;
        self.deleted.as_ref().map_or(rows, |deleted| rows - deleted.rows.range_cardinality(morsel.rows.clone()))
    }
}

/// A segment whose footer is known.
pub(super) struct Opened {
    pub file: VortexFile,
    pub reader: Arc<dyn LayoutReader>,
}
