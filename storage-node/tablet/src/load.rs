//! The write side of one transaction: memtables by tablet, flushed to segments in the background, sealed at the end.

mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tarn_proto::storage::{LoadSpec, SegmentKey};
use tarn_proto::{TableModel, TabletId, TxnId, wire};
use tokio::sync::Notify;

use crate::engine::commit::{Finished, rowset_of};
use crate::engine::{Engine, blocking};
use crate::memtable::Memtable;
use crate::record::Change;
use crate::segment::{TemporarySegment, write_segment};
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

pub use writer::LoadWriter;

/// One attempt to write a transaction.
pub(crate) struct Attempt {
    pub txn: TxnId,
    pub load_id: String,
    /// Unique in this process; part of temporary names.
    pub number: u64,
    /// When it began.
    pub started: Instant,
    /// False once the transaction was aborted or another attempt began.
    pub open: Mutex<bool>,
}

impl Attempt {
    /// An open attempt.
    pub(crate) fn new(txn: TxnId, load_id: String, number: u64) -> Self {
        Self { txn, load_id, number, started: Instant::now(), open: Mutex::new(true) }
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
    /// What it does to rows that are there, beside adding its own.
    change: Option<Change>,
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
    /// What its rows look like here: as the load's, unless the tablet has another form than the load was planned for.
    shape: Arc<Shape>,
    memtable: Option<Memtable>,
    next_segment: u32,
    /// By number.
    segments: BTreeMap<u32, TemporarySegment>,
}

impl TabletLoad {
    /// Without rows.
    const fn new(tablet: Arc<Tablet>, shape: Arc<Shape>) -> Self {
        Self { tablet, shape, memtable: None, next_segment: 0, segments: BTreeMap::new() }
    }
}

impl Load {
    /// A load without rows, of rows that look like `shape`.
    pub(crate) fn new(engine: Arc<Engine>, attempt: Arc<Attempt>, shape: Arc<Shape>, change: Option<Change>) -> Self {
        Self { engine, attempt, shape, change, state: Mutex::default(), flushed: Notify::new() }
    }

    /// The position of the column whose values decide which row of a key counts; none if the last does.
    fn condition(&self) -> Option<usize> {
        match &self.change {
            Some(Change::Update { condition: Some(column), .. }) => self.shape.schema.index_of(column.id),
            _ => None,
        }
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
        let (tablet, shape) = (load.tablet.clone(), load.shape.clone());
        state.in_flight += 1;
        drop(state);
        let load = self.clone();
        // Owned by the load: `finish` waits until none is in flight.
        drop(tarn_proto::task::spawn("segment-flush", async move {
            let result = load.flush(tablet, shape, key, memtable).await;
            load.end_flush(key, result);
        }));
    }

    async fn flush(
        self: &Arc<Self>,
        tablet: Arc<Tablet>,
        shape: Arc<Shape>,
        key: SegmentKey,
        memtable: Memtable,
    ) -> Result<TemporarySegment> {
        let slots = self.engine.flushes.clone();
        let slot = slots.acquire_owned().await.map_err(|_| Error::Background("a segment"))?;
        if self.state.lock().abandoned || !*self.attempt.open.lock() {
            return Err(self.attempt.replaced());
        }
        let (load, of) = (self.clone(), tablet.clone());
        let written = blocking("a segment", move || {
            let engine = &load.engine;
            engine.disk.admit(memtable.reserved())?;
            let (attempt, condition) = (load.attempt.number, load.condition());
            let written = write_segment(&engine.dir, &engine.codec, &shape, key, attempt, memtable, condition);
            written.map_err(|error| of.unless_gone(error)).inspect_err(|error| of.note(error))
        })
        .await??;
        // The way to a storage volume takes time, and no processor.
        drop(slot);
        self.engine.store_segment(&tablet, &written).await.map_err(|error| tablet.unless_gone(error))?;
        Ok(written)
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
        let finished = |t: TabletLoad| (t.tablet, t.shape.schema.version, t.segments.into_values().collect());
        tablets.into_iter().map(|(id, t)| (id, finished(t))).collect()
    }

    /// Makes the segments pending rowsets for as long as somebody waits for them: a writer that goes away never hears of
    /// them, so that nobody would publish or abort them. Blocks.
    fn seal(&self, finished: Finished) -> Result<Vec<wire::RowsetSummary>> {
        let abandoned = || self.state.lock().abandoned;
        let sealed = if abandoned() {
            Err(self.attempt.replaced())
        } else {
            self.engine.seal(&self.attempt, &self.shape, self.change.as_ref(), finished)
        };
        if sealed.is_ok() && abandoned() {
            self.engine.take_back(&self.attempt)?;
        } else {
            self.engine.end_attempt(&self.attempt);
        }
        sealed
    }
}

/// What a load that is planned so does to rows that are there. Refuses what the table's model does not know.
pub(crate) fn change(txn: TxnId, spec: &LoadSpec) -> Result<Option<Change>> {
    let refused = |what| Err(Error::Planned { txn, what });
    let has_keys = spec.schema.model == TableModel::PrimaryKey;
    match (&spec.update, &spec.delete) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => refused("it updates and deletes at once"),
        (None, Some(_)) if has_keys => refused("a PRIMARY KEY table takes rows that delete, not a predicate"),
        (None, Some(predicate)) => Ok(Some(Change::Delete(predicate.clone()))),
        (Some(_), None) if !has_keys => refused("only rows of PRIMARY KEY tables are updated"),
        (Some(update), None) => {
            let is_column = |id| spec.schema.index_of(id).is_some();
            if !update.columns.iter().all(|id| is_column(*id)) {
                return refused("it updates a column that the table does not have");
            }
            if !spec.schema.keys.iter().all(|id| update.columns.contains(id)) {
                return refused("an update has all columns of the key");
            }
            let condition = match update.condition {
                None => None,
                Some(id) if spec.schema.keys.contains(&id) => {
                    return refused("its condition is on a column of the key");
                }
                Some(id) if !update.columns.contains(&id) => {
                    return refused("it does not have the column of its condition");
                }
                Some(id) => spec.schema.index_of(id).map(|index| spec.schema.columns[index].clone()),
            };
            Ok(Some(Change::Update { update: update.clone(), condition }))
        }
    }
}
