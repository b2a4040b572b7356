//! The catalog as its users see it: commands in, responses and snapshots out.

mod frozen;
mod invariants;
mod nodes;
mod partitions;
mod properties;
mod reading;
mod support;
mod tables;
mod transactions;
