//! Tasks on compute nodes over loopback, against a storage node in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod cluster;
mod loss;
mod queries;
mod role;
mod store;
