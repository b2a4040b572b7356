//! Index files, read in parts through the cache.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tarn_proto::index::{Error, FIRST_READ_BYTES, Tail};
use tarn_proto::storage::{IndexFileKey, StoreError};

use crate::cache::BlockCache;
use crate::segment::{ReadMetrics, SegmentFile};

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Format(#[from] Error),
}

/// Ranges of one file that are read with one request are at most so many bytes apart from each other.
const COALESCE_GAP: u64 = 4096;

/// An index of a segment.
pub(super) struct IndexFile<'a> {
    pub segment: &'a SegmentFile,
    pub key: IndexFileKey,
    pub bytes: u64,
    pub cache: &'a Arc<BlockCache>,
    pub metrics: &'a ReadMetrics,
}

impl IndexFile<'_> {
    /// The directory, as `decode` reads it of the end of the file.
    pub async fn directory<T>(&self, decode: impl Fn(&[u8], u64) -> Result<Tail<T>, Error>) -> Result<T, Unusable> {
        let mut wanted = FIRST_READ_BYTES.min(self.bytes);
        loop {
            let tail = self.read(std::slice::from_ref(&(self.bytes - wanted..self.bytes))).await?;
            match decode(&tail[0], self.bytes)? {
                Tail::Complete(directory) => return Ok(directory),
                Tail::Longer(needed) if needed > wanted && needed <= self.bytes => wanted = needed,
                Tail::Longer(_) => return Err(Error::Damaged("its directory is nowhere").into()),
            }
        }
    }

    /// Ranges of the file, in order of the request. What the cache lacks is read with one call.
    pub async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Unusable> {
        let mut found: Vec<Option<Bytes>> = ranges.iter().map(|range| self.cached(range)).collect();
        let missing: Vec<usize> = (0..ranges.len()).filter(|i| found[*i].is_none()).collect();
        let wholes = coalesce(&missing.iter().map(|i| ranges[*i].clone()).collect::<Vec<_>>());
        if !wholes.is_empty() {
            let read = self.segment.read_index(self.key, &wholes).await?;
            for (whole, bytes) in wholes.iter().zip(&read) {
                if bytes.len() as u64 != whole.end - whole.start {
                    return Err(Error::Damaged("less was read than asked for").into());
                }
                self.metrics.bytes_read.add(bytes.len());
            }
            for i in missing {
                let range = &ranges[i];
                // They are in order and apart from each other.
                let place = wholes.partition_point(|whole| whole.start <= range.start).saturating_sub(1);
                let start = (range.start - wholes[place].start) as usize;
                let bytes = read[place].slice(start..start + (range.end - range.start) as usize);
                self.cache.insert_index(self.cache_key(range), bytes.clone());
                found[i] = Some(bytes);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn cached(&self, range: &Range<u64>) -> Option<Bytes> {
        let bytes = self.cache.index(&self.cache_key(range))?;
        self.metrics.bytes_cached.add(bytes.len());
        crate::metrics::cache_hit(bytes.len());
        Some(bytes)
    }

    fn cache_key(&self, range: &Range<u64>) -> crate::cache::IndexPartKey {
        // Files are below 4 GiB, and what is asked for at one place is always as long.
        (self.segment.key, self.key, range.start as u32, (range.end - range.start) as u32)
    }
}

/// The ranges, near ones together.
fn coalesce(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut wholes: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match wholes.last_mut() {
            Some(last) if range.start <= last.end + COALESCE_GAP => last.end = last.end.max(range.end),
            _ => wholes.push(range),
        }
    }
    wholes
}
