//! The protocols clients arrive with: Flight SQL, and the HTTP endpoints that operators scrape. What a statement does is
//! behind [`engine::Engine`]; nothing here plans or runs SQL.
//!
//! ```text
//!  engine   Engine, Session              what a protocol needs of the server
//!  flight   FlightSqlServer, serve_flight   Arrow Flight SQL
//!  http     serve_http                   /metrics /healthz /readyz, for every role
//!  metrics  names and units
//! ```

pub mod engine;
pub mod flight;
pub mod http;
pub mod metrics;

pub use flight::{FlightSqlServer, Options, TlsConfig, serve_flight};
