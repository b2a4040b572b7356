//! The rowset of one load, converted: segment by segment, so that all replicas come to the same files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use roaring::RoaringBitmap;
use tarn_proto::storage::{PublishTablet, SegmentKey};
use tarn_proto::{RowsetId, TableModel, TableSchema, TabletId, TxnId, Version, wire};

use super::Pair;
use crate::codec::Codec;
use crate::compaction::segment_rows::SegmentRows;
use crate::engine::Engine;
use crate::engine::commit::rowset_of;
use crate::memtable::Memtable;
use crate::meta::Changes;
use crate::primary::DeleteVector;
use crate::record::{RowsetRecord, RowsetState, SegmentRecord};
use crate::segment::{TemporarySegment, write_segment};
use crate::tablet::Tablet;
use crate::{Error, Result};

impl Engine {
    /// Converts what a transaction wrote to `base` and is not published, so that `target` holds it as if it had been written
    /// there. Does nothing if it does already. Fails with [`Error::Misfit`] for a value that does not fit; what is more than
    /// rows (an update of some columns, a DELETE) cannot be converted. Blocks, and works the processor.
    pub fn convert_load(
        self: &Arc<Self>,
        from: &TableSchema,
        to: &TableSchema,
        txn: TxnId,
        base: TabletId,
        target: TabletId,
    ) -> Result<wire::RowsetSummary> {
        let pair = self.pair(from, to, base, target)?;
        let rowset = rowset_of(txn);
        let there = || pair.target.state.read().rowsets.get(&rowset).cloned();
        let record = match there() {
            Some(record) => record,
            None => {
                let record = pair.base.state.read().rowsets.get(&rowset).filter(|r| r.is_pending()).cloned();
                let record = record.ok_or(Error::MissingRowset { tablet: base, txn })?;
                if record.change.is_some() {
                    return Err(Error::Unconvertible { tablet: base, txn });
                }
                self.convert_rowset(&pair, rowset, &record, None)?;
                there().ok_or(Error::MissingRowset { tablet: target, txn })?
            }
        };
        Ok(wire::RowsetSummary {
            tablet_id: target.get(),
            rowset_id: rowset.get(),
            rows: record.rows(),
            bytes: record.bytes(),
            holders: Vec::new(),
        })
    }

    /// Brings the target from the version before to `version`, in which the base published `rowset`.
    pub(super) fn follow(
        self: &Arc<Self>,
        pair: &Pair,
        version: Version,
        rowset: RowsetId,
        record: &RowsetRecord,
    ) -> Result<()> {
        // It may be there since a call that did not come to its end.
        if !pair.target.state.read().rowsets.contains_key(&rowset) {
            self.convert_rowset(pair, rowset, record, Some(version))?;
        }
        let publish = PublishTablet { tablet: pair.target.id, version, has_rowset: true };
        self.publish_in_target(&pair.target, record.txn, publish)
    }

    /// Brings a target to a version in which the base published nothing.
    pub(super) fn publish_nothing(&self, target: &Tablet, version: Version) -> Result<()> {
        let publish = PublishTablet { tablet: target.id, version, has_rowset: false };
        self.publish_in_target(target, TxnId(0), publish)
    }

    fn publish_in_target(&self, target: &Tablet, txn: TxnId, publish: PublishTablet) -> Result<()> {
        let unpublished = self.publish(txn, &[publish])?;
        if unpublished.is_empty() || target.state.read().version >= publish.version {
            return Ok(());
        }
        // Its files went meanwhile: the next call makes them anew.
        Err(Error::MissingRowset { tablet: target.id, txn })
    }

