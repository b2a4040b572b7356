//! Leaf sources of query plans: tablets and files, what they share (the block cache), how tablet scans travel between
//! nodes, and how they are spread over compute nodes.
//!
//! Nothing here plans a query. The planner builds a [`TabletScan`] from a catalog snapshot and puts the plan that
//! [`scan`] makes of it under its operators; DataFusion pushes projections, filters and limits into it.
//!
//! ```text
//!  planner ── TabletScan ──► TabletSource (DataSource) ── TarnCodec ──► the same on a compute node
//!                                │ open
//!                                ▼
//!                ScanContext: manifests, footers, block cache, StorePool
//!                                │ morsels: (segment, row range)
//!                                ▼
//!                Vortex scan: filters evaluated on encoded data, then the projected columns
//!
//!  tablet/      TabletScan, TabletSource, morsels, merge on read, aggregation in the scan, the stream of a partition
//!  cache        pieces of segments in memory; blocks of remote segments in memory and on disk
//!  segment      one segment file: footer, reads through the cache
//!  replicas     a tablet's segments on storage nodes, with fail-over
//!  bucket       a tablet's segments in a storage volume
//!  manifests    which replica's manifest is read, and what is kept of them
//!  runtime      threads that queries run on
//!  memory       what a query may use of the process's memory
//!  paced        joins that can be stopped while they find nothing
//!  codec        tablet scans on the wire
//!  distribute/  how many tasks, which tablets in which task, which worker runs it; calls between nodes
//!  files/       files as a source
//! ```

mod bucket;
mod cache;
mod codec;
mod context;
pub mod distribute;
mod error;
pub mod files;
mod manifests;
mod memory;
mod metrics;
mod paced;
mod replicas;
mod runtime;
mod segment;
mod tablet;

pub use codec::TarnCodec;
pub use context::{CacheConfig, ScanContext};
pub use distribute::{TabletRouting, TabletScaleUp, TabletTaskCount, WorkerSet};
pub use error::{Again, Error, Failure};
pub use memory::query_pool;
pub use paced::{needs_pace, paced};
pub use runtime::{QueryRows, QueryRuntime};
pub use segment::ReadError;
pub use tablet::{
    BITMAP_MAX_FILTER_RATIO, Preaggregation, Pruned, TabletRead, TabletScan, TabletSource, aggregated_early, scan,
};
