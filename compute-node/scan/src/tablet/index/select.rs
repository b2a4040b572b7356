//! A segment's selection: what its indexes, its short-key range and its delete vector leave over.

use std::ops::Range;
use std::sync::Arc;

use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use roaring::{RoaringBitmap, RoaringTreemap};
use tarn_proto::storage::{IndexFileKey, IndexKey};
use tarn_proto::{IndexKind, TableSchema, wire};
use tracing::debug;
use vortex::scan::selection::Selection;

use super::bitmap::LookedUp;
use super::bloom;
use super::condition::{Condition, conditions};
use super::file::{IndexFile, Unusable};
use crate::cache::BlockCache;
use crate::metrics;
use crate::segment::{ReadMetrics, SegmentFile};
use crate::tablet::pushdown::is_dynamic;

/// An index may read this part of its segment's bytes: with more, reading the rows is as cheap.
const SHARE_OF_SEGMENT: u64 = 4;

/// What an index may read of any segment.
const ALWAYS_WORTH_BYTES: u64 = 64 << 10;

/// How many rows of a scan were left out by what, before they were decoded. The names are StarRocks'.
#[derive(Clone, Debug)]
pub(crate) struct FilteredRows {
    /// By the sort key's index.
    pub short_key: Count,
    /// By bitmap indexes.
    pub bitmap: Count,
    /// By bloom filters.
    pub bloom: Count,
    /// By zone maps, of files and of pages.
    pub zone_map: Count,
    /// Because they are deleted.
    pub deleted: Count,
}

impl FilteredRows {
    pub fn new(metrics: &ExecutionPlanMetricsSet) -> Self {
        let count = |name: &'static str| MetricBuilder::new(metrics).global_counter(name);
        Self {
            short_key: count("ShortKeyFilterRows"),
            bitmap: count("BitmapIndexFilterRows"),
            bloom: count("BloomFilterFilterRows"),
            zone_map: count("ZoneMapIndexFilterRows"),
            deleted: count("DelVecFilterRows"),
        }
    }
}

/// A segment, as its indexes see it.
pub(in crate::tablet) struct Segment<'a> {
    pub schema: &'a TableSchema,
    pub file: &'a SegmentFile,
    /// Those that have a file.
    pub indexes: &'a [wire::SegmentIndex],
    /// Rows of the segment.
    pub rows: u64,
    /// What the sort key's index left of them.
    pub range: Range<u64>,
    pub deleted: Option<&'a RoaringTreemap>,
    /// See `bitmap_max_filter_ratio`.
    pub bitmap_ratio: u16,
    pub cache: &'a Arc<BlockCache>,
    pub reads: &'a ReadMetrics,
    pub filtered: &'a FilteredRows,
}

/// The rows of a segment to read, and what is left to be asked of them.
pub(crate) struct Selected {
    /// Rows that are not deleted and that the indexes leave over; all that are not deleted if it is `None`.
    rows: Option<RoaringTreemap>,
    /// The filters without the conjuncts that hold for all of these rows.
    pub filters: Vec<Arc<dyn PhysicalExpr>>,
}

impl Selected {
    /// As the scan takes it. Deleted rows are left out by the segment's reader where the indexes say nothing.
    pub fn selection(&self) -> Selection {
        self.rows.clone().map_or(Selection::All, Selection::IncludeRoaring)
    }

    /// Rows to read in a range. `deleted` is the segment's.
    pub fn count(&self, rows: &Range<u64>, deleted: Option<&RoaringTreemap>) -> u64 {
        match (&self.rows, deleted) {
            (Some(selected), _) => selected.range_cardinality(rows.clone()),
            (None, Some(deleted)) => rows.end - rows.start - deleted.range_cardinality(rows.clone()),
            (None, None) => rows.end.saturating_sub(rows.start),
        }
    }
}

/// The rows that `filters`, over the table's columns, leave over of a segment as far as its indexes tell.
pub(in crate::tablet) async fn select(segment: &Segment<'_>, filters: &[Arc<dyn PhysicalExpr>]) -> Selected {
    let (changing, fixed): (Vec<_>, Vec<_>) = filters.iter().cloned().partition(is_dynamic);
    let conjuncts: Vec<_> = fixed.iter().flat_map(split_conjunction).cloned().collect();
    let narrowed = if segment.indexes.is_empty() || segment.rows > u64::from(u32::MAX) || segment.range.is_empty() {
        None
    } else {
        narrow(segment, &conditions(segment.schema, &conjuncts)).await
    };
    let live = |rows: &Range<u64>| segment.deleted.map_or(0, |deleted| deleted.range_cardinality(rows.clone()));
    let Some(Narrowed { rows, resolved }) = narrowed else {
        segment.filtered.deleted.add(live(&segment.range) as usize);
        return Selected { rows: None, filters: filters.to_vec() };
    };
    let before = rows.len();
    let mut rows = RoaringTreemap::from_bitmaps([(0, rows)]);
    if let Some(deleted) = segment.deleted {
        rows -= deleted;
    }
    segment.filtered.deleted.add((before - rows.len()) as usize);
    let left = conjuncts.into_iter().enumerate().filter(|(number, _)| !resolved.contains(number));
    Selected { rows: Some(rows), filters: left.map(|(_, conjunct)| conjunct).chain(changing).collect() }
}

