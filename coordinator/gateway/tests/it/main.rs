//! The Flight SQL server and the HTTP endpoints, driven by real clients over loopback against an engine in memory.

mod harness;
mod http;
mod metadata;
mod mock;
mod sessions;
mod statements;
mod transport;
mod uploads;
