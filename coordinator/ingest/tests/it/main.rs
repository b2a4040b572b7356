//! Loads end to end, against the real catalog state machine and storage nodes in memory.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod altered;
mod disk;
mod loads;
mod overwrites;
mod replicas;
mod unclear;
mod world;
