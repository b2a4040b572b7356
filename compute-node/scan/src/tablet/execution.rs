//! One run of a scan, shared by its output partitions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tarn_proto::query_id::QueryId;
use tarn_proto::storage::{FileKey, SegmentKey};
use tarn_proto::{ErrorKind, RowsetId, SchemaVersion};
use tokio::sync::OnceCell;
use vortex::error::VortexError;
use vortex::expr::{Expression, and_collect};
use vortex::file::VortexFile;
use vortex::layout::LayoutReader;
use vortex::layout::segments::SharedSegmentSource;

use super::deleted::LiveRows;
use super::early::Sink;
use super::index::{FilteredRows, Selected};
use super::key_range::KeyRange;
use super::membership::{Learned, Membership};
use super::merge::{self, Merging, Overlapping, OverlappingSegment};
use super::morsel::{self, Morsel, Work};
use super::older::{SegmentRead, check_dropped};
use super::partition::{Batches, Partition};
use super::planned::{Opened, Planned, Segment};
use super::splits::splits;
use super::zones::CountedZones;
use super::{TabletRead, TabletSource, Wanted, index, pushdown};
use crate::error::Error;
use crate::metrics;
use crate::segment::{FooterError, Pieces, ReadError, ReadMetrics, SegmentFile};

/// Splits of a morsel in flight in one output partition: enough to read ahead while one is decoded.
pub(super) const READ_AHEAD: usize = 4;

/// State that the output partitions of one run share.
pub(crate) struct Execution {
    source: TabletSource,
    /// What is read of segments that need no merge.
    plain: Wanted,
    /// Whether any partition may take any morsel. Otherwise each has its share.
    shared: bool,
    planned: OnceCell<Planned>,
    /// Rows that may still be returned.
    budget: Option<AtomicU64>,
    failure: Arc<OnceLock<ReadError>>,
    query: OnceLock<QueryId>,
    learned: Arc<Learned>,
    pruned: Count,
    filtered: FilteredRows,
}

impl Execution {
    pub fn new(source: &TabletSource, shared: bool) -> Self {
        Self {
            pruned: MetricBuilder::new(&source.metrics).global_counter("segments_pruned"),
            filtered: FilteredRows::new(&source.metrics),
            budget: source.limit.map(|limit| AtomicU64::new(limit as u64)),
            plain: Wanted {
                columns: source.projection.clone(),
                output: source.output.clone(),
                filters: source.filters.clone(),
            },
            source: source.clone(),
            shared,
            planned: OnceCell::new(),
            failure: Arc::default(),
            query: OnceLock::new(),
            learned: Arc::default(),
        }
    }

    /// The rows of an output partition, in batches of about `batch_size` rows. (`DataSourceExec` cuts larger ones.)
    pub fn open(self: Arc<Self>, partition: usize, task: &TaskContext) -> SendableRecordBatchStream {
        let config = task.session_config();
        if let Some(query) = config.get_extension::<QueryId>() {
            self.query.get_or_init(|| query.as_ref().clone());
        }
        let batch_size = config.batch_size();
        let schema = self.source.output.clone();
        let baseline = BaselineMetrics::new(&self.source.metrics, partition);
        let reads = ReadMetrics {
            bytes_read: MetricBuilder::new(&self.source.metrics).counter("bytes_read", partition),
            bytes_cached: MetricBuilder::new(&self.source.metrics).counter("bytes_cached", partition),
            pieces: MetricBuilder::new(&self.source.metrics).counter("pieces", partition),
        };
        let memory = MemoryConsumer::new(format!("merge of {}", self.source.table)).register(task.memory_pool());
        let sink = self.source.early.clone().map(|early| {
            early.begin(partition);
            Sink { early, partition, rows: baseline.output_rows().clone() }
        });
        let mut rows = Partition::new(self, partition, batch_size, reads, memory, sink).rows();
        let metered = stream::poll_fn(move |cx| {
            let timer = baseline.elapsed_compute().timer();
            let polled = rows.poll_next_unpin(cx);
            timer.done();
            baseline.record_poll(polled)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, metered))
    }

