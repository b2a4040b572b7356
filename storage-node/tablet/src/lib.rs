//! The tablet engine: rowsets of sorted Vortex segments on the local disk, and the versions they make up.
//!
//! It knows nothing of networks: the storage role puts the contract (`tarn_proto::storage`), actors and gRPC around it.
//! It holds tables of all four models, one replica each; PRIMARY KEY tables have a module of their own (`primary`).
//!
//! ```text
//!  write   LoadWriter ── rows by tablet ──► Memtable ── full, or the node's budget is ──► flush (blocking pool)
//!                                                                                        sort, compress, checksum
//!          finish ──► temporary files become rowset files, fsync ──► records in RocksDB: the rowset is *pending*
//!  publish Engine::publish ──► one synced RocksDB batch: pending rowsets become part of a version
//!  read    Engine::manifests ──► Engine::read_ranges ──► blocks verified against their checksums
//!  merge   Engine::compact ──► adjacent rowsets become one; Engine::remove_superseded takes what nobody reads any more
//! ```
//!
//! Directory layout (`layout`), `DATA` being [`Options::data`]:
//!
//! ```text
//!  DATA/meta/                                 RocksDB: every key in `keys`, every value in `record`
//!  DATA/tablets/<tablet>/<rowset>_<n>.vortex  segment n of a rowset, see tarn_proto::segment
//!  DATA/tablets/<tablet>/<rowset>_<n>.sidecar its block checksums and short-key index, see `sidecar`
//!  DATA/tablets/<tablet>/<rowset>_<n>.keys    the keys of its rows, in a PRIMARY KEY table, see `primary::key_file`
//!  DATA/primary/                              RocksDB: primary-key index, see `primary::index`; may be lost
//!  DATA/tablets/<tablet>/*.tmp                not yet part of anything; removed at start
//! ```
//!
//! Files are durable before the metadata that names them; a file that no metadata names is an orphan and goes at start.

mod budget;
mod checksum;
mod codec;
mod compaction;
mod engine;
mod error;
mod garbage;
mod keys;
mod layout;
mod load;
mod memtable;
mod meta;
mod metrics;
mod open_segment;
mod primary;
mod record;
mod recovery;
mod segment;
mod sidecar;
mod sort;
mod tablet;

pub use compaction::{Compacted, Stop};
pub use engine::{Engine, Garbage, Options, Usage};
pub use error::Error;
pub use load::LoadWriter;

/// Result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;
