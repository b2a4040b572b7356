//! The write side of one transaction: memtables by tablet, flushed to segments in the background, sealed at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use arrow::error::ArrowError;
use parking_lot::Mutex;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{TableModel, TabletId, TxnId, schema, segment, wire};
use tokio::sync::Notify;

use crate::engine::commit::{Finished, rowset_of};
use crate::engine::{Engine, blocking};
use crate::memtable::{Memtable, bytes_of, compact};
use crate::segment::{TemporarySegment, write_segment};
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

/// When the node's budget is more than half spent and a flush thread is idle, the largest memtable goes early if it is
/// at least so large: smaller segments would cost readers more than the overlap gains.
const EARLY_FLUSH_BYTES: u64 = 16 << 20;

/// One attempt to write a transaction.
pub(crate) struct Attempt {
    pub txn: TxnId,
    pub load_id: String,
    /// Unique in this process; part of temporary names.
    pub number: u64,
    /// False once the transaction was aborted or another attempt began.
    pub open: Mutex<bool>,
}

impl Attempt {
    /// An open attempt.
    pub(crate) const fn new(txn: TxnId, load_id: String, number: u64) -> Self {
        Self { txn, load_id, number, open: Mutex::new(true) }
    }

    /// The error for who goes on writing after the end.
    pub(crate) fn replaced(&self) -> Error {
        Error::Replaced { txn: self.txn, load_id: self.load_id.clone() }
    }
}

/// What writers and flushes of a load share.
pub(crate) struct Load {
    engine: Arc<Engine>,
    attempt: Arc<Attempt>,
    /// What the rows look like.
    shape: Arc<Shape>,
    state: Mutex<LoadState>,
    /// Told when a flush ends.
    flushed: Notify,
}

#[derive(Default)]
struct LoadState {
    tablets: HashMap<TabletId, TabletLoad>,
    in_flight: usize,
    failure: Option<Error>,
    /// Whether a failure, taken or not, ended the load.
    failed: bool,
    /// The writer is gone: what is flushed now is of no use.
    abandoned: bool,
    /// The load is being sealed, or was.
    sealing: bool,
}

struct TabletLoad {
    tablet: Arc<Tablet>,
    memtable: Option<Memtable>,
    next_segment: u32,
    /// By number.
    segments: BTreeMap<u32, TemporarySegment>,
}

impl Load {
    /// A load without rows, of rows that look like `shape`.
    pub(crate) fn new(engine: Arc<Engine>, attempt: Arc<Attempt>, shape: Arc<Shape>) -> Self {
        Self { engine, attempt, shape, state: Mutex::default(), flushed: Notify::new() }
    }

    /// Bytes and tablet of the largest memtable.
    pub(crate) fn largest(&self) -> Option<(u64, TabletId)> {
        let state = self.state.lock();
        state.tablets.iter().filter_map(|(id, t)| Some((t.memtable.as_ref()?.reserved(), *id))).max()
    }

    /// Starts to write a tablet's memtable as a segment, if there is one. Needs the runtime's context.
    pub(crate) fn start_flush(self: &Arc<Self>, id: TabletId) {
        let mut state = self.state.lock();
        let Some(load) = state.tablets.get_mut(&id) else { return };
        let Some(memtable) = load.memtable.take() else { return };
        let key = SegmentKey { tablet: id, rowset: rowset_of(self.attempt.txn), segment: load.next_segment };
        load.next_segment += 1;
        let tablet = load.tablet.clone();
        state.in_flight += 1;
        drop(state);
        let load = self.clone();
        // Owned by the load: `finish` waits until none is in flight.
        drop(tarn_proto::task::spawn("segment-flush", async move {
            let result = load.flush(tablet, key, memtable).await;
            load.end_flush(key, result);
        }));
    }

    async fn flush(
        self: &Arc<Self>,
        tablet: Arc<Tablet>,
        key: SegmentKey,
        memtable: Memtable,
    ) -> Result<TemporarySegment> {
        let slots = self.engine.flushes.clone();
        let _slot = slots.acquire_owned().await.map_err(|_| Error::Background("a segment"))?;
        if self.state.lock().abandoned || !*self.attempt.open.lock() {
            return Err(self.attempt.replaced());
        }
        let load = self.clone();
        blocking("a segment", move || {
            let engine = &load.engine;
            let written = write_segment(&engine.dir, &engine.codec, &load.shape, key, load.attempt.number, memtable);
            written.inspect_err(|error| tablet.note(error))
        })
        .await?
    }