    pub(super) const fn source(&self) -> &TabletSource {
        &self.source
    }

    pub(super) async fn planned(&self) -> Result<&Planned> {
        self.planned.get_or_try_init(|| self.plan()).await
    }

    async fn plan(&self) -> Result<Planned> {
        let source = &self.source;
        let manifests = source.context.manifests(source).await?;
        let keys = KeyRange::of(&source.schema, &source.filters);
        let merging = Merging::of(source)?.map(Arc::new);
        let mut segments = Vec::new();
        let mut ranges = Vec::new();
        let mut overlapping = Vec::new();
        for (tablet, located) in source.tablets.iter().zip(manifests) {
            let from = source.context.segments_of(source, tablet, &located, self.query.get())?;
            let mut found = Vec::new();
            for rowset in &located.manifest.rowsets {
                for segment in &rowset.segments {
                    let key =
                        SegmentKey { tablet: tablet.tablet, rowset: RowsetId(rowset.id), segment: segment.number };
                    let rows = match &keys {
                        Some(keys) => keys.rows(&segment.short_key_index, segment.rows),
                        None => 0..segment.rows,
                    };
                    self.filtered.short_key.add((segment.rows - (rows.end - rows.start)) as usize);
                    segments.push(Segment {
                        tablet: tablet.clone(),
                        rowset: key.rowset,
                        written: SchemaVersion(rowset.schema_version),
                        file: SegmentFile {
                            key: FileKey { segment: key, checksum: segment.checksum },
                            bytes: segment.bytes,
                            from: from.clone(),
                        },
                        rows: segment.rows,
                        range: rows.clone(),
                        deleted: located.deleted.of(rowset.id, segment).map_err(|e| damaged(tablet, &e))?,
                        indexes: segment.indexes.clone(),
                        opened: OnceCell::new(),
                        selected: OnceCell::new(),
                    });
                    if rows.is_empty() && segment.rows > 0 {
                        self.pruned.add(1);
                        metrics::segment_pruned();
                    }
                    if !rows.is_empty() {
                        let morsel = Morsel { segment: ranges.len(), rows: rows.clone() };
                        let index = segment.short_key_index.clone();
                        found.push(OverlappingSegment { morsel, rows: segment.rows, index });
                    }
                    ranges.push(rows);
                }
            }
            // One segment has each key once.
            if merging.is_some() && found.len() > 1 {
                found.iter().for_each(|segment| ranges[segment.morsel.segment] = 0..0);
                overlapping.push(Overlapping(found));
            }
        }
        let mut morsels = morsel::cut(&ranges, source.partitions);
        if let Some(limit) = source.limit
            && source.filters.is_empty()
            && overlapping.is_empty()
        {
            morsel::truncate(&mut morsels, limit as u64, |m| segments[m.segment].live(m));
        }
        let mut work: Vec<Work> = match &merging {
            Some(merging) => merging.cut(&overlapping, source.partitions).into_iter().map(Work::Merge).collect(),
            None => Vec::new(),
        };
        work.extend(morsels.into_iter().map(Work::Rows));
        let shares = if self.shared { vec![work] } else { morsel::deal(work, source.partitions, Work::rows) };
        let queues = shares.into_iter().map(|share| Mutex::new(share.into())).collect();
        Ok(Planned { segments, merging, queues })
    }

    fn failed(&self, segment: &Segment, error: VortexError) -> DataFusionError {
        match self.failure.get() {
            Some(read) => self.unreadable(segment, read.clone()),
            None => Error::Segment {
                tablet: segment.tablet.tablet,
                rowset: segment.rowset,
                segment: segment.file.key.segment.segment,
                source: error,
            },
        }
        .into()
    }

