//! Reading tablets at a version.
//!
//! The output partitions of a scan share one queue of morsels (row ranges of segments), so that a large tablet keeps
//! all of them busy. A morsel is filtered on encoded data first; only then are the projected columns of the rows that
//! are left decoded.
//!
//! Rows of equal keys of an AGGREGATE or UNIQUE table are merged where a tablet has several segments: see `merge`. The
//! planner turns that off where the query's own aggregation makes it redundant ([`Preaggregation`]).
//!
//! A partial aggregation right above a scan is done inside it as far as it can be: see `early`. Deleted rows are left out
//! by a segment's reader: see `deleted`.

mod columns;
mod deleted;
mod early;
mod execution;
mod index;
mod key_range;
mod membership;
mod merge;
mod morsel;
mod older;
mod partition;
mod planned;
mod pushdown;
mod source;
mod splits;
mod zones;

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use tarn_proto::storage::Peer;
use tarn_proto::volume::Volume;
use tarn_proto::{TableSchema, TabletId, Version};

use crate::context::ScanContext;
pub(crate) use deleted::DeleteVectors;
pub use early::aggregated_early;
pub use index::BITMAP_MAX_FILTER_RATIO;
pub use source::TabletSource;

/// A tablet to read, and the storage nodes that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabletRead {
    /// The tablet.
    pub tablet: TabletId,
    /// The version to read.
    pub version: Version,
    /// Replicas that have the version; the first is read, the others if it fails.
    pub replicas: Arc<[Peer]>,
    /// Rows at that version, as the catalog counts them.
    pub rows: u64,
    /// Size of the segments.
    pub bytes: u64,
}

/// What partition pruning and bucket pruning left, for `EXPLAIN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Partitions that are read.
    pub partitions: usize,
    /// Partitions of the table.
    pub partitions_total: usize,
    /// Tablets of the table.
    pub tablets_total: usize,
}

/// Whether a scan of an AGGREGATE or UNIQUE table may return rows of equal keys one by one, because the operators above
/// aggregate them as the table would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preaggregation {
    /// Nothing is merged.
    On,
    /// One row a key is returned, for this reason.
    Off(Arc<str>),
}

/// What is read of a segment.
pub(crate) struct Wanted {
    /// Positions of the columns in the table.
    pub columns: Vec<usize>,
    /// These columns as the table declares them.
    pub output: SchemaRef,
    /// Over the table's columns. Rows for which one does not hold are left out.
    pub filters: Vec<Arc<dyn PhysicalExpr>>,
}

/// A scan of some tablets of one table, as the planner describes it.
#[derive(Clone, Debug)]
pub struct TabletScan {
    /// `database.table`, for display.
    pub table: String,
    /// The table's schema.
    pub schema: TableSchema,
    /// The storage volume that the tablets are in, if they are in one.
    pub volume: Option<Arc<Volume>>,
    /// The tablets, grouped into output partitions. The grouping says how many partitions there are; they share the
    /// work and any of them may return rows of any tablet.
    pub partitions: Vec<Vec<TabletRead>>,
    /// Positions of the columns to return.
    pub projection: Vec<usize>,
    /// Filters over the table's columns, all of which must hold. Each must be one that [`TabletScan::accepts`].
    pub filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Return no more rows than this.
    pub limit: Option<usize>,
    /// Whether the catalog's row counts are exact: no deleted rows, no rows to be merged.
    pub exact_rows: bool,
    /// What pruning left.
    pub pruned: Pruned,
    /// Bitmap indexes are used where filters let pass at most so many thousandths of the values of their columns, all
    /// columns multiplied; see [`BITMAP_MAX_FILTER_RATIO`].
    pub bitmap_max_filter_ratio: u16,
}

impl TabletScan {
    /// Whether a scan of a table with this schema evaluates `filter` itself, exactly as DataFusion does. `filter` refers
    /// to the table's columns by position.
    pub fn accepts(context: &ScanContext, schema: &TableSchema, filter: &Arc<dyn PhysicalExpr>) -> bool {
        pushdown::is_exact(context, schema, filter)
    }
}

/// A plan that runs the scan.
pub fn scan(context: Arc<ScanContext>, spec: TabletScan) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(filter) = spec.filters.iter().find(|f| !TabletScan::accepts(&context, &spec.schema, f)) {
        return Err(DataFusionError::Plan(format!("a scan of `{}` cannot evaluate the filter {filter}", spec.table)));
    }
    Ok(TabletSource::try_new(context, spec)?.into_plan())
}
