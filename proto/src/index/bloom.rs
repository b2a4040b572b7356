//! A bloom index: for every block of rows, and for every group of blocks, a filter that tells which values are surely not in
//! it.
//!
//! The filters are split-block bloom filters (Putze, Sanders, Singler: Cache-, hash- and space-efficient bloom filters; with
//! the constants of Parquet's): a value sets and tests eight bits in one bucket of 32 bytes, so that testing it reads one
//! bucket of a filter. They have as many buckets as keep false answers below [`FALSE_POSITIVES`]. NULL is in none.
//!
//! ```text
//!  parts: pages of 4096 bytes of the filters, each followed by its CRC32C (4); filters follow each other without a gap:
//!         those of a group's blocks, then the group's, then those of the next group's blocks, ..
//!  directory: class (2), rows of the segment (8), rows of a block (4), blocks of a group (4), for each block in order and
//!             then for each group the buckets of its filter (4)
//! ```

use std::ops::Range;

use arrow::array::ArrayRef;

use super::value::{Class, WrongType, for_each, hash};
use super::{Error, Tail, envelope, take, take_u32, take_u64};
use crate::IndexKind;

/// How often a filter says of a value that is not there that it may be, at most.
pub const FALSE_POSITIVES: f64 = 0.05;

/// Rows of a block: as many as a zone of the segment has.
pub const BLOCK_ROWS: u32 = 8192;

/// Blocks of a group, so that looking up a value that is nowhere reads one bucket for a million rows.
const GROUP_BLOCKS: u32 = 128;

const BUCKET_BYTES: u64 = 32;
const PAGE_BYTES: u64 = 4096;
const CHECKSUM_BYTES: u64 = 4;

/// Bits for each value: enough for [`FALSE_POSITIVES`] with some to spare, as buckets do not fill evenly.
const BITS_PER_VALUE: u64 = 8;

const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The bits that a value sets in each word of its bucket.
fn mask(hash: u64) -> [u32; 8] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

/// The bucket of a value in a filter.
const fn bucket(hash: u64, buckets: u32) -> u64 {
    ((hash >> 32) * buckets as u64) >> 32
}

/// The buckets of a filter of so many values.
const fn buckets_for(values: usize) -> u32 {
    (values as u64 * BITS_PER_VALUE).div_ceil(BUCKET_BYTES * 8) as u32
}

/// Appends a filter of these values.
fn append_filter(out: &mut Vec<u8>, hashes: &[u64]) -> u32 {
    let buckets = buckets_for(hashes.len());
    let start = out.len();
    out.resize(start + buckets as usize * BUCKET_BYTES as usize, 0);
    for value in hashes {
        let at = start + (bucket(*value, buckets) * BUCKET_BYTES) as usize;
        for (word, bit) in out[at..at + BUCKET_BYTES as usize].chunks_exact_mut(4).zip(mask(*value)) {
            word.iter_mut().zip(bit.to_le_bytes()).for_each(|(byte, set)| *byte |= set);
        }
    }
    buckets
}

/// Makes an index of rows that come in order, in memory for the values of one group and for the filters.
#[derive(Debug)]
pub struct Builder {
    class: Class,
    rows: u64,
    /// Hashes of the values of the block that is not full.
    block: Vec<u64>,
    block_rows: u32,
    /// Hashes of the values of the full blocks of the group that is not full.
    group: Vec<u64>,
    filters: Vec<u8>,
    /// Buckets of each block's filter.
    blocks: Vec<u32>,
    /// Buckets of each group's filter.
    groups: Vec<u32>,
}

impl Builder {
    /// The index of a segment without rows.
    pub const fn new(class: Class) -> Self {
        Self {
            class,
            rows: 0,
            block: Vec::new(),
            block_rows: 0,
            group: Vec::new(),
            filters: Vec::new(),
            blocks: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Adds the next rows, as segments hold them.
    pub fn push(&mut self, column: &ArrayRef) -> Result<(), WrongType> {
        let class = self.class;
        for_each(class, column, |value| {
            if let Some(value) = value {
                let value = hash(value);
                if self.block.last() != Some(&value) {
                    self.block.push(value);
                }
            }
            self.rows += 1;
            self.block_rows += 1;
            if self.block_rows == BLOCK_ROWS {
                self.end_block();
            }
        })
    }

    fn end_block(&mut self) {
        self.block_rows = 0;
        self.block.sort_unstable();
        self.block.dedup();
        self.blocks.push(append_filter(&mut self.filters, &self.block));
        self.group.append(&mut self.block);
        if self.blocks.len().is_multiple_of(GROUP_BLOCKS as usize) {
            self.end_group();
        }
    }

    fn end_group(&mut self) {
        self.group.sort_unstable();
        self.group.dedup();
        self.groups.push(append_filter(&mut self.filters, &self.group));
        self.group.clear();
    }

    /// The file.
    pub fn finish(mut self) -> Vec<u8> {
        if self.block_rows > 0 {
            self.end_block();
        }
        if !self.blocks.len().is_multiple_of(GROUP_BLOCKS as usize) {
            self.end_group();
        }
        let mut out = Vec::with_capacity(self.filters.len() + self.filters.len() / 1000 + 64);
        for page in self.filters.chunks(PAGE_BYTES as usize) {
            out.extend_from_slice(page);
            out.extend_from_slice(&crc32c::crc32c(page).to_le_bytes());
        }
        let mut directory = Vec::with_capacity(32 + 4 * (self.blocks.len() + self.groups.len()));
        directory.extend_from_slice(&self.class.encode());
        directory.extend_from_slice(&self.rows.to_le_bytes());
        directory.extend_from_slice(&BLOCK_ROWS.to_le_bytes());
        directory.extend_from_slice(&GROUP_BLOCKS.to_le_bytes());
        for buckets in self.blocks.iter().chain(&self.groups) {
            directory.extend_from_slice(&buckets.to_le_bytes());
        }
        envelope::seal(out, IndexKind::Bloom, &directory)
    }
}

/// A filter in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first of its buckets, counted from the first of all.
    first: u64,
    /// How many it has: none if no row has a value.
    buckets: u32,
}

/// Where the bucket of a value in a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    hash: u64,
    /// The page to read, see [`Directory::page`].
    pub page: u64,
    /// Where in the page.
    at: usize,
}

