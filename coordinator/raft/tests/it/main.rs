//! The replicated catalog as coordinators use it: several of them in one process over real gRPC on loopback, and one in
//! a process of its own that is killed.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod crash;
mod leadership;
mod members;
mod snapshots;
mod support;
mod writes;
