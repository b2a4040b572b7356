//! A storage node as the cluster sees it: in the same process and over gRPC.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod compaction;
mod contract;
mod coordinator;
mod membership;
mod node;
mod read_back;
mod replicas;
mod round_trip;
mod rows;
mod writers;
