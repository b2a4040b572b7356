//! The engine against its disk: damage, failed writes, kills.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod damage;
mod failed_writes;
mod fixture;
mod kill;
mod throughput;
