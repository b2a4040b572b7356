//! Configuration of the coordinator role.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tarn_proto::machine;

/// A coordinator's settings, as they stand in its TOML file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This coordinator's id, 1 to 1000, never given to another.
    pub node_id: u64,
    /// Where consensus log and snapshots are kept.
    pub data: PathBuf,
    /// Where gRPC listens.
    pub listen: SocketAddr,
    /// `host:port` that others reach this coordinator's gRPC at; `listen` if not set.
    pub advertise: Option<String>,
    /// Where clients find Flight SQL.
    pub flight: SocketAddr,
    /// `host:port` that clients reach Flight SQL at, as `SHOW COORDINATORS` tells; `flight` if not set.
    pub flight_advertise: Option<String>,
    /// PEM file with the certificate chain that Flight SQL is served with; plain text if not set.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub tls_key: Option<PathBuf>,
    /// Password of the user `root`.
    pub root_password: String,
    /// The first voters, id to `host:port`, equal on each of them and with this coordinator among them. Empty: this
    /// coordinator waits until an operator adds it to a cluster. Only looked at when `data` is new.
    pub initial_voters: BTreeMap<String, String>,
    /// Memory for pieces of segments that queries without compute nodes read, in bytes.
    pub cache_memory_bytes: u64,
    /// Memory that all queries may hold in this coordinator before they spill or fail, in bytes.
    pub memory_limit_bytes: u64,
    /// What queries may spill to `data`, in bytes.
    pub spill_limit_bytes: u64,
    /// Log entries between two catalog snapshots.
    pub snapshot_every: u64,
    /// How long a finished load's label is remembered, in seconds (StarRocks' `label_keep_max_second`).
    pub label_retention_secs: u64,
    /// How long a storage node may be silent before its replicas are made on other nodes, in seconds (StarRocks'
    /// `tablet_sched_repair_delay_factor_second` and `tablet_sched_be_down_tolerate_time_s`).
    pub replica_repair_delay_secs: u64,
    /// Whether replicas are moved from full storage nodes to empty ones.
    pub balance_replicas: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: 1,
            data: PathBuf::from("tarn-coordinator"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9010)),
            advertise: None,
            flight: SocketAddr::from(([127, 0, 0, 1], 9408)),
            flight_advertise: None,
            tls_cert: None,
            tls_key: None,
            root_password: String::new(),
            initial_voters: BTreeMap::new(),
            cache_memory_bytes: 2 << 30,
            memory_limit_bytes: machine::memory_total() / 2,
            spill_limit_bytes: 100 << 30,
            snapshot_every: 10_000,
            label_retention_secs: 259_200,
            replica_repair_delay_secs: 600,
            balance_replicas: true,
        }
    }
}
