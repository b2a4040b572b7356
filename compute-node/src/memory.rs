//! What the tasks of a query share on this node: memory, and the disk that they spill to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use parking_lot::Mutex;
use tarn_scan::query_pool;

use crate::Config;

/// The runtimes of the queries that have tasks here.
#[derive(Debug)]
pub(crate) struct QueryRuntimes {
    base: Arc<RuntimeEnv>,
    query_limit: usize,
    queries: Mutex<HashMap<String, Weak<RuntimeEnv>>>,
}

impl QueryRuntimes {
    pub fn new(config: &Config) -> Result<Self> {
        let limit = usize::try_from(config.memory_limit_bytes).unwrap_or(usize::MAX);
        let spill: Vec<PathBuf> = vec![config.spill_dir()];
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(spill))
            .with_max_temp_directory_size(config.spill_limit_bytes);
        let base = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limit)))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let query_limit = config.query_memory_limit_bytes.map_or(limit, |bytes| bytes as usize).min(limit);
        Ok(Self { base, query_limit, queries: Mutex::default() })
    }

    /// The runtime of a query, which lives as long as one of its tasks. `limit` can only lower what is configured, and
    /// only the first task's counts.
    pub fn of(&self, query_id: &str, limit: Option<usize>) -> Result<Arc<RuntimeEnv>> {
        let mut queries = self.queries.lock();
        if let Some(runtime) = queries.get(query_id).and_then(Weak::upgrade) {
            return Ok(runtime);
        }
        let limit = limit.map_or(self.query_limit, |limit| limit.min(self.query_limit));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.base)
            .with_memory_pool(query_pool(limit, self.base.memory_pool.clone()))
            .build_arc()?;
        queries.retain(|_, runtime| runtime.strong_count() > 0);
        queries.insert(query_id.to_owned(), Arc::downgrade(&runtime));
        Ok(runtime)
    }

    /// Bytes reserved by all queries.
    pub fn reserved(&self) -> usize {
        self.base.memory_pool.reserved()
    }

    /// Bytes that queries spilled and still need.
    pub fn spilled(&self) -> u64 {
        self.base.disk_manager.used_disk_space()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};

    use super::*;

    fn runtimes(directory: &tempfile::TempDir) -> QueryRuntimes {
        let config = Config {
            data_dir: directory.path().to_owned(),
            memory_limit_bytes: 1000,
            query_memory_limit_bytes: Some(700),
            ..Config::default()
        };
        QueryRuntimes::new(&config).unwrap()
    }

    fn reserve(runtime: &Arc<RuntimeEnv>) -> MemoryReservation {
        MemoryConsumer::new("test").register(&runtime.memory_pool)
    }

    #[test]
    fn a_query_stays_under_its_limit_and_all_under_the_process_limit() {
        let directory = tempfile::tempdir().unwrap();
        let runtimes = runtimes(&directory);
        let (a, b) = (runtimes.of("a", None).unwrap(), runtimes.of("b", Some(10_000)).unwrap());
        let (in_a, in_b) = (reserve(&a), reserve(&b));
        in_a.try_grow(600).unwrap();
        let error = in_a.try_grow(101).unwrap_err().to_string();
        assert!(error.contains("600 of the 700 bytes"), "{error}");
        in_b.try_grow(401).unwrap_err();
        in_b.try_grow(400).unwrap();
        assert_eq!(runtimes.reserved(), 1000);
        in_a.free();
        in_b.try_grow(300).unwrap();
        drop((in_a, in_b));
        assert_eq!(runtimes.reserved(), 0);
    }

    #[test]
    fn tasks_of_a_query_share_its_runtime_until_the_last_ends() {
        let directory = tempfile::tempdir().unwrap();
        let runtimes = runtimes(&directory);
        let first = runtimes.of("a", Some(100)).unwrap();
        let second = runtimes.of("a", None).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        reserve(&second).try_grow(101).unwrap_err();
        drop((first, second));
        reserve(&runtimes.of("a", None).unwrap()).try_grow(101).unwrap();
        runtimes.of("b", None).unwrap();
        assert_eq!(runtimes.queries.lock().len(), 1, "queries that ended are forgotten");
    }
}
