//! The replicated catalog: openraft over RocksDB and gRPC.
//!
//! Every coordinator runs one [`CatalogRaft`]. Voters agree on a log of catalog commands; observers receive it. Each
//! applies the log to a [`Catalog`](tarn_catalog::Catalog) in memory and hands out O(1) snapshots of it.
//!
//! ```text
//!                  propose(operation)                      catalog(), linearizable_catalog()
//!                        │                                             ▲
//!   ┌──── handle/ ───────▼─────────────────────────────────────────────┴──────┐
//!   │ on the leader: propose here · elsewhere: CoordinatorService at the leader│
//!   └────────┬───────────────────────────────────────────────────▲─────────────┘
//!        openraft ◄── network/ (RaftService, one channel per peer and lane) ──► peers
//!            │ append, vote, truncate, purge                     │ apply
//!   ┌──── storage/ ──────────────────────────┐        ┌──────────┴───────────┐
//!   │ window (memory) → writer thread → WAL  │        │ machine → view        │
//!   └────────────────────────────────────────┘        └──────────────────────┘
//! ```
//!
//! No name of openraft leaves this crate. What a command means is the catalog's business; which node is alive is known
//! by heartbeats, not by this log.

mod config;
mod error;
mod handle;
mod metrics;
mod network;
mod record;
mod storage;
mod types;
mod view;

pub use config::{Clock, Config, Timing};
pub use error::{Error, LEADER_ADDRESS, LEADER_ID, LeaderHint};
pub use handle::{CatalogRaft, Leadership, MAX_COMMAND_BYTES, PROPOSE_WITHIN, Status};
pub use network::MAX_MESSAGE_BYTES;
