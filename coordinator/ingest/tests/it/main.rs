//! Loads end to end, against the real catalog state machine and storage nodes in memory.

mod loads;
mod world;
