//! One segment file, read through the cache.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::physical_plan::metrics::Count;
use futures::FutureExt;
use tarn_proto::storage::{FileKey, IndexFileKey, StoreError};
use tarn_proto::{ErrorKind, NodeId, volume};
use vortex::array::buffer::BufferHandle;
use vortex::buffer::ByteBuffer;
use vortex::error::VortexError;
use vortex::file::{DeserializeStep, Footer, SegmentSpec};
use vortex::layout::segments::{SegmentFuture, SegmentId, SegmentSource};
use vortex::session::VortexSession;

use crate::cache::BlockCache;
use crate::metrics;

/// Read at a file's end to find its footer: holds the footer of a segment of a hundred columns in most cases.
const FOOTER_READ_BYTES: u64 = 64 << 10;

/// Why bytes of a segment cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// A storage node refused, failed or is away.
    #[error(transparent)]
    Node(#[from] StoreError),
    /// The storage volume did.
    #[error(transparent)]
    Volume(#[from] volume::Error),
}

impl ReadError {
    /// What the caller must do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Node(error) => error.kind,
            Self::Volume(error) => error.kind(),
        }
    }
}

/// Where the segments of a tablet are read.
#[async_trait]
pub(crate) trait SegmentBytes: Send + Sync {
    /// A range of a file, in full.
    async fn read(&self, file: &FileKey, bytes: u64, range: Range<u64>) -> Result<Bytes, ReadError>;

    /// Ranges of a segment's index. `NotFound` where there is none: rows are read without it then.
    async fn read_index(
        &self,
        file: &FileKey,
        index: IndexFileKey,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StoreError>;

    /// Whether it is this process that has them.
    fn is_local(&self) -> bool {
        false
    }

    /// The storage node that is read, if it is one.
    fn node(&self) -> Option<NodeId> {
        None
    }
}

/// Where a segment file is and how large. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SegmentFile {
    pub key: FileKey,
    pub bytes: u64,
    pub from: Arc<dyn SegmentBytes>,
}

impl SegmentFile {
    /// Reads a range from where the file is.
    pub async fn fetch(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let bytes = self.from.read(&self.key, self.bytes, range).await?;
        metrics::read(self.from.is_local(), bytes.len());
        Ok(bytes)
    }

    /// Ranges of one of its indexes, uncached.
    pub async fn read_index(&self, index: IndexFileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        self.from.read_index(&self.key, index, ranges).await
    }

    async fn read(&self, cache: &BlockCache, range: Range<u64>) -> Result<Bytes, ReadError> {
        if self.from.is_local() { self.fetch(range).await } else { cache.read(self, range).await }
    }

    /// Reads and parses the footer.
    pub async fn footer(&self, cache: &BlockCache, session: &VortexSession) -> Result<Footer, FooterError> {
        let tail = self.read(cache, self.bytes.saturating_sub(FOOTER_READ_BYTES)..self.bytes).await?;
        let mut deserializer = Footer::deserializer(ByteBuffer::from(tail), session.clone()).with_size(self.bytes);
        loop {
            match deserializer.deserialize()? {
                DeserializeStep::Done(footer) => return Ok(footer),
                DeserializeStep::NeedMoreData { offset, len } => {
                    let more = self.read(cache, offset..offset + len as u64).await?;
                    deserializer.prefix_data(ByteBuffer::from(more));
                }
                DeserializeStep::NeedFileSize => {
                    return Err(FooterError::Format(vortex::error::vortex_err!("no footer in {} bytes", self.bytes)));
                }
            }
        }
    }
}

/// Why a file cannot be opened.
pub(crate) enum FooterError {
    Read(ReadError),
    Format(VortexError),
}

impl From<ReadError> for FooterError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<VortexError> for FooterError {
    fn from(error: VortexError) -> Self {
        Self::Format(error)
    }
}

/// Counters of one query's scan.
#[derive(Clone)]
pub(crate) struct ReadMetrics {
    pub bytes_read: Count,
    pub bytes_cached: Count,
    /// Pieces of files, read or cached: what a column is divided into.
    pub pieces: Count,
}

/// Hands the pieces of a file to the decoder. A request does nothing until it is polled, so that pieces of rows that a
/// filter excludes are never read.
pub(crate) struct Pieces {
    pub file: SegmentFile,
    pub specs: Arc<[SegmentSpec]>,
    pub cache: Arc<BlockCache>,
    pub metrics: ReadMetrics,
    /// The decoder wraps errors beyond recognition: the first failure is kept here.
    pub failure: Arc<OnceLock<ReadError>>,
}

impl SegmentSource for Pieces {
    fn request(&self, id: SegmentId) -> SegmentFuture {
        let spec = self.specs.get(*id as usize).copied();
        let key = (self.file.key, *id);
        let (file, cache, metrics) = (self.file.clone(), self.cache.clone(), self.metrics.clone());
        let failure = self.failure.clone();
        async move {
            metrics.pieces.add(1);
            if let Some(piece) = cache.piece(&key) {
                metrics.bytes_cached.add(piece.len());
                metrics::cache_hit(piece.len());
                return Ok(BufferHandle::new_host(piece));
            }
            let Some(spec) = spec else {
                return Err(vortex::error::vortex_err!("piece {id} is not in the footer"));
            };
            let bytes = file.read(&cache, spec.byte_range()).await.map_err(|error| {
                let external = VortexError::from(std::io::Error::other(error.to_string()));
                let _ = failure.set(error);
                external
            })?;
            metrics.bytes_read.add(bytes.len());
            let piece = ByteBuffer::from(bytes).aligned(spec.alignment);
            cache.insert_piece(key, piece.clone());
            Ok(BufferHandle::new_host(piece))
        }
        .boxed()
    }
}