    /// Why a segment could not be read, from none of the replicas. Another manifest may help.
    fn unreadable(&self, segment: &Segment, source: ReadError) -> Error {
        let (tablet, kind) = (segment.tablet.tablet, source.kind());
        if kind == ErrorKind::NotFound || kind.is_retryable() {
            self.source.context.forget_manifest(tablet, segment.tablet.version);
        }
        match kind {
            ErrorKind::NotFound => Error::Superseded { tablet, source: Box::new(source) },
            _ => {
                let (table, node) = (self.source.table.to_string(), segment.file.from.node());
                Error::Store { table, tablet, node, source: Box::new(source) }
            }
        }
    }

    async fn open_segment(&self, segment: &Segment, reads: &ReadMetrics) -> Result<Opened> {
        let context = &self.source.context;
        let footer = context.footer(&segment.file).await.map_err(|error| match error {
            FooterError::Read(error) => self.unreadable(segment, error).into(),
            FooterError::Format(error) => self.failed(segment, error),
        })?;
        let pieces = SharedSegmentSource::new(Pieces {
            file: segment.file.clone(),
            specs: footer.segment_map().clone(),
            cache: context.cache().clone(),
            metrics: reads.clone(),
            failure: self.failure.clone(),
        });
        let file = VortexFile::new(footer, Arc::new(pieces), context.session().clone());
        let inner = file.layout_reader().map_err(|e| self.failed(segment, e))?;
        let counted = Arc::new(CountedZones { inner, rows: self.filtered.zone_map.clone() });
        let reader: Arc<dyn LayoutReader> = match &segment.deleted {
            Some(deleted) => Arc::new(LiveRows { inner: counted, deleted: deleted.clone() }),
            None => counted,
        };
        Ok(Opened { file, reader })
    }

    /// What the indexes of a segment leave over.
    async fn select(&self, segment: &Segment, filters: &[Arc<dyn PhysicalExpr>], reads: &ReadMetrics) -> Selected {
        let TabletSource { context, schema, bitmap_max_filter_ratio, .. } = &self.source;
        let seen = index::Segment {
            schema,
            file: &segment.file,
            indexes: &segment.indexes,
            rows: segment.rows,
            range: segment.range.clone(),
            deleted: segment.deleted.as_ref().map(|deleted| &deleted.rows),
            bitmap_ratio: *bitmap_max_filter_ratio,
            cache: context.cache(),
            reads,
            filtered: &self.filtered,
        };
        index::select(&seen, filters).await
    }

    /// The filters as they are now: what Vortex evaluates, and the tests that are left.
    fn filter(&self, wanted: &Wanted, read: &SegmentRead) -> Result<(Option<Expression>, Membership)> {
        let TabletSource { context, schema, .. } = &self.source;
        let mut conjuncts = read.native.clone();
        let mut tests = Vec::new();
        for filter in wanted.filters.iter().filter(|filter| pushdown::is_dynamic(filter)) {
            let current = read.current(context, schema, filter)?;
            conjuncts.extend(current.native);
            tests.extend(current.others);
        }
        Ok((and_collect(conjuncts), Membership::new(tests, &wanted.columns, self.learned.clone())))
    }

    /// The batches of a piece of work, before the limit.
    pub(super) async fn read(
        self: &Arc<Self>,
        work: &Work,
        reads: &ReadMetrics,
        batch_size: usize,
        memory: &MemoryReservation,
        sink: Option<&Sink>,
    ) -> Result<Batches> {
        let planned = self.planned().await?;
        match (work, &planned.merging) {
            (Work::Merge(unit), Some(merging)) => merge::rows(self, merging, unit, reads, batch_size, memory).await,
            (Work::Merge(_), None) => {
                Err(DataFusionError::Internal("a scan that merges nothing has a merge".to_owned()))
            }
            (Work::Rows(morsel), _) if self.source.filters.is_empty() && self.source.projection.is_empty() => {
                let rows = planned.segments[morsel.segment].live(morsel) as usize;
                counted(self.source.output.clone(), rows)
            }
            (Work::Rows(morsel), _) => self.segment_rows(morsel, &self.plain, reads, READ_AHEAD, sink).await,
        }
    }

