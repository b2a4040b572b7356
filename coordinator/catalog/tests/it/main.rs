//! The catalog as its users see it: commands in, responses and snapshots out.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod frozen;
mod invariants;
mod nodes;
mod partitions;
mod properties;
mod reading;
mod support;
mod tables;
mod transactions;
