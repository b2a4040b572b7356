//! What a node's metadata tells of a tablet.

use std::collections::BTreeMap;
use std::path::Path;

use roaring::RoaringBitmap;
use serde::Serialize;
use tarn_proto::{RowsetId, TabletId, Version};

use super::segment::SegmentLayout;
use crate::Result;
use crate::meta::{Entry, Meta, decode_vector};
use crate::primary::DeleteVector;
use crate::record::{RowsetRecord, RowsetState, TabletRecord, VersionRecord};

/// A tablet.
#[derive(Clone, Debug, Serialize)]
pub struct TabletLayout {
    /// Its id.
    pub tablet: u64,
    /// Its table's model.
    pub model: String,
    /// The newest schema that it has seen.
    pub schema_version: u32,
    /// The newest version.
    pub version: u64,
    /// The oldest version whose rowsets are all there.
    pub oldest: u64,
    /// Its rowsets, by id.
    pub rowsets: Vec<RowsetLayout>,
}

/// A rowset.
#[derive(Clone, Debug, Serialize)]
pub struct RowsetLayout {
    /// Its id.
    pub rowset: u64,
    /// `PENDING`, `LIVE` or `SUPERSEDED`.
    pub state: &'static str,
    /// Its place among others: the version of the newest load in it. 0 while it is pending.
    pub version: u64,
    /// The first version that lists it.
    pub since: u64,
    /// The first that does not.
    pub until: Option<u64>,
    /// The schema that its segments are written with.
    pub schema_version: u32,
    /// Its segments.
    pub segments: u64,
    /// Their rows, deleted ones too.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A tablet's records.
pub(super) struct Known {
    id: TabletId,
    tablet: TabletRecord,
    versions: VersionRecord,
    rowsets: BTreeMap<RowsetId, RowsetRecord>,
    vectors: BTreeMap<(RowsetId, u32), DeleteVector>,
}

/// Reads the records of the tablet that has this directory; none if there is no metadata two folders above it, or it does not
/// know the tablet.
pub(super) fn read(dir: &Path) -> Result<Option<Known>> {
    let Ok(dir) = dir.canonicalize() else { return Ok(None) };
    let id = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).map(TabletId);
    let meta = dir.parent().and_then(Path::parent).map(|data| data.join("meta"));
    let (Some(id), Some(meta)) = (id, meta) else { return Ok(None) };
    if !Meta::exists(&meta)? {
        return Ok(None);
    }
    let (mut tablet, mut versions) = (None, VersionRecord::FIRST);
    let (mut rowsets, mut vectors) = (BTreeMap::new(), BTreeMap::new());
    for entry in Meta::open_to_read(&meta)?.entries() {
        match entry? {
            Entry::Tablet(of, record) if of == id => tablet = Some(record),
            Entry::Version(of, record) if of == id => versions = record,
            Entry::Rowset(of, rowset, record) if of == id => drop(rowsets.insert(rowset, record)),
            Entry::DeleteVector(of, rowset, segment, since, bytes) if of == id => {
                // The newest comes last.
                vectors.insert((rowset, segment), decode_vector(of, rowset, segment, since, &bytes)?);
            }
            _ => {}
        }
    }
    Ok(tablet.map(|tablet| Known { id, tablet, versions, rowsets, vectors }))
}

impl Known {
    /// Adds names of columns and deleted rows to a segment.
    pub(super) fn complete(&self, (rowset, segment): (u64, u32), layout: &mut SegmentLayout) {
        let schema = &self.tablet.schema;
        for column in &mut layout.columns {
            let known = schema.columns.iter().find(|known| tarn_proto::segment::field_name(known.id) == column.field);
            column.name = known.map(|known| known.name.clone());
        }
        if let Some(vector) = self.vectors.get(&(RowsetId(rowset), segment)) {
            layout.deleted_rows = vector.rows;
            layout.deleted_since = Some(vector.since.get());
            layout.deleted_ranges = ranges(&vector.bitmap());
        }
        let record = self.rowsets.get(&RowsetId(rowset)).and_then(|record| record.segments.get(segment as usize));
        match record {
            None => layout.problems.push("no rowset of the tablet names the file".to_owned()),
            Some(record) if (record.rows, record.bytes) != (layout.rows, layout.bytes) => layout
                .problems
                .push(format!("its rowset says that it has {} rows and {} bytes", record.rows, record.bytes)),
            Some(_) => {}
        }
    }

    /// What is shown.
    pub(super) fn into_layout(self) -> TabletLayout {
        TabletLayout {
            tablet: self.id.get(),
            model: format!("{:?}", self.tablet.schema.model),
            schema_version: self.tablet.schema.version.get(),
            version: self.versions.version.get(),
            oldest: self.versions.oldest.get(),
            rowsets: self.rowsets.iter().map(|(id, record)| rowset(*id, record)).collect(),
        }
    }
}

/// First and last of the rows that follow each other.
fn ranges(rows: &RoaringBitmap) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => ranges.push((row, row)),
        }
    }
    ranges
}

fn rowset(id: RowsetId, record: &RowsetRecord) -> RowsetLayout {
    let lifetime = record.published();
    RowsetLayout {
        rowset: id.get(),
        state: match (&record.state, lifetime.and_then(|lifetime| lifetime.until)) {
            (RowsetState::Pending, _) => "PENDING",
            (RowsetState::Published(_), None) => "LIVE",
            (RowsetState::Published(_), Some(_)) => "SUPERSEDED",
        },
        version: lifetime.map_or(0, |lifetime| lifetime.version.get()),
        since: lifetime.map_or(0, |lifetime| lifetime.since.get()),
        until: lifetime.and_then(|lifetime| lifetime.until).map(Version::get),
        schema_version: record.schema_version.get(),
        segments: record.segments.len() as u64,
        rows: record.rows(),
        bytes: record.bytes(),
    }
}
