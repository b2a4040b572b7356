//! What a load's writer does: rows to memtables, and the end.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tarn_proto::{TabletId, wire};

use super::rows::stored;
use super::{Load, TabletLoad};
use crate::engine::blocking;
use crate::memtable::{Memtable, bytes_of, compact};
use crate::record::Change;
use crate::{Error, Result};

/// When the node's budget is more than half spent and a flush thread is idle, the largest memtable goes early if it is
/// at least so large: smaller segments would cost readers more than the overlap gains.
const EARLY_FLUSH_BYTES: u64 = 16 << 20;

/// Writes one transaction's rows. Dropping it without [`LoadWriter::finish`] forgets them.
pub struct LoadWriter {
    pub(super) load: Arc<Load>,
    /// How long it waits for tablets of too many rowsets, all together; set when it first does.
    crowded_until: Option<tokio::time::Instant>,
}

impl LoadWriter {
    pub(crate) const fn new(load: Arc<Load>) -> Self {
        Self { load, crowded_until: None }
    }

    /// Adds rows to a tablet, in any order; columns as the load's schema declares them, in a PRIMARY KEY table followed by
    /// [`tarn_proto::schema::OP`] if there are rows to delete. Waits while the node's write buffers are full, and at first for a tablet
    /// that is not here yet, a few seconds, or has far too many rowsets to be compacted. Of a load that deletes, the rows do not count: they say in which tablet.
    pub async fn write(&mut self, id: TabletId, rows: RecordBatch) -> Result<()> {
        let engine = &self.load.engine;
        self.load.check()?;
        let known = self.load.state.lock().tablets.get(&id).map(|t| (t.tablet.clone(), t.shape.clone()));
        let (tablet, target) = match known {
            Some(known) => known,
            None => {
                let tablet = engine.tablet_soon(id).await?;
                tablet.check_writable()?;
                engine.wait_for_compaction(&tablet, &mut self.crowded_until).await;
                let shape = self.load.shape_in(&tablet)?;
                (tablet, shape)
            }
        };
        tablet.check_writable()?;
        if let Some(Change::Delete(_)) = self.load.change {
            self.load.state.lock().tablets.entry(id).or_insert_with(|| TabletLoad::new(tablet, target));
            return Ok(());
        }
        if rows.num_rows() == 0 {
            return Ok(());
        }
        // Rather than when they are flushed, which may be long after.
        engine.disk.admit(0)?;
        let shape = &self.load.shape;
        let rows = stored(shape, &rows, self.load.condition().is_some());
        let rows = rows.map_err(|source| Error::Rows { tablet: id, source })?;
        let rows = self.load.converted(id, &target, rows)?;
        let rows = compact(rows);
        let reserved = engine.budget.reserve(bytes_of(&rows), || engine.flush_largest(1)).await;

        let mut state = self.load.state.lock();
        let load = state.tablets.entry(id).or_insert_with(|| TabletLoad::new(tablet, target));
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

impl Drop for LoadWriter {
    fn drop(&mut self) {
        self.load.abandon();
    }
}