    fn end_flush(&self, key: SegmentKey, result: Result<TemporarySegment>) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        match result {
            Ok(segment) if !state.abandoned => {
                if let Some(load) = state.tablets.get_mut(&key.tablet) {
                    load.segments.insert(key.segment, segment);
                }
            }
            Ok(unwanted) => {
                drop(state);
                drop(unwanted);
            }
            Err(error) => {
                if !state.failed {
                    state.failed = true;
                    state.failure = Some(error);
                }
            }
        }
        self.flushed.notify_one();
    }

    /// The reason to stop, if there is one.
    fn check(&self) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if state.failed {
            return Err(Error::Failed(self.attempt.txn));
        }
        drop(state);
        // The lock is held for long only by a seal, which comes after the last write.
        if *self.attempt.open.lock() { Ok(()) } else { Err(self.attempt.replaced()) }
    }

    fn abandon(&self) {
        let mut state = self.state.lock();
        state.abandoned = true;
        let sealing = state.sealing;
        let tablets = std::mem::take(&mut state.tablets);
        drop(state);
        drop(tablets);
        // A seal holds the lock for long, and ends the attempt itself.
        if !sealing {
            *self.attempt.open.lock() = false;
            self.engine.end_attempt(&self.attempt);
        }
    }

    /// Takes the segments out to be sealed. From now on [`Self::seal`] ends the attempt.
    fn start_seal(&self) -> Finished {
        let mut state = self.state.lock();
        state.sealing = true;
        let tablets = std::mem::take(&mut state.tablets);
        drop(state);
        tablets.into_iter().map(|(id, t)| (id, (t.tablet, t.segments.into_values().collect()))).collect()
    }

    /// Makes the segments pending rowsets for as long as somebody waits for them: a writer that goes away never hears of
    /// them, so that nobody would publish or abort them. Blocks.
    fn seal(&self, finished: Finished) -> Result<Vec<wire::RowsetSummary>> {
        let abandoned = || self.state.lock().abandoned;
        let sealed = if abandoned() {
            Err(self.attempt.replaced())
        } else {
            self.engine.seal(&self.attempt, &self.shape, finished)
        };
        if sealed.is_ok() && abandoned() {
            self.engine.take_back(&self.attempt)?;
        } else {
            self.engine.end_attempt(&self.attempt);
        }
        sealed
    }
}

/// Writes one transaction's rows. Dropping it without [`LoadWriter::finish`] forgets them.
pub struct LoadWriter {
    load: Arc<Load>,
    /// How long it waits for tablets of too many rowsets, all together; set when it first does.
    crowded_until: Option<tokio::time::Instant>,
}

impl LoadWriter {
    pub(crate) const fn new(load: Arc<Load>) -> Self {
        Self { load, crowded_until: None }
    }

    /// Adds rows to a tablet, in any order; columns as the load's schema declares them, in a PRIMARY KEY table followed by
    /// [`schema::OP`] if there are rows to delete. Waits while the node's write buffers are full, and at first for a tablet
    /// that has far too many rowsets to be compacted.
    pub async fn write(&mut self, id: TabletId, rows: RecordBatch) -> Result<()> {
        let engine = &self.load.engine;
        self.load.check()?;
        let known = self.load.state.lock().tablets.get(&id).map(|t| t.tablet.clone());
        let tablet = match known {
            Some(tablet) => tablet,
            None => {
                let tablet = engine.tablet(id)?;
                tablet.check_writable()?;
                engine.wait_for_compaction(&tablet, &mut self.crowded_until).await;
                tablet
            }
        };
        tablet.check_writable()?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let shape = &self.load.shape;
        let rows = stored(shape, &rows).map_err(|source| Error::Rows { tablet: id, source })?;
        let rows = compact(rows);
        let reserved = engine.budget.reserve(bytes_of(&rows), || engine.flush_largest(1)).await;

        let mut state = self.load.state.lock();
        let load = state.tablets.entry(id).or_insert_with(|| TabletLoad {
            tablet,
            memtable: None,
            next_segment: 0,
            segments: BTreeMap::new(),
        });
        let bytes = match &mut load.memtable {
            Some(memtable) => {
                memtable.push(rows, reserved);
                memtable.reserved()
            }
            empty => empty.insert(Memtable::new(rows, reserved)).reserved(),
        };
        drop(state);
        if bytes >= engine.options.segment_bytes {
            self.load.start_flush(id);
        } else if engine.budget.is_tight() && engine.flushes.available_permits() > 0 {
            engine.flush_largest(EARLY_FLUSH_BYTES);
        }
        engine.budget.touch();
        Ok(())
    }

