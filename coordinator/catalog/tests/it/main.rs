//! The catalog as its users see it: commands in, responses and snapshots out.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod frozen;
mod invariants;
mod nodes;
mod overwrites;
mod partitions;
mod properties;
mod reading;
mod schema;
mod schema_sequences;
mod support;
mod tables;
mod temporary;
mod transactions;
