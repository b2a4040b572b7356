//! What all scans of a process share.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foyer::{Cache, CacheBuilder};
use prost::Message;
use tarn_proto::storage::StorePool;
use tarn_proto::wire::Manifest;
use tarn_proto::{ErrorKind, TabletId, Version};
use vortex::VortexSessionDefault;
use vortex::file::Footer;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;
use vortex_datafusion::convert::DefaultExpressionConverter;

pub use crate::cache::CacheConfig;
use crate::cache::{BlockCache, FileKey};
use crate::error::Error;
use crate::segment::{ReadError, SegmentFile};
use crate::tablet::TabletRead;

/// Memory for manifests: about a million segments without delete vectors.
const MANIFEST_CACHE_BYTES: usize = 64 << 20;

/// Memory for parsed footers.
const FOOTER_CACHE_BYTES: usize = 128 << 20;

/// What a footer weighs that does not tell.
const UNKNOWN_FOOTER_BYTES: usize = 64 << 10;

/// How long a manifest is used. The rows at a version never change, but compaction makes fewer rowsets of them, and
/// removes those that it replaced some time later.
const MANIFEST_AGE: Duration = Duration::from_secs(60);

/// A manifest, and when it was asked for.
#[derive(Clone)]
struct KnownManifest {
    manifest: Arc<Manifest>,
    since: Instant,
}

impl KnownManifest {
    fn at(self, now: Instant) -> Option<Arc<Manifest>> {
        (now.saturating_duration_since(self.since) < MANIFEST_AGE).then_some(self.manifest)
    }
}

/// Connections, caches and the Vortex session of a process. Scans hold it; make one per process.
pub struct ScanContext {
    pool: StorePool,
    session: VortexSession,
    converter: DefaultExpressionConverter,
    cache: Arc<BlockCache>,
    manifests: Cache<(TabletId, Version), KnownManifest>,
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
            manifests: CacheBuilder::new(MANIFEST_CACHE_BYTES)
                .with_name("tarn-manifests")
                .with_weighter(|_: &_, known: &KnownManifest| known.manifest.encoded_len() + 64)
                .build(),
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

    /// The manifests of `tablets` of a table, in order. What is not cached is asked for with one call per storage node.
    pub(crate) async fn manifests(&self, table: &str, tablets: &[TabletRead]) -> Result<Vec<Arc<Manifest>>, Error> {
        let mut found: Vec<Option<Arc<Manifest>>> = tablets.iter().map(|t| self.known_manifest(t)).collect();
        let mut missing: Vec<usize> = (0..tablets.len()).filter(|i| found[*i].is_none()).collect();
        missing.sort_by(|a, b| {
            tablets[*a].node.cmp(&tablets[*b].node).then(tablets[*a].address.cmp(&tablets[*b].address))
        });
        let calls = missing
            .chunk_by(|a, b| tablets[*a].node == tablets[*b].node && tablets[*a].address == tablets[*b].address)
            .map(|group| self.fetch_manifests(table, tablets, group));
        for (index, manifest) in futures::future::try_join_all(calls).await?.into_iter().flatten() {
            let known = KnownManifest { manifest: manifest.clone(), since: Instant::now() };
            self.manifests.insert((tablets[index].tablet, tablets[index].version), known);
            found[index] = Some(manifest);
        }
        found
            .into_iter()
            .zip(tablets)
            .map(|(manifest, tablet)| manifest.ok_or_else(|| wrong(tablet.tablet, "the storage node left it out")))
            .collect()
    }

    fn known_manifest(&self, tablet: &TabletRead) -> Option<Arc<Manifest>> {
        let known = self.manifests.get(&(tablet.tablet, tablet.version))?.value().clone();
        known.at(Instant::now())
    }

    async fn fetch_manifests(
        &self,
        table: &str,
        tablets: &[TabletRead],
        group: &[usize],
    ) -> Result<Vec<(usize, Arc<Manifest>)>, Error> {
        let first = &tablets[group[0]];
        let failed = |source| Error::Store { table: table.to_owned(), tablet: first.tablet, source };
        let store = self.pool.get(first.node, &first.address).map_err(failed)?;
        let request: Vec<_> = group.iter().map(|i| (tablets[*i].tablet, tablets[*i].version)).collect();
        let manifests = store.manifests(&request).await.map_err(|source| match source.kind {
            // Older than what the node keeps.
            ErrorKind::NotFound => Error::Superseded { tablet: first.tablet, source },
            _ => failed(source),
        })?;
        if manifests.len() != group.len() {
            return Err(wrong(first.tablet, "the storage node answered for other tablets"));
        }
        group
            .iter()
            .zip(manifests)
            .map(|(index, manifest)| {
                let tablet = &tablets[*index];
                if manifest.tablet_id == tablet.tablet.get() && manifest.version == tablet.version.get() {
                    Ok((*index, Arc::new(manifest)))
                } else {
                    Err(wrong(tablet.tablet, "the storage node answered for another tablet or version"))
                }
            })
            .collect()
    }

    /// Forgets a manifest whose rowsets are gone.
    pub(crate) fn forget_manifest(&self, tablet: TabletId, version: Version) {
        self.manifests.remove(&(tablet, version));
    }

    /// The footer of a segment file.
    pub(crate) async fn footer(&self, file: &SegmentFile) -> Result<Footer, ReadError> {
        if let Some(entry) = self.footers.get(&file.key) {
            return Ok(entry.value().clone());
        }
        let footer = file.footer(&self.cache, &self.session).await?;
        self.footers.insert(file.key, footer.clone());
        Ok(footer)
    }
}

fn wrong(tablet: TabletId, reason: &str) -> Error {
    Error::Manifest { tablet, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_asked_for_again_after_a_while() {
        let since = Instant::now();
        let known = KnownManifest { manifest: Arc::default(), since };
        assert!(known.clone().at(since).is_some());
        assert!(known.clone().at(since + MANIFEST_AGE - Duration::from_millis(1)).is_some());
        assert!(known.at(since + MANIFEST_AGE).is_none());
    }
}
