//! The tablet engine: rowsets of sorted Vortex segments on the local disk, and the versions they make up.
//!
//! It knows nothing of networks: the storage role puts the contract (`tarn_proto::storage`), actors and gRPC around it.
//! It holds tables of all four models, one replica each, which copies what it lacks from those of other nodes (`clone`);
//! PRIMARY KEY tables have a module of their own (`primary`).
//!
//! ```text
//!  write   LoadWriter ── rows by tablet ──► Memtable ── full, or the node's budget is ──► flush (blocking pool)
//!                                                                                        sort, compress, checksum
//!          finish ──► temporary files become rowset files, fsync ──► records in RocksDB: the rowset is *pending*
//!  publish Engine::publish ──► one synced RocksDB batch: pending rowsets become part of a version
//!  read    Engine::manifests ──► Engine::read_ranges ──► blocks verified against their checksums
//!  index   made with a segment; Engine::make_indexes ──► those that older segments lack; Engine::read_index
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
//!  DATA/tablets/<tablet>/<rowset>_<n>.<column>.<kind>.index
//!                                             an index of a column, see `index`; may be lost
//!  DATA/primary/                              RocksDB: primary-key index, see `primary::index`; may be lost
//!  DATA/tablets/<tablet>/*.tmp                not yet part of anything; removed at start
//! ```
//!
//! Tablets on a storage volume (`volume`) have their truth there, and a copy of it here.
//!
//! Files are durable before the metadata that names them; a file that no metadata names is an orphan and goes at start.

mod budget;
mod checksum;
mod clone;
mod codec;
mod compaction;
mod convert;
#[cfg(test)]
mod damaged_bytes;
mod delete_predicate;
mod disk;
mod engine;
mod error;
mod framed;
mod garbage;
mod gather;
mod index;
pub mod inspect;
mod keys;
mod layout;
mod load;
mod memtable;
mod meta;
mod metrics;
#[cfg(test)]
mod numbers_table;
mod open_segment;
mod parallel;
mod prepare;
mod primary;
mod record;
mod recovery;
mod row_sum;
mod scrub;
mod segment;
mod sidecar;
mod sort;
mod tablet;
mod volume;

pub use clone::{Pace, RowsetReader, Source};
pub use compaction::{Compacted, Stop};
pub use disk::{DiskLevel, DiskLimits, DiskMeter};
pub use engine::{Engine, Garbage, Options, PublishTurn, Usage};
pub use error::Error;
pub use index::IndexWork;
pub use load::LoadWriter;
pub use scrub::Scrubbed;

/// Result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;
