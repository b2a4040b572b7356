//! Configuration of the role.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tarn_proto::machine;
use tarn_scan::CacheConfig;

/// Share of the machine's memory for queries, in percent.
const QUERY_MEMORY_PERCENT: u64 = 50;
/// Share of the machine's memory for the block cache, in percent.
const CACHE_MEMORY_PERCENT: u64 = 20;

/// Configuration of a compute node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the gRPC server listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `host:port` at which others reach the server, if that is not `listen`.
    pub advertise: Option<String>,
    /// `host:port` of coordinators' gRPC servers. The node learns of further ones. Empty: the node joins no cluster.
    pub coordinators: Vec<String>,
    /// Directory for spilled rows and the disk cache. Everything in it may be lost. `data` in files, as for every role.
    #[serde(rename = "data")]
    pub data_dir: PathBuf,
    /// Memory for all queries together. Default: half of the machine.
    pub memory_limit_bytes: u64,
    /// Memory for one query, unless it asks for less. Default: as much as for all together.
    pub query_memory_limit_bytes: Option<u64>,
    /// Disk space for rows that queries spill.
    pub spill_limit_bytes: u64,
    /// Memory for the block cache. Default: a fifth of the machine.
    pub cache_memory_bytes: u64,
    /// Disk space for blocks of remote segments. 0: memory only.
    pub cache_disk_bytes: u64,
    /// Seconds that a shutdown waits for running tasks before it cuts them off. Less than the process has for its stop.
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        let memory = machine::memory_total();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9040)),
            advertise: None,
            coordinators: Vec::new(),
            data_dir: PathBuf::from("./tarn-data/compute-node"),
            memory_limit_bytes: memory / 100 * QUERY_MEMORY_PERCENT,
            query_memory_limit_bytes: None,
            spill_limit_bytes: 100 << 30,
            cache_memory_bytes: memory / 100 * CACHE_MEMORY_PERCENT,
            cache_disk_bytes: 0,
            drain_seconds: 20,
        }
    }
}

impl Config {
    /// The block cache that this configuration describes, for a process that makes the scan context itself.
    pub fn cache(&self) -> CacheConfig {
        CacheConfig {
            memory_bytes: self.cache_memory_bytes,
            disk_dir: (self.cache_disk_bytes > 0).then(|| self.data_dir.join("cache")),
            disk_bytes: self.cache_disk_bytes,
        }
    }

    pub(crate) fn spill_dir(&self) -> PathBuf {
        self.data_dir.join("spill")
    }
}
