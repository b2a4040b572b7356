//! The compute nodes that take work.

use std::sync::Arc;

use arc_swap::ArcSwap;
use datafusion::error::DataFusionError;
use datafusion_distributed::WorkerResolver;
use url::Url;

/// The workers of the cluster, as membership last reported them. Cheap to clone; all clones are one set.
#[derive(Clone, Debug, Default)]
pub struct WorkerSet(Arc<ArcSwap<Vec<Url>>>);

impl WorkerSet {
    /// A set of these workers.
    pub fn new(workers: Vec<Url>) -> Self {
        let set = Self::default();
        set.replace(workers);
        set
    }

    /// Replaces the set. Queries that are planned already keep their workers.
    pub fn replace(&self, mut workers: Vec<Url>) {
        workers.sort();
        workers.dedup();
        self.0.store(Arc::new(workers));
    }

    /// The set at this moment, sorted.
    pub fn snapshot(&self) -> Arc<Vec<Url>> {
        self.0.load_full()
    }
}

impl WorkerResolver for WorkerSet {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.snapshot().as_ref().clone())
    }
}
