//! Tablet scans over a storage node in memory, compared with DataFusion over the same rows; files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod codec;
mod distribute;
mod files;
mod filters;
mod fixture;
mod reads;