    /// Writes what is left and returns one rowset for each tablet that got rows, all durable and pending.
    pub async fn finish(self) -> Result<Vec<wire::RowsetSummary>> {
        let load = &self.load;
        let ids: Vec<TabletId> = load.state.lock().tablets.keys().copied().collect();
        for id in ids {
            load.start_flush(id);
        }
        loop {
            let flushed = load.flushed.notified();
            if load.state.lock().in_flight == 0 {
                break;
            }
            flushed.await;
        }
        load.check()?;
        let finished = load.start_seal();
        let load = load.clone();
        blocking("a load", move || load.seal(finished)).await?
    }
}

/// Rows as memtables hold them: as segments do, and in a PRIMARY KEY table with what each row does ([`schema::OP`]) as the
/// last column, whether the batch says so or not.
fn stored(shape: &Shape, rows: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = &shape.schema.columns;
    if shape.schema.model != TableModel::PrimaryKey {
        return segment::to_storage(columns, &shape.stored, rows);
    }
    let last = rows.schema_ref().fields().last();
    let operations = last.is_some_and(|field| field.name() == schema::OP).then(|| rows.num_columns() - 1);
    let operation: ArrayRef = match operations {
        Some(position) => rows.column(position).clone(),
        None => Arc::new(Int8Array::from_value(schema::OP_UPSERT, rows.num_rows())),
    };
    let known = operation.as_primitive_opt::<Int8Type>().is_some_and(|numbers| {
        numbers.null_count() == 0 && numbers.values().iter().all(|n| [schema::OP_UPSERT, schema::OP_DELETE].contains(n))
    });
    if !known {
        return Err(ArrowError::InvalidArgumentError(format!(
            "column `{}` must be {} or {} in every row",
            schema::OP,
            schema::OP_UPSERT,
            schema::OP_DELETE
        )));
    }
    let values = rows.project(&(0..operations.unwrap_or(rows.num_columns())).collect::<Vec<_>>())?;
    let values = segment::to_storage(columns, &shape.stored, &values)?;
    let (stored, mut arrays, _) = values.into_parts();
    let fields = stored.fields().iter().cloned().chain([Arc::new(Field::new(schema::OP, DataType::Int8, false))]);
    arrays.push(operation);
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays)
}

impl Drop for LoadWriter {
    fn drop(&mut self) {
        self.load.abandon();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use tarn_proto::storage::PublishTablet;
    use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableSchema, Version};

    use super::*;
    use crate::engine::Options;

    const TABLET: TabletId = TabletId(5);

    /// An engine whose one tablet got rows under transaction 9, as segments that are not sealed yet.
    async fn flushed() -> (tempfile::TempDir, Arc<Engine>, LoadWriter) {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        let key = Column {
            id: ColumnId(1),
            name: "k".into(),
            data_type: DataType::BigInt,
            nullable: false,
            aggregation: None,
            initial: None,
        };
        let schema = TableSchema {
            model: TableModel::Duplicate,
            keys: Vec::new(),
            version: SchemaVersion(1),
            columns: vec![key],
            sort_key: vec![ColumnId(1)],
        };
        engine.create_tablets(&schema, &[TABLET]).unwrap();
        let mut writer = engine.begin(TxnId(9), "a", &schema).await.unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        writer.write(TABLET, RecordBatch::try_new(schema.to_arrow(), vec![keys]).unwrap()).await.unwrap();
        writer.load.start_flush(TABLET);
        let in_flight = writer.load.state.lock().in_flight;
        if in_flight > 0 {
            writer.load.flushed.notified().await;
        }
        (folder, engine, writer)
    }

