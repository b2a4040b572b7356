//! What all scans of a process share.

use std::fmt;
use std::sync::Arc;

use foyer::{Cache, CacheBuilder};
use tarn_proto::query_id::QueryId;
use tarn_proto::storage::{FileKey, StorePool};
use tarn_proto::volume::VolumePool;
use tarn_proto::{NodeId, TabletId, Version};
use vortex::VortexSessionDefault;
use vortex::file::Footer;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;
use vortex_datafusion::convert::DefaultExpressionConverter;

use crate::bucket::Bucket;
use crate::cache::BlockCache;
pub use crate::cache::CacheConfig;
use crate::error::Error;
use crate::manifests::{Located, Manifests};
use crate::replicas::Replicas;
use crate::segment::{FooterError, SegmentBytes, SegmentFile};
use crate::tablet::{TabletRead, TabletSource};

/// Memory for parsed footers.
const FOOTER_CACHE_BYTES: usize = 128 << 20;

/// What a footer weighs that does not tell.
const UNKNOWN_FOOTER_BYTES: usize = 64 << 10;

/// Connections, caches and the Vortex session of a process. Scans hold it; make one per process.
pub struct ScanContext {
    pool: StorePool,
    session: VortexSession,
    converter: DefaultExpressionConverter,
    cache: Arc<BlockCache>,
    manifests: Manifests,
    volumes: VolumePool,
    footers: Cache<FileKey, Footer>,
}

impl fmt::Debug for ScanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanContext").finish_non_exhaustive()
    }
}

impl ScanContext {
    /// Opens the block cache. Must run in a tokio runtime that lives as long as the context.
    pub async fn new(pool: StorePool, cache: CacheConfig) -> Result<Arc<Self>, Error> {
        crate::metrics::describe();
        let session = VortexSession::default().with_tokio();
        Ok(Arc::new(Self {
            pool,
            converter: DefaultExpressionConverter::new(session.clone()),
            session,
            cache: Arc::new(BlockCache::open(&cache).await?),
            manifests: Manifests::new(),
            volumes: VolumePool::default(),
            footers: CacheBuilder::new(FOOTER_CACHE_BYTES)
                .with_name("tarn-footers")
                .with_weighter(|_: &_, footer: &Footer| footer.approx_byte_size().unwrap_or(UNKNOWN_FOOTER_BYTES))
                .build(),
        }))
    }

    /// The connections to storage nodes.
    pub fn pool(&self) -> &StorePool {
        &self.pool
    }

    /// The Vortex session that decodes segments.
    pub fn session(&self) -> &VortexSession {
        &self.session
    }

    pub(crate) fn converter(&self) -> &DefaultExpressionConverter {
        &self.converter
    }

    pub(crate) fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// The storage volumes that are read.
    pub fn volumes(&self) -> &VolumePool {
        &self.volumes
    }

    /// The manifests of the tablets that a scan reads, in order.
    pub(crate) async fn manifests(&self, source: &TabletSource) -> Result<Vec<Located>, Error> {
        let located = self.manifests.locate(&self.pool, &source.table, &source.tablets).await;
        located.map_err(|error| if source.volume.is_some() { error.of_owner() } else { error })
    }

    /// Where the segments of a tablet are read, whose manifest is this.
    pub(crate) fn segments_of(
        self: &Arc<Self>,
        source: &TabletSource,
        tablet: &TabletRead,
        located: &Located,
        query: Option<&QueryId>,
    ) -> Result<Arc<dyn SegmentBytes>, Error> {
        if let Some(volume) = source.volume.as_ref().filter(|volume| volume.id.get() == located.manifest.volume_id) {
            let store = self.volumes.get(volume).map_err(|error| {
                let (table, tablet) = (source.table.to_string(), tablet.tablet);
                Error::Store { table, tablet, node: None, source: Box::new(error.into()) }
            })?;
            return Ok(Arc::new(Bucket(store)));
        }
        // Its owner reads a tablet in a volume that the plan does not know.
        match Replicas::new(self.clone(), tablet.clone(), located.node, query.cloned()) {
            Some(replicas) => Ok(Arc::new(replicas)),
            None => {
                let reason = format!("it is of {}, which the plan does not name", located.node);
                Err(Error::Manifest { tablet: tablet.tablet, reason })
            }
        }
    }

    /// Notes that a storage node does not answer: others are asked first for a while.
    pub(crate) fn suspect(&self, node: NodeId) {
        self.manifests.suspect(node);
    }

    /// Forgets a manifest whose rowsets, or whose node, is gone.
    pub(crate) fn forget_manifest(&self, tablet: TabletId, version: Version) {
        self.manifests.forget(tablet, version);
    }

    /// The footer of a segment file.
    pub(crate) async fn footer(&self, file: &SegmentFile) -> Result<Footer, FooterError> {
        if let Some(entry) = self.footers.get(&file.key) {
            return Ok(entry.value().clone());
        }
        let footer = file.footer(&self.cache, &self.session).await?;
        self.footers.insert(file.key, footer.clone());
        Ok(footer)
    }
}
