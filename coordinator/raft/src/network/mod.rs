//! Consensus traffic: `RaftService` over gRPC.
//!
//! ```text
//!  peers    Peers: one cached channel per address and lane
//!  client   Network, what openraft calls to reach one peer
//!  server   the service that peers call
//!  wire     messages behind a version byte, with the id of the node they are meant for
//! ```

mod client;
mod peers;
mod server;
mod wire;

pub(crate) use client::NetworkFactory;
pub(crate) use peers::{Lane, Peers};
pub(crate) use server::Server;

/// Longest gRPC message of consensus and of forwarded commands, in bytes. Servers of `CoordinatorService` must take
/// messages of this length, too.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
