//! What compute nodes keep of segments, which never change.
//!
//! Two layers. **Pieces** are the units Vortex reads (a few rows of one column, a dictionary, a zone map), kept in memory
//! aligned as the decoder wants them, so that a hit copies nothing. Below them, for segments on other machines only,
//! **blocks** of one mebibyte are kept in memory and, if configured, on disk: neighbouring pieces come with one request,
//! and concurrent requests for a block become one. A disk entry is checksummed; one that is lost or damaged is read
//! from the storage node again.

use std::ops::Range;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use foyer::{
    BlockEngineConfig, Cache, CacheBuilder, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, S3FifoConfig,
};
use futures::future::try_join_all;
use tarn_proto::storage::{FileKey, IndexFileKey};
use tracing::warn;
use vortex::buffer::ByteBuffer;

use crate::error::Error;
use crate::segment::{ReadError, SegmentFile};

/// Size of a block of a remote segment: large enough to hide a network round trip, small enough not to read much that
/// nobody asked for.
const BLOCK_BYTES: u64 = 1 << 20;

/// The part of the memory budget that holds blocks of remote segments on their way to disk.
const BLOCK_MEMORY_SHARE: u64 = 8;

/// The part of the memory budget that holds parts of index files.
const INDEX_MEMORY_SHARE: u64 = 16;

/// Bookkeeping of one cached piece, added to its length.
const ENTRY_OVERHEAD: usize = 128;

/// Sizes and place of the block cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheConfig {
    /// Memory for pieces and blocks of segments.
    pub memory_bytes: u64,
    /// Directory for blocks of remote segments, if they are to be kept on disk. Its content may be lost at any time.
    pub disk_dir: Option<PathBuf>,
    /// Size of the disk cache.
    pub disk_bytes: u64,
}

/// The key of a block on disk. Fixed layout; a change only loses the cache.
fn block_key(file: &FileKey, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.extend_from_slice(&file.segment.tablet.get().to_le_bytes());
    key.extend_from_slice(&file.segment.rowset.get().to_le_bytes());
    key.extend_from_slice(&file.segment.segment.to_le_bytes());
    key.extend_from_slice(&file.checksum.to_le_bytes());
    key.extend_from_slice(&number.to_le_bytes());
    key
}

/// A piece: a file and the number of the piece in its footer.
pub(crate) type PieceKey = (FileKey, u32);

/// A part of an index file: the segment, the index, where the part begins and how long it is.
pub(crate) type IndexPartKey = (FileKey, IndexFileKey, u32, u32);

pub(crate) struct BlockCache {
    pieces: Cache<PieceKey, ByteBuffer>,
    indexes: Cache<IndexPartKey, Bytes>,
    blocks: HybridCache<Vec<u8>, Bytes>,
}

impl BlockCache {
    pub async fn open(config: &CacheConfig) -> Result<Self, Error> {
        let block_memory = config.memory_bytes / BLOCK_MEMORY_SHARE;
        let index_memory = config.memory_bytes / INDEX_MEMORY_SHARE;
        let indexes = CacheBuilder::new(index_memory as usize)
            .with_name("tarn-indexes")
            .with_weighter(|_: &IndexPartKey, part: &Bytes| part.len() + ENTRY_OVERHEAD)
            .build();
        let pieces = CacheBuilder::new((config.memory_bytes - block_memory - index_memory) as usize)
            .with_name("tarn-pieces")
            // A scan larger than the cache must not wash out what dashboards read again and again.
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(|_: &PieceKey, piece: &ByteBuffer| piece.len() + ENTRY_OVERHEAD)
            .build();
        let builder = HybridCacheBuilder::new()
            .with_name("tarn-blocks")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(block_memory as usize)
            .with_weighter(|key: &Vec<u8>, block: &Bytes| key.len() + block.len() + ENTRY_OVERHEAD)
            .storage();
        let blocks = match &config.disk_dir {
            None => builder.build().await.map_err(|e| disk_cache("", e))?,
            Some(directory) => {
                let name = directory.display().to_string();
                let device = FsDeviceBuilder::new(directory)
                    .with_capacity(config.disk_bytes as usize)
                    .build()
                    .map_err(|e| disk_cache(&name, e))?;
                let engine = BlockEngineConfig::new(device);
                builder.with_engine_config(engine).build().await.map_err(|e| disk_cache(&name, e))?
            }
        };
        Ok(Self { pieces, indexes, blocks })
    }

    pub fn piece(&self, key: &PieceKey) -> Option<ByteBuffer> {
        self.pieces.get(key).map(|entry| entry.value().clone())
    }

    pub fn insert_piece(&self, key: PieceKey, piece: ByteBuffer) {
        self.pieces.insert(key, piece);
    }

    pub fn index(&self, key: &IndexPartKey) -> Option<Bytes> {
        self.indexes.get(key).map(|entry| entry.value().clone())
    }

    pub fn insert_index(&self, key: IndexPartKey, part: Bytes) {
        self.indexes.insert(key, part);
    }

    /// A byte range of a file on another machine.
    pub async fn read(&self, file: &SegmentFile, range: Range<u64>) -> Result<Bytes, ReadError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let read = try_join_all(blocks.clone().map(|number| self.block(file, number))).await?;
        let start = (range.start - blocks.start * BLOCK_BYTES) as usize;
        let length = (range.end - range.start) as usize;
        if let [block] = read.as_slice() {
            return Ok(block.slice(start..start + length));
        }
        let mut whole = BytesMut::with_capacity(length);
        for (index, block) in read.iter().enumerate() {
            let from = if index == 0 { start } else { 0 };
            let to = block.len().min(from + length - whole.len());
            whole.extend_from_slice(&block[from..to]);
        }
        Ok(whole.freeze())
    }

    async fn block(&self, file: &SegmentFile, number: u64) -> Result<Bytes, ReadError> {
        let range = number * BLOCK_BYTES..((number + 1) * BLOCK_BYTES).min(file.bytes);
        let fetch = {
            let (file, range) = (file.clone(), range.clone());
            || async move { file.fetch(range).await }
        };
        match self.blocks.get_or_fetch(&block_key(&file.key, number), fetch).await {
            Ok(entry) if entry.value().len() as u64 == range.end - range.start => Ok(entry.value().clone()),
            Ok(_) => file.fetch(range).await,
            Err(error) => match error.downcast_ref::<ReadError>() {
                Some(error) => Err(error.clone()),
                None => {
                    warn!(%error, "the disk cache failed; reading the segment itself");
                    file.fetch(range).await
                }
            },
        }
    }
}

fn disk_cache(directory: &str, error: foyer::Error) -> Error {
    Error::DiskCache { directory: directory.to_owned(), source: std::io::Error::other(error.to_string()) }
}

#[cfg(test)]
mod tests;
