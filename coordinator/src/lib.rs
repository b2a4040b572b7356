//! The coordinator role: serves clients' statements, keeps the replicated catalog, knows which nodes live, brings the
//! cluster to what the catalog says, and answers operators.
//!
//! ```text
//!  clients ── Flight SQL ─────────► engine ─► session ─┬─► ddl     statements that change the catalog
//!                                                      ├─► show    statements that show what there is
//!                                                      ├─► query   planned, run on compute nodes
//!                                                      ├─► insert  loads
//!                                                      └─► modify  DELETE and UPDATE
//!  nodes ── Register, Heartbeat ──► services::coordinator ──► Members (who lives, how loaded: in memory)
//!  operators ── AdminService ─────► services::admin ────────► CatalogRaft (what there is: replicated)
//!                                                                  │ leadership
//!                                        reconcile (leader alone) ◄┘  publish loads, create and drop tablets, expire
//! ```
//!
//! `processes` lists what runs, `progress` tells how far it is; `owners` repeats what failed for want of a tablet's owner;
//! `role` starts and stops all of it.

mod catalog_client;
mod config;
mod ddl;
mod engine;
mod error;
mod insert;
mod members;
mod modify;
mod owners;
mod processes;
mod progress;
mod query;
mod reconcile;
mod role;
mod services;
mod session;
mod show;
#[cfg(test)]
mod tests;

pub use catalog_client::ReplicatedCatalog;
pub use config::Config;
pub use error::Error;
pub use members::{Member, Members};
pub use role::Coordinator;