/// What indexes leave over.
struct Narrowed {
    rows: RoaringBitmap,
    /// Conjuncts that hold for these rows, and for no others.
    resolved: Vec<usize>,
}

/// `None` if the indexes say nothing.
async fn narrow(segment: &Segment<'_>, conditions: &[Condition]) -> Option<Narrowed> {
    let mut all = RoaringBitmap::new();
    all.insert_range(segment.range.start as u32..segment.range.end as u32);
    let mut narrowed = Narrowed { rows: all, resolved: Vec::new() };
    let bitmaps = by_bitmaps(segment, conditions, &mut narrowed).await;
    let blooms = by_blooms(segment, conditions, &mut narrowed).await;
    (bitmaps || blooms).then_some(narrowed)
}

/// What an index of a segment may read.
fn worth(segment: &Segment<'_>) -> u64 {
    (segment.file.bytes / SHARE_OF_SEGMENT).max(ALWAYS_WORTH_BYTES)
}

/// Whether bitmap indexes said something.
async fn by_bitmaps(segment: &Segment<'_>, conditions: &[Condition], narrowed: &mut Narrowed) -> bool {
    let mut found = Vec::new();
    let (mut selected, mut cardinality) = (1u128, 1u128);
    for condition in conditions {
        let Some(file) = segment.index(condition, IndexKind::Bitmap) else { continue };
        let looked = match LookedUp::new(file, condition, segment.rows, worth(segment)).await {
            Ok(Some(looked)) => looked,
            Ok(None) => continue,
            Err(error) => {
                unusable(segment, condition, &error);
                continue;
            }
        };
        if looked.is_selective() {
            selected = selected.saturating_mul(u128::from(looked.selected));
            cardinality = cardinality.saturating_mul(u128::from(looked.cardinality));
            found.push((condition, looked));
        }
    }
    // No value that is there passes: no row does. Otherwise they must let pass a small part together.
    if found.is_empty() || selected.saturating_mul(1000) > cardinality.saturating_mul(u128::from(segment.bitmap_ratio))
    {
        return false;
    }
    found.sort_by_key(|(_, looked)| looked.selected);
    let before = narrowed.rows.len();
    let mut said = false;
    for (condition, looked) in found {
        if narrowed.rows.is_empty() {
            break;
        }
        match looked.rows().await {
            Ok(Some(rows)) => {
                narrowed.rows &= rows;
                narrowed.resolved.extend(&condition.conjuncts);
                said = true;
            }
            Ok(None) => {}
            Err(error) => unusable(segment, condition, &error),
        }
    }
    segment.filtered.bitmap.add((before - narrowed.rows.len()) as usize);
    said
}

/// Whether bloom indexes said something.
async fn by_blooms(segment: &Segment<'_>, conditions: &[Condition], narrowed: &mut Narrowed) -> bool {
    let mut said = false;
    for condition in conditions {
        let resolved = condition.conjuncts.iter().all(|conjunct| narrowed.resolved.contains(conjunct));
        if resolved || narrowed.rows.is_empty() || !bloom::is_answerable(condition) {
            continue;
        }
        let Some(file) = segment.index(condition, IndexKind::Bloom) else { continue };
        match bloom::rows(&file, condition, segment.rows, &narrowed.rows, worth(segment)).await {
            Ok(Some(rows)) => {
                let before = narrowed.rows.len();
                narrowed.rows &= rows;
                segment.filtered.bloom.add((before - narrowed.rows.len()) as usize);
                said |= narrowed.rows.len() < before;
            }
            Ok(None) => {}
            Err(error) => unusable(segment, condition, &error),
        }
    }
    said
}

/// The rows are read instead; if they cannot be, that is told then.
fn unusable(segment: &Segment<'_>, condition: &Condition, error: &Unusable) {
    metrics::index_unusable();
    let key = segment.file.key.segment;
    let column = &segment.schema.columns[condition.column].name;
    debug!(tablet = %key.tablet, rowset = %key.rowset, segment = key.segment, column, %error, "an index is not used");
}

impl Segment<'_> {
    fn index(&self, condition: &Condition, kind: IndexKind) -> Option<IndexFile<'_>> {
        let column = self.schema.columns.get(condition.column)?.id;
        // What the schema has no index of any more may be gone from one moment to the next.
        self.schema.index_on(column, kind)?;
        let held = self
            .indexes
            .iter()
            .find(|index| index.column == column.get() && index.kind() == wire::IndexKind::from(kind))?;
        Some(IndexFile {
            segment: self.file,
            key: IndexFileKey { index: IndexKey { column, kind }, checksum: held.checksum },
            bytes: held.bytes,
            cache: self.cache,
            metrics: self.reads,
        })
    }
}
