//! Configuration of the storage role.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A storage node's settings, as they stand in its TOML file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where tablets are kept.
    pub data: PathBuf,
    /// Where gRPC and Arrow Flight listen.
    pub listen: SocketAddr,
    /// `host:port` that others reach this node at; `listen` if not set.
    pub advertise: Option<String>,
    /// `host:port` of coordinators to register with; one that answers is enough.
    pub coordinators: Vec<String>,
    /// Memory for rows that are not yet in segments, over all loads. Writers wait while it is spent.
    pub write_buffer_bytes: u64,
    /// Rows of one tablet become a segment when they take this much memory.
    pub segment_bytes: u64,
    /// Segments that are sorted and compressed at the same time; one per processor if not set.
    pub flush_threads: Option<usize>,
    /// Segment files that stay open for reading.
    pub open_segments: usize,
    /// Compactions that run at the same time, each on a thread of low priority; half as many as processors if not set. 0
    /// for none.
    pub compaction_threads: Option<usize>,
    /// How long rowsets that a compaction replaced stay after they were last read.
    pub superseded_retention_secs: u64,
    /// Loads into a tablet with more rowsets wait for compaction.
    pub crowded_rowsets: usize,
    /// The longest such wait.
    pub crowded_wait_secs: u64,
    /// Memory for blocks and bloom filters of the primary-key index.
    pub primary_index_cache_bytes: u64,
    /// Memory for changes of the primary-key index that are not in its files yet.
    pub primary_index_buffer_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tarn-storage-node"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9060)),
            advertise: None,
            coordinators: Vec::new(),
            write_buffer_bytes: 1 << 30,
            segment_bytes: 128 << 20,
            flush_threads: None,
            open_segments: 4096,
            compaction_threads: None,
            superseded_retention_secs: 600,
            crowded_rowsets: 500,
            crowded_wait_secs: 60,
            primary_index_cache_bytes: 512 << 20,
            primary_index_buffer_bytes: 128 << 20,
        }
    }
}

impl Config {
    /// Threads that compact.
    pub(crate) fn compaction_threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        self.compaction_threads.unwrap_or(processors.div_ceil(2))
    }

    /// How long superseded rowsets stay.
    pub(crate) const fn superseded_retention(&self) -> Duration {
        Duration::from_secs(self.superseded_retention_secs)
    }

    /// The engine's part. `used_before`: the node has had this data directory before.
    pub(crate) fn engine(&self, used_before: bool) -> tarn_tablet::Options {
        let defaults = tarn_tablet::Options::new(&self.data);
        tarn_tablet::Options {
            used_before,
            write_buffer_bytes: self.write_buffer_bytes,
            segment_bytes: self.segment_bytes,
            flush_threads: self.flush_threads.unwrap_or(defaults.flush_threads),
            open_segments: self.open_segments,
            retention: self.superseded_retention(),
            // Without compaction nothing would come of the wait.
            crowded_rowsets: if self.compaction_threads() == 0 { usize::MAX } else { self.crowded_rowsets },
            crowded_wait: Duration::from_secs(self.crowded_wait_secs),
            primary_index_cache_bytes: self.primary_index_cache_bytes,
            primary_index_buffer_bytes: self.primary_index_buffer_bytes,
            ..defaults
        }
    }
}
