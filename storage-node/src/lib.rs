//! The storage role: a node that keeps tablets on its disk and serves them to the cluster.
//!
//! The tablets themselves, how rows become durable and what a version is, are `tarn-tablet`'s. This crate puts a node
//! around them:
//!
//! ```text
//!   embedded server ── Arc<dyn TabletStore> ──┐
//!                                             ├──► LocalStore ──► tarn_tablet::Engine ──► disk
//!   GrpcTabletStore ── StorageService ────────┤    (async in front, blocking pool behind)
//!                   └─ Flight DoPut ──────────┘
//!   compaction: scheduler and collector ──► tarn_tablet::Engine
//!   conversion: rows written anew under another schema ──► tarn_tablet::Engine
//!   coordinators ◄── membership::Agent: registers, then heartbeats with load
//! ```
//!
//! There is no actor per tablet: one publish changes many tablets in one durable batch, so the engine orders writes by a
//! lock per tablet, taken in order of ids, and bounds memory by one budget for the node. Queues of requests are bounded
//! by that budget (writes) and by HTTP/2 flow control (reads).

mod compaction;
mod config;
mod conversion;
mod error;
mod fence;
mod flight;
mod identity;
mod indexing;
mod metrics;
mod node;
mod replication;
mod service;
mod store;

pub use config::Config;
pub use error::Error;
pub use node::StorageNode;
/// What the files of tablets hold, for `tarn admin segment`.
pub use tarn_tablet::inspect;
