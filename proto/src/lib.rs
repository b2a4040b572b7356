//! The language that every part of a Tarn cluster speaks: ids, column types and schemas, the bucket hash, error kinds,
//! and the generated gRPC types in [`wire`].
//!
//! Nothing here depends on another crate of Tarn. Wire types stay at the edge: they are
//! converted with `TryFrom` where they enter a node.
//!
//! ```text
//!  ids      TabletId, TxnId, Version, ...        newtypes with a readable Display
//!  types    DataType                             canonical text <-> arrow
//!  schema   Column, TableSchema                  column ids bind data, names do not
//!  channel  connect                              connections between nodes
//!  bucket   hash_rows                            frozen, persisted: rows to buckets
//!  error    ErrorKind                            what must the caller do?
//!  segment  to_storage, from_storage            rows of a table <-> rows of a segment file
//!  short_key  ShortKeyIndex                     key predicates to row ranges of a segment
//!  merge    SortedMerge, Combiner               sorted rowsets to one row a key
//!  storage  TabletStore, StorePool               a storage node as others see it: in process or by gRPC
//!  spread   in_turn                               which replica is asked first
//!  volume   Volume, VolumeStore                 object stores that tablets live in
//!  index    bitmap, bloom                        index files of segments: their formats
//!  machine  Meter                                how loaded the machine is, for heartbeats
//!  query_id  QueryId                             what calls and log lines are for
//!  membership  Agent                             registers a node and tells every coordinator that it lives
//!  wire     generated from tarn/v1/*.proto
//! ```

pub mod bucket;
pub mod channel;
#[cfg(test)]
mod damaged_bytes;
pub mod encoding;
pub mod error;
pub mod ids;
pub mod index;
pub mod machine;
pub mod membership;
pub mod merge;
pub mod query_id;
pub mod schema;
pub mod segment;
pub mod short_key;
pub mod spread;
pub mod storage;
pub mod task;
pub mod time;
pub mod types;
pub mod volume;
pub mod wire;

pub use error::ErrorKind;
pub use ids::*;
pub use schema::{Aggregation, Column, Index, IndexKind, TableModel, TableSchema};
pub use types::DataType;