    /// Writes a rowset of the base as a pending one of the target. With a version, only rows that live in it.
    fn convert_rowset(
        self: &Arc<Self>,
        pair: &Pair,
        rowset: RowsetId,
        record: &RowsetRecord,
        version: Option<Version>,
    ) -> Result<()> {
        let attempt = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let mut segments = Vec::with_capacity(record.segments.len());
        for (number, segment) in (0..).zip(&record.segments) {
            let source = SegmentKey { tablet: pair.base.id, rowset, segment: number };
            let dead = match version {
                Some(version) => self.delete_vector_at(&pair.base, rowset, number, version)?,
                None => None,
            };
            let dead = dead.as_ref().map(DeleteVector::bitmap).unwrap_or_default();
            self.disk.admit(segment.bytes)?;
            let written = self.convert_segment(pair, record, source, segment, &dead, attempt);
            segments.push(written.inspect_err(|error| pair.target.note(error))?);
        }
        self.seal_converted(&pair.target, rowset, record.txn, segments)
    }

    fn convert_segment(
        self: &Arc<Self>,
        pair: &Pair,
        record: &RowsetRecord,
        source: SegmentKey,
        segment: &SegmentRecord,
        dead: &RoaringBitmap,
        attempt: u64,
    ) -> Result<TemporarySegment> {
        let shape = pair.target.shape();
        let mut batches = Vec::new();
        if segment.rows > 0 {
            let mut rows = SegmentRows::new(&pair.base.shape(), source, segment, record.schema_version);
            let mut first = 0;
            while let Some(batch) = rows.next(self)? {
                let next = first + batch.num_rows() as u32;
                let living = live_rows(batch, first, dead).map_err(|source| pair.refused(source.into()))?;
                batches.push(pair.conversion.apply(&living).map_err(|e| pair.refused(e))?);
                first = next;
            }
        }
        let key = SegmentKey { tablet: pair.target.id, ..source };
        if shape.schema.model == TableModel::PrimaryKey {
            return self.write_keyed(&shape, key, source, segment, dead, batches, attempt);
        }
        self.dir.create_tablet(key.tablet)?;
        let mut memtable = Memtable::new(RecordBatch::new_empty(shape.stored.clone()), self.budget.uncounted());
        batches.into_iter().for_each(|batch| memtable.push(batch, self.budget.uncounted()));
        write_segment(&self.dir, &Codec::new(), &shape, key, attempt, memtable, None)
    }

    /// Makes segments a pending rowset, durably.
    fn seal_converted(
        &self,
        target: &Arc<Tablet>,
        rowset: RowsetId,
        txn: TxnId,
        segments: Vec<TemporarySegment>,
    ) -> Result<()> {
        let count = segments.len() as u32;
        self.store_segments(target, &segments)?;
        let _commit = target.commit.lock();
        target.check_writable()?;
        if target.state.read().rowsets.contains_key(&rowset) {
            return Ok(());
        }
        let unnamed = |error: Error| {
            self.remove_files(target.id, rowset, count);
            error
        };
        // What has no rows has made no directory.
        self.dir.create_tablet(target.id)?;
        let segments = self.name_output(target.id, segments).map_err(unnamed)?;
        let schema_version = target.shape().schema.version;
        let record = RowsetRecord { txn, state: RowsetState::Pending, schema_version, segments, change: None };
        self.store_pending(txn, &[(target.clone(), record.clone())]).map_err(unnamed)?;
        let mut changes = Changes::default();
        changes.put_rowset(target.id, rowset, &record);
        self.write(changes).inspect_err(|error| target.note(error))?;
        target.state.write().rowsets.insert(rowset, Arc::new(record));
        self.note_pending(txn, target.id);
        Ok(())
    }
}

/// The rows of a batch that are not dead; the first has this number in its segment.
fn live_rows(
    batch: RecordBatch,
    first: u32,
    dead: &RoaringBitmap,
) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let rows = first..first + batch.num_rows() as u32;
    if dead.range_cardinality(rows.clone()) == 0 {
        return Ok(batch);
    }
    let lives: BooleanArray = rows.map(|row| Some(!dead.contains(row))).collect();
    debug_assert_eq!(lives.len(), batch.num_rows());
    filter_record_batch(&batch, &lives)
}
