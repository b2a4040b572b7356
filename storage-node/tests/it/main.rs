//! A storage node as the cluster sees it: in the same process and over gRPC.

mod contract;
mod coordinator;
mod membership;
mod node;
mod read_back;
mod round_trip;
mod rows;
mod writers;
