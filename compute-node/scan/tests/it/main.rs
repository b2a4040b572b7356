//! Tablet scans over a storage node in memory, compared with DataFusion over the same rows.

mod codec;
mod distribute;
mod filters;
mod fixture;
mod reads;
