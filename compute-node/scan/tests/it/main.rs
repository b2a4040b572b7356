//! Tablet scans over a storage node in memory, compared with DataFusion over the same rows; files.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod bucket;
mod codec;
mod distribute;
mod early;
mod failover;
mod files;
mod filters;
mod fixture;
mod indexes;
mod merged;
mod older;
mod reads;
