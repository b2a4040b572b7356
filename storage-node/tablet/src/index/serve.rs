//! Bytes of index files, for readers.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tarn_proto::storage::{IndexKey, SegmentKey};

use crate::engine::Engine;
use crate::{Error, Result, metrics};

impl Engine {
    /// Byte ranges of an index of a segment, in their order, as the file has them. Blocks.
    pub fn read_index(&self, key: SegmentKey, index: IndexKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let SegmentKey { tablet, rowset, segment } = key;
        let lacking = || Error::UnknownIndex { tablet, rowset, segment, index };
        let owner = self.tablet(tablet)?;
        let record = owner.state.read().rowsets.get(&rowset).cloned();
        let held = record.as_ref().and_then(|record| record.segments.get(segment as usize));
        let (held, bytes) = held.and_then(|held| Some((held, held.index(index)?.file?.bytes))).ok_or_else(lacking)?;
        self.fetch_index(key, held, index)?;
        let path = self.dir.segment(key).index(index);
        let file = File::open(&path).map_err(|_| lacking())?;
        ranges
            .iter()
            .map(|range| {
                if range.start > range.end || range.end > bytes {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    return Err(Error::Range { tablet, file, bytes, start: range.start, end: range.end });
                }
                let mut buffer = vec![0; (range.end - range.start) as usize];
                // Shorter than its record: as good as not there.
                file.read_exact_at(&mut buffer, range.start).map_err(|_| lacking())?;
                metrics::bytes_read(range.end - range.start);
                Ok(Bytes::from(buffer))
            })
            .collect()
    }
}