impl Probe {
    /// Whether the value may be there. `page` is what [`check_page`] gave of the page.
    pub fn may_hold(&self, page: &[u8]) -> Result<bool, Error> {
        let bucket = page.get(self.at..self.at + BUCKET_BYTES as usize);
        let bucket = bucket.ok_or(Error::Damaged("a page is too short"))?;
        let words = bucket.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
        Ok(words.zip(mask(self.hash)).all(|(word, bit)| word & bit != 0))
    }
}

/// Verifies a page as it was read, and gives its buckets.
pub fn check_page(bytes: &[u8]) -> Result<&[u8], Error> {
    let (page, sum) = bytes.split_last_chunk::<4>().ok_or(Error::Damaged("a page is too short"))?;
    if crc32c::crc32c(page) != u32::from_le_bytes(*sum) {
        return Err(Error::Damaged("a page does not match its checksum"));
    }
    Ok(page)
}

/// What the end of the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// What its values are.
    pub class: Class,
    /// Rows of the segment.
    pub rows: u64,
    block_rows: u32,
    group_blocks: u32,
    blocks: Vec<Filter>,
    groups: Vec<Filter>,
    /// Bytes of all filters.
    bytes: u64,
}

impl Directory {
    /// Reads the last bytes of a file of `bytes` bytes.
    pub fn decode(tail: &[u8], bytes: u64) -> Result<Tail<Self>, Error> {
        let (mut rest, end) = match envelope::open(tail, bytes, IndexKind::Bloom)? {
            Tail::Complete(found) => found,
            Tail::Longer(needed) => return Ok(Tail::Longer(needed)),
        };
        let rest = &mut rest;
        let class = Class::decode(take(rest)?).ok_or(Error::Damaged("its values are of no known class"))?;
        let rows = take_u64(rest)?;
        let (block_rows, group_blocks) = (take_u32(rest)?, take_u32(rest)?);
        if block_rows == 0 || group_blocks == 0 {
            return Err(Error::Damaged("its blocks are empty"));
        }
        let blocks = rows.div_ceil(u64::from(block_rows));
        let groups = blocks.div_ceil(u64::from(group_blocks));
        if rest.len() as u128 != (u128::from(blocks) + u128::from(groups)) * 4 {
            return Err(Error::Damaged("its directory does not add up"));
        }
        let mut counts = Vec::with_capacity((blocks + groups) as usize);
        while !rest.is_empty() {
            counts.push(take_u32(rest)?);
        }
        let (block_counts, group_counts) = counts.split_at(blocks as usize);
        let mut directory =
            Self { class, rows, block_rows, group_blocks, blocks: Vec::new(), groups: Vec::new(), bytes: 0 };
        let mut first = 0;
        let mut next = |buckets: u32| {
            let filter = Filter { first, buckets };
            first += u64::from(buckets);
            filter
        };
        for (of_group, group) in block_counts.chunks(group_blocks as usize).zip(group_counts) {
            directory.blocks.extend(of_group.iter().map(|buckets| next(*buckets)));
            directory.groups.push(next(*group));
        }
        directory.bytes = first * BUCKET_BYTES;
        if directory.bytes + directory.bytes.div_ceil(PAGE_BYTES) * CHECKSUM_BYTES != end {
            return Err(Error::Damaged("its filters do not add up"));
        }
        Ok(Tail::Complete(directory))
    }

    /// The groups: the filter of each, and its blocks.
    pub fn groups(&self) -> impl Iterator<Item = (Filter, Range<usize>)> + '_ {
        let step = self.group_blocks as usize;
        self.groups.iter().enumerate().map(move |(number, filter)| {
            let start = number * step;
            (*filter, start..(start + step).min(self.blocks.len()))
        })
    }

    /// The filter of a block.
    pub fn block(&self, number: usize) -> Filter {
        self.blocks[number]
    }

    /// The rows of a block.
    pub fn rows_of(&self, block: usize) -> Range<u64> {
        let start = block as u64 * u64::from(self.block_rows);
        start..(start + u64::from(self.block_rows)).min(self.rows)
    }

    /// Where to look for a value, known by its [`hash`], in a filter. `None` if nothing is in it.
    pub fn probe(&self, filter: Filter, hash: u64) -> Option<Probe> {
        if filter.buckets == 0 {
            return None;
        }
        let byte = (filter.first + bucket(hash, filter.buckets)) * BUCKET_BYTES;
        Some(Probe { hash, page: byte / PAGE_BYTES, at: (byte % PAGE_BYTES) as usize })
    }

    /// Where a page is in the file, with its checksum.
    pub fn page(&self, number: u64) -> Range<u64> {
        let start = number * (PAGE_BYTES + CHECKSUM_BYTES);
        let bytes = PAGE_BYTES.min(self.bytes.saturating_sub(number * PAGE_BYTES));
        start..start + bytes + CHECKSUM_BYTES
    }
}
