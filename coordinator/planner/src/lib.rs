//! Queries over a catalog snapshot to physical plans.
//!
//! ```text
//!  ast::Query ── dialect, references, labels ──► DataFusion's SQL planner ──► LogicalPlan
//!                                                    │ relations: databases, tables, views of one catalog snapshot
//!  LogicalPlan ── optimizer ── tablets: which partitions and buckets (prune) ──► tarn_scan's leaf
//!              ── physical optimizer ── distributed: stages and tasks over the compute nodes ──► QueryPlan
//! ```
//!
//! A plan holds ids and versions of tablets, never file lists. Nothing here runs a statement: the coordinator does.

mod cardinality;
mod coercion;
mod dialect;
pub mod distributed;
mod error;
mod give_way;
mod labels;
mod not_in;
mod operators;
mod planner;
mod preaggregation;
mod prune;
mod reads;
mod references;
mod relations;
mod same_names;
mod scalar;
mod session;
mod subqueries;
mod tablets;

pub use error::{Error, Result, kind};
pub use planner::{CATALOG, Planner, PlannerConfig, Prepared, QueryContext, QueryPlan};
pub use prune::matching_partitions;
pub use reads::Reach;
pub use scalar::scalar_of;
