//! Arrow Flight SQL.
//!
//! ```text
//!   transport ─► server ─► session of the call (auth, sessions) ─► commands ─┬─► query    GetFlightInfo, DoGet
//!                  │                                                         ├─► upload   parameters and rows of DoPut
//!                  └─► actions  cancel, session options                      ├─► ingest   bulk ingest
//!                                                                            └─► metadata what is there
//!   registry    bounded, expiring maps          statements  prepared statements, tickets, running results
//!   wire        the types clients see           results     encoded streams; dropping one cancels its query
//! ```

mod actions;
mod auth;
mod call;
mod commands;
mod error;
mod ingest;
pub mod messages;
mod metadata;
mod query;
mod registry;
mod results;
mod serve;
mod server;
mod sessions;
mod statements;
mod upload;
mod wire;

pub use call::{MESSAGE_HEADER, QUERY_ID_HEADER};
pub use metadata::CATALOG;
pub use serve::{TlsConfig, serve_flight, service};
pub use server::{FlightSqlServer, Options};