    #[tokio::test]
    async fn a_seal_that_waits_for_its_turn_when_its_writer_leaves_keeps_nothing() {
        let (_folder, engine, writer) = flushed().await;
        let load = writer.load.clone();
        let finished = load.start_seal();
        assert_eq!(finished[&TABLET].1.len(), 1);
        drop(writer);
        assert!(matches!(load.seal(finished), Err(Error::Replaced { .. })));
        assert_eq!((engine.usage().bytes, engine.usage().loads), (0, 0));
    }

    #[tokio::test]
    async fn what_was_sealed_while_its_writer_left_is_taken_back() {
        let (_folder, engine, writer) = flushed().await;
        let load = writer.load.clone();
        let finished = load.start_seal();
        engine.seal(&load.attempt, &load.shape, finished).unwrap();
        assert!(engine.usage().bytes > 0);
        drop(writer);
        engine.take_back(&load.attempt).unwrap();
        assert_eq!((engine.usage().bytes, engine.usage().loads), (0, 0));
    }

    #[tokio::test]
    async fn what_is_finished_stays_until_it_is_aborted() {
        let (_folder, engine, writer) = flushed().await;
        assert_eq!(writer.finish().await.unwrap()[0].rows, 100);
        assert!(engine.usage().bytes > 0 && engine.usage().loads == 0);
        engine.abort(TxnId(9)).unwrap();
        assert_eq!(engine.usage().bytes, 0);
    }

    fn key_table(version: u32, columns: &[u32]) -> TableSchema {
        let column = |id: &u32| Column {
            id: ColumnId(*id),
            name: format!("k{id}"),
            data_type: DataType::BigInt,
            nullable: false,
            aggregation: None,
            initial: Some("7".to_owned()),
        };
        TableSchema {
            model: TableModel::Duplicate,
            keys: Vec::new(),
            version: SchemaVersion(version),
            columns: columns.iter().map(column).collect(),
            sort_key: vec![ColumnId(1)],
        }
    }

    /// Loads a row under a schema and publishes it.
    async fn load_under(engine: &Arc<Engine>, schema: &TableSchema, version: u64) {
        let txn = TxnId(100 + version);
        let mut writer = engine.begin(txn, "a", schema).await.unwrap();
        let columns = schema.columns.iter().map(|_| Arc::new(Int64Array::from(vec![5])) as ArrayRef).collect();
        writer.write(TABLET, RecordBatch::try_new(schema.to_arrow(), columns).unwrap()).await.unwrap();
        writer.finish().await.unwrap();
        let publish = PublishTablet { tablet: TABLET, version: Version(version), has_rowset: true };
        engine.publish(txn, &[publish]).unwrap();
    }

    #[tokio::test]
    async fn a_tablet_keeps_the_newest_schema_that_a_load_had() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second, third) = (key_table(1, &[1]), key_table(2, &[2, 1]), key_table(3, &[1, 3]));
        {
            let engine = Engine::open(Options::new(folder.path())).unwrap();
            engine.create_tablets(&first, &[TABLET]).unwrap();
            load_under(&engine, &second, 2).await;
            assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, second);
            // Planned before the change and committed after it: its rows are what it planned, the tablet stays ahead.
            load_under(&engine, &first, 3).await;
            assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, second);
        }
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, second);
        load_under(&engine, &third, 4).await;
        let manifest = engine.manifests(&[(TABLET, Version(4))]).unwrap().remove(0);
        let versions: Vec<u32> = manifest.rowsets.iter().map(|rowset| rowset.schema_version).collect();
        assert_eq!(versions, [2, 1, 3]);
        // What is aborted has been seen all the same.
        let fourth = key_table(4, &[1]);
        let mut writer = engine.begin(TxnId(900), "a", &fourth).await.unwrap();
        let key: ArrayRef = Arc::new(Int64Array::from(vec![5]));
        writer.write(TABLET, RecordBatch::try_new(fourth.to_arrow(), vec![key]).unwrap()).await.unwrap();
        writer.finish().await.unwrap();
        engine.abort(TxnId(900)).unwrap();
        assert_eq!(engine.tablet(TABLET).unwrap().shape().schema, fourth);
    }
}
