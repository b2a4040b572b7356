//! Bytes of index files, for readers.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tarn_proto::storage::{FileKey, IndexFileKey, SegmentKey};

use crate::engine::{Engine, rowset_with};
use crate::record::IndexRecord;
use crate::{Error, Result, metrics};

impl Engine {
    /// Byte ranges of an index of a segment, in their order, as the file has them. Blocks.
    pub fn read_index(&self, file: FileKey, index: IndexFileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let key = file.segment;
        let IndexFileKey { index, checksum } = index;
        let SegmentKey { tablet, rowset, segment } = key;
        let lacking = || Error::UnknownIndex { tablet, rowset, segment, index };
        let owner = self.tablet(tablet)?;
        // An index is named by its segment alone. The file of another segment, or another index of it, comes after the record
        // has ceased to name this one.
        let held = || {
            let record = rowset_with(&owner, file)?;
            let named = record.segments[segment as usize].index(index).and_then(|named: &IndexRecord| named.file);
            match named.filter(|named| named.checksum == checksum) {
                Some(named) => Ok((record, named.bytes)),
                None => Err(lacking()),
            }
        };
        let (record, bytes) = held()?;
        self.fetch_index(key, &record.segments[segment as usize], index)?;
        let path = self.dir.segment(key).index(index);
        let opened = File::open(&path).map_err(|_| lacking())?;
        held()?;
        ranges
            .iter()
            .map(|range| {
                if range.start > range.end || range.end > bytes {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    return Err(Error::Range { tablet, file, bytes, start: range.start, end: range.end });
                }
                let mut buffer = vec![0; (range.end - range.start) as usize];
                // Shorter than its record: as good as not there.
                opened.read_exact_at(&mut buffer, range.start).map_err(|_| lacking())?;
                metrics::bytes_read(range.end - range.start);
                Ok(Bytes::from(buffer))
            })
            .collect()
    }
}
