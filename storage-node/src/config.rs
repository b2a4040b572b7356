//! Configuration of the storage role.

use std::net::SocketAddr;
use std::path::PathBuf;

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
        }
    }
}

impl Config {
    /// The engine's part. `used_before`: the node has had this data directory before.
    pub(crate) fn engine(&self, used_before: bool) -> tarn_tablet::Options {
        let defaults = tarn_tablet::Options::new(&self.data);
        tarn_tablet::Options {
            used_before,
            write_buffer_bytes: self.write_buffer_bytes,
            segment_bytes: self.segment_bytes,
            flush_threads: self.flush_threads.unwrap_or(defaults.flush_threads),
            open_segments: self.open_segments,
            ..defaults
        }
    }
}