    /// The rows of a morsel as `wanted`, in the segment's order, with `ahead` splits in flight: those that `sink` does not
    /// take.
    pub(super) async fn segment_rows(
        self: &Arc<Self>,
        morsel: &Morsel,
        wanted: &Wanted,
        reads: &ReadMetrics,
        ahead: usize,
        sink: Option<&Sink>,
    ) -> Result<Batches> {
        let segment = &self.planned().await?.segments[morsel.segment];
        let selected = segment.selected.get_or_init(|| self.select(segment, &wanted.filters, reads)).await;
        let count = selected.count(&morsel.rows, segment.deleted.as_ref().map(|deleted| &deleted.rows));
        if count == 0 {
            return Ok(stream::empty().boxed());
        }
        if wanted.columns.is_empty() && selected.filters.is_empty() {
            return counted(wanted.output.clone(), count as usize);
        }
        let opened = segment.opened.get_or_try_init(|| self.open_segment(segment, reads)).await?;
        let TabletSource { context, schema, .. } = &self.source;
        let Wanted { columns, output, filters } = wanted;
        let dtype = opened.file.dtype();
        check_dropped(schema, columns, filters, segment.written, dtype, segment.tablet.tablet)?;
        let read = SegmentRead::new(context, schema, columns, output.clone(), &selected.filters, dtype)?;
        let (filter, membership) = self.filter(wanted, &read)?;
        let excluded = filter.as_ref().map(|filter| opened.file.can_prune(filter)).transpose();
        if read.nothing || excluded.map_err(|e| self.failed(segment, e))? == Some(true) {
            self.pruned.add(1);
            self.filtered.zone_map.add(count as usize);
            metrics::segment_pruned();
            return Ok(stream::empty().boxed());
        }
        let selection = selected.selection();
        let sink = sink.filter(|_| membership.is_empty()).cloned();
        let splits = splits(context.session(), morsel, selection, opened, read.output, filter, sink)
            .map_err(|e| self.failed(segment, e))?;
        let execution = self.clone();
        let index = morsel.segment;
        Ok(stream::iter(splits)
            .buffered(ahead)
            .map_err(move |error| match execution.planned.get() {
                Some(planned) => execution.failed(&planned.segments[index], error),
                None => DataFusionError::Internal(error.to_string()),
            })
            .try_filter_map(move |batch| {
                let membership = membership.clone();
                async move {
                    match batch.flatten() {
                        Some(batch) => membership.keep(batch).map(Some),
                        None => {
                            // Operators above let others run after a batch. A split that returns none is as much work.
                            tokio::task::yield_now().await;
                            Ok(None)
                        }
                    }
                }
            })
            .boxed())
    }

    /// Takes rows from the budget and cuts the batch to what is granted.
    pub(super) fn grant(&self, batch: RecordBatch) -> Option<RecordBatch> {
        let Some(budget) = &self.budget else { return Some(batch) };
        let rows = batch.num_rows() as u64;
        let before = budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(rows)))
            .unwrap_or_else(|left| left);
        match before.min(rows) {
            0 => None,
            granted if granted == rows => Some(batch),
            granted => Some(batch.slice(0, granted as usize)),
        }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.load(Ordering::Relaxed) == 0)
    }
}

fn damaged(tablet: &TabletRead, error: &std::io::Error) -> Error {
    Error::Manifest { tablet: tablet.tablet, reason: format!("damaged delete vector: {error}") }
}

/// So many rows without columns.
fn counted(output: SchemaRef, rows: usize) -> Result<Batches> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(output, Vec::new(), &options)?;
    Ok(stream::iter([Ok(batch)]).boxed())
}
