//! The catalog as its users see it: commands in, responses and snapshots out.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod colocation;
mod frozen;
mod indexes;
mod invariants;
mod nodes;
mod overwrites;
mod partitions;
mod properties;
mod reading;
mod replica_steps;
mod replicas;
mod schema;
mod schema_jobs;
mod schema_sequences;
mod support;
mod tables;
mod temporary;
mod transactions;
mod volumes;
