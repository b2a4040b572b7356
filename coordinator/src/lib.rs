//! The coordinator role: keeps the replicated catalog, knows which nodes live, brings the cluster to what the catalog
//! says, and answers operators.
//!
//! ```text
//!  nodes ── Register, Heartbeat ──► services::coordinator ──► Members (who lives, how loaded: in memory)
//!  operators ── AdminService ─────► services::admin ────────► CatalogRaft (what there is: replicated)
//!                                                                  │ leadership
//!                                        reconcile (leader alone) ◄┘  publish loads, create and drop tablets, expire
//! ```
//!
//! Statements of clients are not handled here yet: sessions, planner and gateway join this role when they can run a
//! query.

mod catalog_client;
mod config;
mod error;
mod members;
mod reconcile;
mod role;
mod services;

pub use catalog_client::ReplicatedCatalog;
pub use config::Config;
pub use error::Error;
pub use members::{Member, Members};
pub use role::Coordinator;
