//! Configuration of the storage role.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tarn_tablet::DiskLimits;

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
    /// Tables with more columns are compacted by groups of columns.
    pub vertical_compaction_columns: usize,
    /// Memory for the rows that one compaction has read and not written yet.
    pub compaction_memory_bytes: u64,
    /// Memory for publishes that look up keys, complete rows or evaluate predicates, all together.
    pub publish_memory_bytes: u64,
    /// The longest that a load waits until as many replicas as it needs hold its rows.
    pub replication_wait_secs: u64,
    /// How long it waits for the others then.
    pub replication_grace_ms: u64,
    /// Bytes a second that replicas on this node fetch to catch up and to be repaired, all together; 0 for no limit.
    pub clone_bytes_per_second: u64,
    /// Replicas that are cloned whole at the same time.
    pub clones_at_once: usize,
    /// How often all files are compared with their checksums; 0 for never.
    pub scrub_period_secs: u64,
    /// Bytes a second that are read for it; 0 for no limit.
    pub scrub_bytes_per_second: u64,
    /// What files of tablets on storage volumes may take of the disk.
    pub volume_cache_bytes: u64,
    /// Time between two looks for what nobody needs in a tablet's storage volume.
    pub volume_collect_secs: u64,
    /// Objects of a storage volume that nothing names so long after they were written are removed. Loads into volumes may
    /// take half as long.
    pub volume_orphan_secs: u64,
    /// Percent of the data directory's disk in use from which on operators are warned and the node gets only the
    /// replicas that no other can take.
    pub disk_warn_percent: u8,
    /// Percent of the data directory's disk in use from which on loads and compactions are refused.
    pub disk_refuse_percent: u8,
    /// With less than so many bytes left they are refused, too.
    pub disk_reserve_bytes: u64,
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
            volume_cache_bytes: 32 << 30,
            volume_collect_secs: 300,
            volume_orphan_secs: 7 * 86_400,
            vertical_compaction_columns: 32,
            compaction_memory_bytes: 256 << 20,
            publish_memory_bytes: 1 << 30,
            replication_wait_secs: 600,
            replication_grace_ms: 200,
            clone_bytes_per_second: 100 << 20,
            clones_at_once: 2,
            scrub_period_secs: 7 * 24 * 3600,
            scrub_bytes_per_second: 32 << 20,
            disk_warn_percent: 85,
            disk_refuse_percent: 95,
            disk_reserve_bytes: 1 << 30,
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
            volume_cache_bytes: self.volume_cache_bytes,
            volume_collect: Duration::from_secs(self.volume_collect_secs),
            volume_grace: Duration::from_secs(self.volume_orphan_secs),
            volume_load: Duration::from_secs(self.volume_orphan_secs / 2),
            compacts: self.compaction_threads() > 0,
            vertical_columns: self.vertical_compaction_columns,
            compaction_memory_bytes: self.compaction_memory_bytes,
            publish_memory_bytes: self.publish_memory_bytes,
            disk: DiskLimits {
                warn_percent: self.disk_warn_percent,
                refuse_percent: self.disk_refuse_percent,
                reserve_bytes: self.disk_reserve_bytes,
            },
            ..defaults
        }
    }
}
