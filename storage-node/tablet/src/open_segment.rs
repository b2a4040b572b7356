//! Segment files that are open for reading, each block verified before its bytes leave.
//!
//! A block is verified the first time it is read from an open file; a bit remembers it, so that a hot segment costs no
//! checksums. Damage that comes later shows after the file was closed (least recently used files are) or the process
//! restarted. Reads of blocks that are all verified fetch just the bytes asked for.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::buffer::MutableBuffer;
use bytes::Bytes;
use parking_lot::Mutex;
use tarn_proto::TabletId;
use tarn_proto::storage::SegmentKey;
use tracing::{error, warn};

use crate::checksum::BLOCK_BYTES;
use crate::layout::{DataDir, segment_name};
use crate::record::SegmentRecord;
use crate::sidecar::Sidecar;
use crate::{Error, Result, metrics};

/// Gaps up to this size between two ranges are read rather than skipped.
const COALESCE_GAP: u64 = BLOCK_BYTES;
/// The most bytes of one read, unless a single range is longer.
const COALESCE_BYTES: u64 = 8 << 20;
/// The error number of a failed read of a disk, on every Unix.
const EIO: i32 = 5;
/// Bytes in memory are aligned as in the file up to this power of two, so that decoders need not copy them.
const ALIGNMENT: u64 = 64;

/// An open segment file.
pub(crate) struct OpenSegment {
    key: SegmentKey,
    file: File,
    sidecar: Sidecar,
    /// One bit per verified block.
    verified: Vec<AtomicU64>,
}

/// One read of the file and the ranges (positions in the request) that it serves.
struct Read {
    bytes: Range<u64>,
    ranges: Vec<usize>,
}

impl OpenSegment {
    fn open(dir: &DataDir, key: SegmentKey, record: &SegmentRecord) -> Result<Self> {
        let files = dir.segment(key);
        let sidecar_name = format!("{}_{}.sidecar", key.rowset.get(), key.segment);
        let sidecar = fs::read(&files.sidecar).map_err(|e| unreadable(key, sidecar_name.clone(), e))?;
        let sidecar = Sidecar::decode(&sidecar).map_err(|what| damaged(key, sidecar_name.clone(), what))?;
        if !sidecar.is_of(record) {
            return Err(damaged(key, sidecar_name, "it belongs to another segment file".to_owned()));
        }
        let sums = &sidecar.checksums;
        let name = segment_name(key.rowset, key.segment);
        let file = File::open(&files.segment).map_err(|e| unreadable(key, name.clone(), e))?;
        let length = file.metadata().map_err(|e| unreadable(key, name.clone(), e))?.len();
        if length != record.bytes {
            return Err(damaged(key, name, format!("it has {length} bytes instead of {}", record.bytes)));
        }
        let verified = (0..sums.blocks.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { key, file, sidecar, verified })
    }

    /// Whether it is the file that a record is about.
    fn is_of(&self, record: &SegmentRecord) -> bool {
        self.sidecar.is_of(record)
    }

    /// The encoded short-key index.
    pub(crate) fn short_key_index(&self) -> Bytes {
        self.sidecar.short_key_index.clone()
    }

    /// Verified bytes of each range, in their order. Blocks.
    pub(crate) fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = self.sidecar.checksums.bytes;
        for range in ranges {
            if range.start > range.end || range.end > bytes {
                let file = segment_name(self.key.rowset, self.key.segment);
                let (start, end) = (range.start, range.end);
                return Err(Error::Range { tablet: self.key.tablet, file, bytes, start, end });
            }
        }
        let mut out = vec![Bytes::new(); ranges.len()];
        for read in self.plan(ranges) {
            let data = self.fetch(read.bytes.clone())?;
            let wanted: u64 = read.ranges.iter().map(|position| ranges[*position].end - ranges[*position].start).sum();
            // Blocks that were read to be verified do not stay in memory for the few bytes of them that were asked for.
            let is_mostly_other = 2 * wanted < read.bytes.end - read.bytes.start;
            for position in read.ranges {
                let range = &ranges[position];
                let start = (range.start - read.bytes.start) as usize;
                let bytes = start..start + (range.end - range.start) as usize;
                out[position] = if is_mostly_other { copied(&data, bytes) } else { data.slice(bytes) };
            }
        }
        Ok(out)
    }

    /// Which reads serve the ranges: near ones together, widened to whole blocks where blocks must be verified.
    fn plan(&self, ranges: &[Range<u64>]) -> Vec<Read> {
        let mut order: Vec<usize> = (0..ranges.len()).filter(|i| !ranges[*i].is_empty()).collect();
        order.sort_by_key(|i| ranges[*i].start);
        let mut reads: Vec<Read> = Vec::new();
        for position in order {
            let wanted = self.widened(&ranges[position]);
            match reads.last_mut() {
                Some(last)
                    if wanted.start <= last.bytes.end + COALESCE_GAP
                        && (wanted.end <= last.bytes.end || wanted.end - last.bytes.start <= COALESCE_BYTES) =>
                {
                    last.bytes.end = last.bytes.end.max(wanted.end);
                    last.ranges.push(position);
                }
                _ => reads.push(Read { bytes: wanted, ranges: vec![position] }),
            }
        }
        // What lies between two ranges may hold blocks that the ends cut.
        for read in &mut reads {
            read.bytes = self.widened(&read.bytes);
        }
        reads
    }

    /// The range, from an aligned start; of whole blocks if one of them has not been verified.
    fn widened(&self, range: &Range<u64>) -> Range<u64> {
        let all_verified = self.blocks(range).all(|block| self.is_verified(block));
        if all_verified {
            range.start / ALIGNMENT * ALIGNMENT..range.end
        } else {
            let end = range.end.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
            range.start / BLOCK_BYTES * BLOCK_BYTES..end.min(self.sidecar.checksums.bytes)
        }
    }

    fn blocks(&self, range: &Range<u64>) -> Range<usize> {
        (range.start / BLOCK_BYTES) as usize..range.end.div_ceil(BLOCK_BYTES) as usize
    }

    fn is_verified(&self, block: usize) -> bool {
        self.verified[block / 64].load(Ordering::Relaxed) & (1 << (block % 64)) != 0
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let mut buffer = MutableBuffer::from_len_zeroed((range.end - range.start) as usize);
        self.file
            .read_exact_at(buffer.as_slice_mut(), range.start)
            .map_err(|e| unreadable(self.key, segment_name(self.key.rowset, self.key.segment), e))?;
        for block in self.blocks(&range).filter(|block| !self.is_verified(*block)) {
            self.verify(block, &range, buffer.as_slice())?;
        }
        metrics::bytes_read(range.end - range.start);
        Ok(Bytes::from_owner(Aligned(buffer)))
    }

    /// Verifies a block in the bytes of `range`, which hold all of it.
    fn verify(&self, block: usize, range: &Range<u64>, data: &[u8]) -> Result<()> {
        let bytes = self.sidecar.checksums.block(block);
        let data = &data[(bytes.start - range.start) as usize..(bytes.end - range.start) as usize];
        let (expected, found) = (self.sidecar.checksums.blocks[block], crc32c::crc32c(data));
        if expected != found {
            let what = format!(
                "block {block} (bytes {}..{}) has checksum {found:08x} instead of {expected:08x}",
                bytes.start, bytes.end
            );
            return Err(damaged(self.key, segment_name(self.key.rowset, self.key.segment), what));
        }
        self.verified[block / 64].fetch_or(1 << (block % 64), Ordering::Relaxed);
        Ok(())
    }
}

