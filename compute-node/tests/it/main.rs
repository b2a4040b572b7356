//! Tasks on compute nodes over loopback, against a storage node in memory.

mod cluster;
/// The coordinator's side, which speaks to compute nodes by headers and error texts that both must know.
#[path = "../../../coordinator/planner/src/distributed/mod.rs"]
mod distributed;
mod loss;
mod queries;
mod role;
mod store;
