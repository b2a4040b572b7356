//! The Flight SQL server and the HTTP endpoints, driven by real clients over loopback against an engine in memory.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod harness;
mod http;
mod metadata;
mod mock;
mod sessions;
mod statements;
mod transport;
mod uploads;
