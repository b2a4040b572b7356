//! One segment file, read through the cache.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use datafusion::physical_plan::metrics::Count;
use futures::FutureExt;
use tarn_proto::storage::{StoreError, TabletStore};
use vortex::array::buffer::BufferHandle;
use vortex::buffer::ByteBuffer;
use vortex::error::VortexError;
use vortex::file::{DeserializeStep, Footer, SegmentSpec};
use vortex::layout::segments::{SegmentFuture, SegmentId, SegmentSource};
use vortex::session::VortexSession;

use crate::cache::{BlockCache, FileKey};
use crate::metrics;

/// Read at a file's end to find its footer: holds the footer of a segment of a hundred columns in most cases.
const FOOTER_READ_BYTES: u64 = 64 << 10;

/// Where a segment file is and how large. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SegmentFile {
    pub key: FileKey,
    pub bytes: u64,
    pub store: Arc<dyn TabletStore>,
    /// Whether the storage node is this process.
    pub local: bool,
}

impl SegmentFile {
    /// Reads a range from the storage node.
    pub async fn fetch(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = range.end - range.start;
        let mut read = self.store.read_ranges(self.key.segment, std::slice::from_ref(&range)).await?;
        match read.pop() {
            Some(bytes) if bytes.len() as u64 == length && read.is_empty() => {
                metrics::read(self.local, bytes.len());
                Ok(bytes)
            }
            _ => Err(StoreError {
                kind: tarn_proto::ErrorKind::Internal,
                address: if self.local { "in process".to_owned() } else { "remote".to_owned() },
                message: format!("wrong answer for bytes {range:?} of {:?}", self.key.segment),
            }),
        }
    }

    async fn read(&self, cache: &BlockCache, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.local { self.fetch(range).await } else { cache.read(self, range).await }
    }

    /// Reads and parses the footer.
    pub async fn footer(&self, cache: &BlockCache, session: &VortexSession) -> Result<Footer, ReadError> {
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
                    return Err(ReadError::Format(vortex::error::vortex_err!("no footer in {} bytes", self.bytes)));
                }
            }
        }
    }
}

/// Why a file cannot be read.
pub(crate) enum ReadError {
    Store(StoreError),
    Format(VortexError),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<VortexError> for ReadError {
    fn from(error: VortexError) -> Self {
        Self::Format(error)
    }
}

/// Counters of one query's scan.
#[derive(Clone)]
pub(crate) struct ReadMetrics {
    pub bytes_read: Count,
    pub bytes_cached: Count,
}

/// Hands the pieces of a file to the decoder. A request does nothing until it is polled, so that pieces of rows that a
/// filter excludes are never read.
pub(crate) struct Pieces {
    pub file: SegmentFile,
    pub specs: Arc<[SegmentSpec]>,
    pub cache: Arc<BlockCache>,
    pub metrics: ReadMetrics,
    /// The decoder wraps errors beyond recognition: the first failure is kept here.
    pub failure: Arc<OnceLock<StoreError>>,
}

impl SegmentSource for Pieces {
    fn request(&self, id: SegmentId) -> SegmentFuture {
        let spec = self.specs.get(*id as usize).copied();
        let key = (self.file.key, *id);
        let (file, cache, metrics) = (self.file.clone(), self.cache.clone(), self.metrics.clone());
        let failure = self.failure.clone();
        async move {
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
