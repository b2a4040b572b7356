//! Loading: transactions under labels, and the sink that brings rows to their tablets.
//!
//! ```text
//!  Load::begin(label) ──► sink ──► RowRouter: row -> partition -> bucket -> tablet
//!                          │        (partitions of expression tables are created on the way)
//!                          └──────► one RowsetWriter for each primary, which ships copies to the other replicas
//!  Load::commit ──► Raft: versions assigned ──► publisher (leader) ──► all replicas ──► Raft: visible once a quorum has it
//! ```
//!
//! It does not parse, plan or convert types: batches arrive in the table's declared arrow types (see [`coerce`]).

mod altered;
pub mod catalog;
pub mod coerce;
pub mod error;
pub mod load;
pub mod metrics;
pub mod partition_key;
pub mod publisher;
pub mod replicas;
pub mod route;
pub mod sink;
pub mod target;

pub use catalog::CatalogClient;
pub use error::Error;
pub use load::{Load, Outcome};
pub use publisher::{Pace, Publisher};
pub use sink::TabletSink;
pub use target::{Replacing, Target};
