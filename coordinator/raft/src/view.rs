//! The catalog as readers see it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tarn_catalog::Catalog;
use tokio::sync::watch;

use crate::metrics;

/// The last applied catalog and its log index, shared by the state machine (which writes it) and all readers.
pub(crate) struct View {
    catalog: ArcSwap<Catalog>,
    applied: watch::Sender<u64>,
}

impl View {
    pub fn new() -> Self {
        Self { catalog: ArcSwap::default(), applied: watch::channel(0).0 }
    }

    /// Shows `catalog`, which holds the log up to `index`.
    pub fn publish(&self, catalog: Catalog, index: u64) {
        self.catalog.store(Arc::new(catalog));
        // After the store: whoever sees the index sees the catalog.
        self.applied.send_replace(index);
        metrics::applied(index);
    }

    pub fn catalog(&self) -> Catalog {
        Catalog::clone(&self.catalog.load())
    }

    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
}
