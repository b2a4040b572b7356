//! The keys of a rowset, from its key files.

use std::fs::File;
use std::io::BufReader;

use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TabletId};

use super::key::Keys;
use super::key_file::{Entries, Reader};
use super::merge::{Fault, KeyMerge, Place};
use crate::engine::Engine;
use crate::layout::key_file_name;
use crate::open_segment::{damaged, unreadable};
use crate::record::{RowsetRecord, SegmentRecord};
use crate::tablet::Tablet;
use crate::{Error, Result};

/// Bytes of a key file that are read at a time.
const READ_BYTES: usize = 128 << 10;

pub(super) type KeyFile = Reader<BufReader<File>>;

/// The keys of a rowset in order, each once, with what its last operation made of it.
pub(super) struct RowsetKeys {
    tablet: TabletId,
    rowset: RowsetId,
    merge: KeyMerge<BufReader<File>>,
}

impl RowsetKeys {
    /// Replaces `keys` and `last` by the next ones, at most `limit`; see [`KeyMerge::next`]. Blocks.
    pub(super) fn next(
        &mut self,
        limit: usize,
        keys: &mut Keys,
        last: &mut Vec<Place>,
        lost: impl FnMut(usize, Place),
    ) -> Result<bool> {
        self.merge.next(limit, keys, last, lost).map_err(|fault| faulty(self.tablet, self.rowset, fault))
    }
}

impl Engine {
    /// The keys of a rowset, published or not. Blocks.
    pub(super) fn rowset_keys(&self, tablet: &Tablet, rowset: RowsetId, record: &RowsetRecord) -> Result<RowsetKeys> {
        let files = segments(tablet, rowset, record).map(|(key, segment)| self.open_keys(key, segment));
        let merge = KeyMerge::new(files.collect::<Result<Vec<_>>>()?);
        let merge = merge.map_err(|fault| faulty(tablet.id, rowset, fault))?;
        Ok(RowsetKeys { tablet: tablet.id, rowset, merge })
    }

    /// Goes through the entries of a key file. Blocks.
    pub(super) fn each_entry(
        &self,
        place: SegmentKey,
        segment: &SegmentRecord,
        mut each: impl FnMut(&[u8], u32) -> Result<()>,
    ) -> Result<()> {
        let mut file = self.open_keys(place, segment)?;
        let mut entries = Entries::new();
        while file.next(&mut entries).map_err(|what| damaged_keys(place, what))? {
            for (i, row) in entries.rows.iter().enumerate() {
                each(entries.keys.get(i), *row)?;
            }
        }
        Ok(())
    }

    /// The key file of a segment, from its volume if it is on one. Blocks.
    pub(super) fn open_keys(&self, key: SegmentKey, segment: &SegmentRecord) -> Result<KeyFile> {
        self.fetch_keys(key, segment)?;
        match self.open_key_file(key, segment) {
            Err(Error::Damaged { .. }) if self.fetch_keys_again(key, segment)? => self.open_key_file(key, segment),
            opened => opened,
        }
    }

    fn open_key_file(&self, key: SegmentKey, segment: &SegmentRecord) -> Result<KeyFile> {
        let file = File::open(self.dir.segment(key).keys)
            .map_err(|error| unreadable(key, key_file_name(key.rowset, key.segment), error))?;
        let source = BufReader::with_capacity(READ_BYTES, file);
        Reader::new(source, segment.rows, segment.checksum).map_err(|what| damaged_keys(key, what))
    }
}

/// The segments of a rowset.
pub(super) fn segments<'a>(
    tablet: &Tablet,
    rowset: RowsetId,
    record: &'a RowsetRecord,
) -> impl Iterator<Item = (SegmentKey, &'a SegmentRecord)> + use<'a> {
    let tablet = tablet.id;
    (0..).zip(&record.segments).map(move |(segment, record)| (SegmentKey { tablet, rowset, segment }, record))
}

/// The error for a key file that is not what was written.
pub(super) fn damaged_keys(key: SegmentKey, what: String) -> Error {
    damaged(key, key_file_name(key.rowset, key.segment), what)
}

fn faulty(tablet: TabletId, rowset: RowsetId, fault: Fault) -> Error {
    damaged_keys(SegmentKey { tablet, rowset, segment: fault.segment }, fault.what)
}
