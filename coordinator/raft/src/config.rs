//! What a coordinator's consensus must be told.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::SnapshotPolicy;
use tarn_proto::NodeId;

use crate::Error;

/// Log entries that stay behind a snapshot, so that a follower that lags a little needs no snapshot.
const KEEP_BEHIND_SNAPSHOT: u64 = 1000;
/// Longest transmission of one snapshot, in milliseconds.
const SNAPSHOT_TIMEOUT_MS: u64 = 120_000;

/// Configuration of one coordinator's consensus.
#[derive(Clone, Debug)]
pub struct Config {
    /// This coordinator. The same id for the whole life of `data_dir`, and never given to another node.
    pub node_id: NodeId,
    /// `host:port` of its gRPC server, as others reach it.
    pub address: String,
    /// Log, vote and snapshots are kept in `raft/` below it.
    pub data_dir: PathBuf,
    /// The first voters with their addresses, this node among them; equal on each of them. Empty: wait to be added to a
    /// cluster. Only looked at when `data_dir` is new.
    pub initial_voters: BTreeMap<NodeId, String>,
    /// Log entries between two snapshots.
    pub snapshot_every: u64,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// The clock that stamps commands.
    pub clock: Clock,
}

impl Config {
    /// A coordinator that waits to be added, with default timing.
    pub fn new(node_id: NodeId, address: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            address: address.into(),
            data_dir: data_dir.into(),
            initial_voters: BTreeMap::new(),
            snapshot_every: 10_000,
            timing: Timing::default(),
            clock: Clock::default(),
        }
    }

    /// The library's configuration, or what is wrong with this one.
    pub(crate) fn consensus(&self) -> Result<openraft::Config, Error> {
        if !self.initial_voters.is_empty() && self.initial_voters.get(&self.node_id) != Some(&self.address) {
            return Err(Error::Config(format!(
                "the initial voters must name this coordinator, {} at {}",
                self.node_id, self.address
            )));
        }
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: "tarn".to_owned(),
            heartbeat_interval: millis(self.timing.heartbeat),
            election_timeout_min: millis(self.timing.election_min),
            election_timeout_max: millis(self.timing.election_max),
            enable_pre_vote: Some(true),
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every.max(1)),
            max_in_snapshot_log_to_keep: self.snapshot_every.min(KEEP_BEHIND_SNAPSHOT),
            replication_lag_threshold: self.snapshot_every.saturating_mul(2).max(KEEP_BEHIND_SNAPSHOT),
            ..openraft::Config::default()
        }
        .validate()
        .map_err(|e| Error::Config(e.to_string()))
    }
}

/// When leaders are missed and replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between a leader's heartbeats.
    pub heartbeat: Duration,
    /// A follower that has heard nothing for a random time between this ...
    pub election_min: Duration,
    /// ... and this asks the others whether they would elect it.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(700),
            election_max: Duration::from_millis(1500),
        }
    }
}

/// Tells milliseconds since 1970.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that asks `now_ms`.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Clock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
