//! Tasks on compute nodes over loopback, against a storage node in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod cluster;
/// The coordinator's side, which speaks to compute nodes by headers and error texts that both must know.
#[path = "../../../coordinator/planner/src/distributed/mod.rs"]
mod distributed;
mod loss;
mod queries;
mod role;
mod store;