/// A part of `data`, which begins at an aligned address, in memory of its own and aligned as it was.
fn copied(data: &Bytes, part: Range<usize>) -> Bytes {
    let aligned = part.start / ALIGNMENT as usize * ALIGNMENT as usize;
    let mut buffer = MutableBuffer::new(part.end - aligned);
    buffer.extend_from_slice(&data[aligned..part.end]);
    Bytes::from_owner(Aligned(buffer)).slice(part.start - aligned..)
}

/// Bytes at an aligned address.
struct Aligned(MutableBuffer);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Reports and counts damaged bytes of a segment.
pub(crate) fn damaged(key: SegmentKey, file: String, what: String) -> Error {
    metrics::checksum_failure();
    error!(tablet = %key.tablet, rowset = %key.rowset, file, what, "damaged data");
    Error::Damaged { tablet: key.tablet, rowset: key.rowset, file, what }
}

/// The disk, or somebody on it, has lost bytes: the file is missing, short, or a sector of it is bad. Everything else (too
/// many open files, no memory, a file system that is away) says nothing about the bytes.
pub(crate) fn unreadable(key: SegmentKey, file: String, error: io::Error) -> Error {
    let lost = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
    if lost || error.raw_os_error() == Some(EIO) {
        return damaged(key, file, format!("it cannot be read: {error}"));
    }
    warn!(tablet = %key.tablet, rowset = %key.rowset, file, %error, "cannot read a file now");
    Error::Unreadable { tablet: key.tablet, file, source: error }
}

/// The open files, least recently used ones closed beyond a limit. Readers keep a closed file open until they are done.
pub(crate) struct OpenSegments {
    capacity: usize,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    open: HashMap<SegmentKey, (u64, Arc<OpenSegment>)>,
    clock: u64,
}

impl OpenSegments {
    /// At most `capacity` open files.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, files: Mutex::default() }
    }

    /// The open file of a segment with this record, if it is open. Another one, which a clone has replaced, is not it.
    pub(crate) fn known(&self, key: SegmentKey, record: &SegmentRecord) -> Option<Arc<OpenSegment>> {
        let mut files = self.files.lock();
        files.clock += 1;
        let now = files.clock;
        let (used, open) = files.open.get_mut(&key).filter(|(_, open)| open.is_of(record))?;
        *used = now;
        Some(open.clone())
    }

    /// The open file of a segment with this record. Blocks when it has to be opened.
    pub(crate) fn get(&self, dir: &DataDir, key: SegmentKey, record: &SegmentRecord) -> Result<Arc<OpenSegment>> {
        if let Some(open) = self.known(key, record) {
            return Ok(open);
        }
        let opened = Arc::new(OpenSegment::open(dir, key, record)?);
        let mut files = self.files.lock();
        if files.open.len() >= self.capacity
            && let Some(oldest) = files.open.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key)
        {
            files.open.remove(&oldest);
        }
        let now = files.clock;
        files.open.insert(key, (now, opened.clone()));
        Ok(opened)
    }

    /// Closes the files of tablets that are gone, or of rowsets for which `keep` is false.
    pub(crate) fn retain(&self, keep: impl Fn(&SegmentKey) -> bool) {
        self.files.lock().open.retain(|key, _| keep(key));
    }

    /// Closes all files of a tablet.
    pub(crate) fn close_tablet(&self, tablet: TabletId) {
        self.retain(|key| key.tablet != tablet);
    }
}
