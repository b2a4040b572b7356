//! The catalog: every database, table, partition, tablet, node and load transaction, as a pure state machine.
//!
//! [`Catalog::apply`] is the only way it changes. It does no I/O and reads no clock: time and log index come in the
//! [`Context`], ids from a counter inside the state, so that every coordinator that applies the same log holds the same
//! catalog. All collections are persistent maps: cloning a catalog costs O(1), and a clone is an immutable snapshot.
//!
//! ```text
//!  model/       what there is: Database, Table, Partition, Tablet, Node, Transaction, View
//!  command      what may be asked: Command { request_id, Operation }, and Response
//!  operations/  one file per group of operations: its checks and its apply
//!  read         look-ups by name for the planner
//!  snapshot     the persisted form
//! ```
//!
//! It is not a cache of the cluster's health: which node is alive or loaded is known by heartbeats, not by the log.

pub mod command;
pub mod error;
pub mod model;
mod operations;
mod read;
mod snapshot;

pub use command::{Command, Context, Operation, Response};
pub use error::Error;
pub use model::*;
pub use operations::{
    Effect, MAX_REPLICATION, NO_VOLUME, REMEMBERED_REQUESTS, RETENTION_CONDITION, STORAGE_VOLUME, index_refusal,
    set_property,
};
pub use snapshot::SNAPSHOT_ENCODING;
