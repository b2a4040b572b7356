//! All rows of a tablet at a version, converted: they take the place of whatever the target had.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int8Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use tarn_proto::schema::{OP, OP_UPSERT};
use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TableModel, TxnId, Version};

use super::Pair;
use crate::codec::Codec;
use crate::compaction::Stop;
use crate::engine::Engine;
use crate::engine::commit::new_conversion;
use crate::memtable::{Memtable, bytes_of};
use crate::meta::Changes;
use crate::record::{Lifetime, RowsetRecord, RowsetState, VersionRecord};
use crate::segment::{TemporarySegment, write_segment};
use crate::{Error, Result};

impl Engine {
    /// Fills the target with the base's rows at `version`.
    pub(super) fn fill(self: &Arc<Self>, pair: &Pair, version: Version, stop: &Stop) -> Result<()> {
        let (_, rows) = self.rows_at(&pair.base, version, stop)?;
        let rowset = new_conversion();
        let mut writer = Writer {
            engine: self,
            pair,
            rowset,
            attempt: self.next_attempt.fetch_add(1, Ordering::Relaxed),
            codec: Codec::new(),
            memtable: None,
            bytes: 0,
            segments: Vec::new(),
        };
        for rows in rows {
            stop.check(&pair.target)?;
            writer.push(pair.conversion.apply(&rows?).map_err(|e| pair.refused(e))?)?;
            pair.pin();
        }
        let segments = writer.finish()?;
        self.commit_fill(pair, rowset, segments, version)
    }

    fn commit_fill(
        &self,
        pair: &Pair,
        rowset: RowsetId,
        segments: Vec<TemporarySegment>,
        version: Version,
    ) -> Result<()> {
        let target = &pair.target;
        let count = segments.len() as u32;
        self.store_segments(target, &segments)?;
        let unnamed = |error: Error| {
            self.remove_files(target.id, rowset, count);
            error
        };
        // What has no rows has made no directory.
        self.dir.create_tablet(target.id)?;
        let segments = self.name_output(target.id, segments).map_err(unnamed)?;
        let _commit = target.commit.lock();
        target.check_writable().map_err(unnamed)?;
        let before = target.state.read().clone();
        if before.version >= version {
            // A clone of another replica was faster.
            self.remove_files(target.id, rowset, count);
            return Ok(());
        }
        // Nobody reads a target before it is full.
        let gone: Vec<(RowsetId, u32)> = before
            .rowsets
            .iter()
            .filter(|(_, record)| !record.is_pending())
            .map(|(id, record)| (*id, record.segments.len() as u32))
            .collect();
        let mut changes = Changes::default();
        changes.delete_vectors(target.id);
        gone.iter().for_each(|(id, _)| changes.delete_rowset(target.id, *id));
        let filled = RowsetRecord {
            // None of its own: it holds rows of many.
            txn: TxnId(0),
            state: RowsetState::Published(Lifetime::loaded(version)),
            schema_version: target.shape().schema.version,
            segments,
            change: None,
        };
        if count > 0 {
            changes.put_rowset(target.id, rowset, &filled);
        }
        // Versions before it were never there.
        changes.put_version(target.id, VersionRecord { version, oldest: version });
        self.write(changes).inspect_err(|error| target.note(error))?;

        let mut state = target.state.write();
        state.version = version;
        state.oldest = version;
        // Whoever has decided on a compaction of what was there before must not go on.
        state.clones += 1;
        state.delete_vectors.clear();
        state.rowsets.retain(|_, record| record.is_pending());
        if count > 0 {
            state.rowsets.insert(rowset, Arc::new(filled));
        }
        drop(state);
        gone.into_iter().for_each(|(id, segments)| self.remove_files(target.id, id, segments));
        self.primary.forget(target.id);
        self.note_changed(target.id);
        Ok(())
    }
}

/// Writes rows to segments of one rowset of the target.
struct Writer<'a> {
    engine: &'a Arc<Engine>,
    pair: &'a Pair,
    rowset: RowsetId,
    attempt: u64,
    codec: Codec,
    memtable: Option<Memtable>,
    bytes: u64,
    segments: Vec<TemporarySegment>,
}

impl Writer<'_> {
    fn push(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let target = &self.pair.target;
        let rows = match target.shape().schema.model {
            TableModel::PrimaryKey => upserted(rows).map_err(|source| Error::Rows { tablet: target.id, source })?,
            TableModel::Duplicate | TableModel::Aggregate | TableModel::Unique => rows,
        };
        self.bytes += bytes_of(&rows);
        let memory = self.engine.budget.uncounted();
        match &mut self.memtable {
            Some(memtable) => memtable.push(rows, memory),
            empty => *empty = Some(Memtable::new(rows, memory)),
        }
        if self.bytes >= self.engine.options.segment_bytes { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let Some(memtable) = self.memtable.take() else { return Ok(()) };
        let (engine, target) = (self.engine, &self.pair.target);
        engine.disk.admit(self.bytes)?;
        self.bytes = 0;
        let key = SegmentKey { tablet: target.id, rowset: self.rowset, segment: self.segments.len() as u32 };
        let shape = target.shape();
        let written = write_segment(&engine.dir, &self.codec, &shape, key, self.attempt, memtable, None);
        self.segments.push(written.inspect_err(|error| target.note(error))?);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<TemporarySegment>> {
        self.flush()?;
        Ok(self.segments)
    }
}

/// Rows of a PRIMARY KEY table as a load brings them.
fn upserted(rows: RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let operations: ArrayRef = Arc::new(Int8Array::from_value(OP_UPSERT, rows.num_rows()));
    let (schema, mut columns, _) = rows.into_parts();
    let fields = schema.fields().iter().cloned().chain([Arc::new(Field::new(OP, DataType::Int8, false))]);
    columns.push(operations);
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
}
