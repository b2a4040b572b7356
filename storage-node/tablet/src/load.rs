//! The write side of one transaction: memtables by tablet, flushed to segments in the background, sealed at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{TabletId, TxnId, segment, wire};
use tokio::sync::Notify;

use crate::engine::commit::{Finished, rowset_of};
use crate::engine::{Engine, blocking};
use crate::memtable::{Memtable, bytes_of, compact};
use crate::segment::{TemporarySegment, write_segment};
use crate::tablet::Tablet;
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
}

struct TabletLoad {
    tablet: Arc<Tablet>,
    memtable: Option<Memtable>,
    next_segment: u32,
    /// By number.
    segments: BTreeMap<u32, TemporarySegment>,
}

impl Load {
    /// A load without rows.
    pub(crate) fn new(engine: Arc<Engine>, attempt: Arc<Attempt>) -> Self {
        Self { engine, attempt, state: Mutex::default(), flushed: Notify::new() }
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
            let written = write_segment(&engine.dir, &engine.codec, &tablet, key, load.attempt.number, memtable);
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
        self.engine.end_attempt(&self.attempt);
        let mut state = self.state.lock();
        state.abandoned = true;
        let tablets = std::mem::take(&mut state.tablets);
        drop(state);
        drop(tablets);
    }
}

/// Writes one transaction's rows. Dropping it without [`LoadWriter::finish`] forgets them.
pub struct LoadWriter {
    load: Arc<Load>,
}

impl LoadWriter {
    pub(crate) const fn new(load: Arc<Load>) -> Self {
        Self { load }
    }

    /// Adds rows to a tablet, in any order; columns as declared. Waits while the node's write buffers are full.
    pub async fn write(&mut self, id: TabletId, rows: RecordBatch) -> Result<()> {
        let engine = &self.load.engine;
        self.load.check()?;
        let known = self.load.state.lock().tablets.get(&id).map(|t| t.tablet.clone());
        let tablet = match known {
            Some(tablet) => tablet,
            None => engine.tablet(id)?,
        };
        tablet.check_writable()?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = segment::to_storage(&tablet.schema.columns, &tablet.stored, &rows)
            .map_err(|source| Error::Rows { tablet: id, source })?;
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
        let tablets = std::mem::take(&mut load.state.lock().tablets);
        let finished: Finished =
            tablets.into_iter().map(|(id, t)| (id, (t.tablet, t.segments.into_values().collect::<Vec<_>>()))).collect();
        let (engine, attempt) = (load.engine.clone(), load.attempt.clone());
        blocking("a load", move || engine.seal(&attempt, finished)).await?
    }
}

impl Drop for LoadWriter {
    fn drop(&mut self) {
        self.load.abandon();
    }
}
