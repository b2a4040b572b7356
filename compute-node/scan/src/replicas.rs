//! Reading a tablet from one of its replicas, and from the others when that one fails.
//!
//! Each replica compacts by itself: at one version all have the same rows, in other files. So a manifest belongs to the node
//! that it came from, and its segments are read there. What a load wrote is one file on all replicas, though, and so is what a
//! replica has copied from another: a file is read from another replica when that one's manifest of the version lists a
//! segment with the same ids, size and checksum. Where it does not, the query has to begin anew with another manifest, as
//! rows of two manifests must not be mixed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tarn_proto::query_id::QueryId;
use tarn_proto::storage::{FileKey, IndexFileKey, Peer, StoreError, TabletStore};
use tarn_proto::wire::Manifest;
use tarn_proto::{ErrorKind, NodeId};
use tokio::sync::OnceCell;
use tracing::warn;

use crate::context::ScanContext;
use crate::metrics;
use crate::segment::{ReadError, SegmentBytes};
use crate::tablet::TabletRead;

/// Longest wait for one read of a node as long as others may have the file.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A tablet at a version as one replica has it.
pub(crate) struct Replicas {
    context: Arc<ScanContext>,
    tablet: TabletRead,
    query: Option<QueryId>,
    /// Whose manifest is read.
    origin: Peer,
    /// Why the origin is not asked any more.
    lost: OnceLock<StoreError>,
    /// The other replicas, and their manifests once they are needed; none if they have none.
    others: Vec<(Peer, OnceCell<Option<Manifest>>)>,
}

impl Replicas {
    /// `tablet`, whose manifest is that of `origin`.
    pub fn new(context: Arc<ScanContext>, tablet: TabletRead, origin: NodeId, query: Option<QueryId>) -> Option<Self> {
        let (origin, others): (Vec<Peer>, Vec<Peer>) =
            tablet.replicas.iter().cloned().partition(|peer| peer.node == origin);
        let others = others.into_iter().map(|peer| (peer, OnceCell::new())).collect();
        let origin = origin.into_iter().next()?;
        Some(Self { context, tablet, query, origin, lost: OnceLock::new(), others })
    }

    fn store(&self, peer: &Peer) -> Result<Arc<dyn TabletStore>, StoreError> {
        let store = self.context.pool().get(peer.node, &peer.address)?;
        Ok(self.query.as_ref().and_then(|query| store.for_query(query)).unwrap_or(store))
    }

    async fn read_at(&self, peer: &Peer, file: &FileKey, range: &Range<u64>) -> Result<Bytes, StoreError> {
        let store = self.store(peer)?;
        let read = store.read_ranges(*file, std::slice::from_ref(range));
        let mut read = if self.others.is_empty() {
            read.await?
        } else {
            tokio::time::timeout(READ_WITHIN, read).await.unwrap_or_else(|_| Err(silent(peer)))?
        };
        match read.pop() {
            Some(bytes) if bytes.len() as u64 == range.end - range.start && read.is_empty() => Ok(bytes),
            _ => Err(StoreError {
                kind: ErrorKind::Internal,
                address: peer.address.clone(),
                message: format!("wrong answer for bytes {range:?} of {:?}", file.segment),
            }),
        }
    }

    async fn read_origin(&self, file: &FileKey, range: &Range<u64>) -> Result<Bytes, StoreError> {
        if let Some(error) = self.lost.get() {
            return Err(error.clone());
        }
        let read = self.read_at(&self.origin, file, range).await;
        if let Err(error) = &read
            && error.kind == ErrorKind::Unavailable
        {
            self.context.suspect(self.origin.node);
            if self.lost.set(error.clone()).is_ok() {
                let (tablet, node) = (self.tablet.tablet, self.origin.node);
                warn!(%tablet, %node, %error, "a storage node is lost while it is read; other replicas are tried");
            }
        }
        read
    }

    /// Whether another replica has the same file.
    async fn is_at(&self, peer: &Peer, manifest: &OnceCell<Option<Manifest>>, file: &FileKey, bytes: u64) -> bool {
        let request = (self.tablet.tablet, self.tablet.version);
        let manifest = manifest.get_or_init(|| async {
            let store = self.store(peer).ok()?;
            let manifests = tokio::time::timeout(READ_WITHIN, store.manifests(&[request])).await.ok()?.ok()?;
            manifests.into_iter().next().filter(|m| m.tablet_id == request.0.get() && m.version == request.1.get())
        });
        let Some(manifest) = manifest.await else { return false };
        let rowset = manifest.rowsets.iter().find(|rowset| rowset.id == file.segment.rowset.get());
        rowset.into_iter().flat_map(|rowset| &rowset.segments).any(|segment| {
            segment.number == file.segment.segment && segment.checksum == file.checksum && segment.bytes == bytes
        })
    }
}

#[async_trait]
impl SegmentBytes for Replicas {
    async fn read(&self, file: &FileKey, bytes: u64, range: Range<u64>) -> Result<Bytes, ReadError> {
        let error = match self.read_origin(file, &range).await {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        for (peer, manifest) in &self.others {
            if self.is_at(peer, manifest, file, bytes).await
                && let Ok(read) = self.read_at(peer, file, &range).await
            {
                metrics::failed_over();
                return Ok(read);
            }
        }
        Err(error.into())
    }

    async fn read_index(
        &self,
        file: &FileKey,
        index: IndexFileKey,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StoreError> {
        match self.lost.get() {
            Some(error) => Err(error.clone()),
            None => self.store(&self.origin)?.read_index(*file, index, ranges).await,
        }
    }

    fn is_local(&self) -> bool {
        self.context.pool().is_local(self.origin.node)
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.origin.node)
    }
}

/// The failure of a node that has not answered in time.
pub(crate) fn silent(peer: &Peer) -> StoreError {
    StoreError {
        kind: ErrorKind::Unavailable,
        address: peer.address.clone(),
        message: "it has not answered in time: look at its disk and its load, see SHOW STORAGE NODES".to_owned(),
    }
}
