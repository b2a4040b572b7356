//! Rows written anew under another schema, in another tablet of the node: the engine's part of a change of columns that reads
//! alone cannot make.
//!
//! ```text
//!  fill   the base's rows at a version ──► converted ──► segments ──► one synced batch: the target is at that version
//!  load   the rowset of one load       ──► converted ──► a pending rowset of the target, of the same id
//!  step   the rowset that the base published next: as a load, then published in the target
//! ```
//!
//! A target is filled once and then follows the base version by version. It is filled anew where that is less work, and where
//! a version is not the plain rows of a load (a DELETE by predicate, a clone) or cannot be told any more. Both give the same rows: values are converted one by one, and rows of equal keys merge to the same whether that is
//! done before or after, for the conversions that are allowed. So replicas that convert by themselves hold the same rows,
//! whatever each has compacted.
//!
//! A crash leaves files that no record names, or a pending rowset; the next call goes on from there. While a base is being
//! followed, it keeps the rowsets that compactions replace.

mod fill;
mod load;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tarn_proto::segment::{Conversion, ConversionError};
use tarn_proto::{RowsetId, TableSchema, TabletId, Version};

use crate::compaction::Stop;
use crate::engine::Engine;
use crate::engine::commit::is_load;
use crate::record::{RowsetRecord, TabletRecord};
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

/// To follow one version costs about as much as to write so many bytes: files and metadata are synced for each. Tests are
/// about following.
const BYTES_OF_A_VERSION: u64 = if cfg!(test) { 0 } else { 1 << 20 };
/// Segments that a conversion holds at most, by their rows' bytes: one as it is buffered, one sorted, one as it is written.
const SEGMENTS_IN_MEMORY: u64 = 3;
/// How long a base keeps superseded rowsets after it was last looked at: its followers ask more often.
const PINNED: Duration = Duration::from_secs(15 * 60);

/// A base and the tablet that gets its rows.
struct Pair {
    base: Arc<Tablet>,
    target: Arc<Tablet>,
    conversion: Conversion,
}

/// What brings a target to its next version.
enum Next {
    /// The base published this rowset.
    Load(RowsetId, Arc<RowsetRecord>),
    /// The base published nothing.
    Nothing,
    /// It is filled.
    Fill,
}

impl Engine {
    /// Lets tablets that are here take a newer schema under which their rows are read as they are. Blocks.
    pub fn adopt(&self, schema: &TableSchema, ids: &[TabletId]) -> Result<()> {
        let shape = Arc::new(Shape::new(schema.clone()));
        for tablet in ids.iter().filter_map(|id| self.tablet(*id).ok()) {
            if !tablet.is_behind(schema) {
                continue;
            }
            let _commit = tablet.commit.lock();
            tablet.check_writable()?;
            // It may have seen a newer one meanwhile.
            if !tablet.is_behind(schema) {
                continue;
            }
            tablet.check_form(schema)?;
            let mut changes = crate::meta::Changes::default();
            changes.put_tablet(tablet.id, &TabletRecord { schema: schema.clone() });
            self.write(changes).inspect_err(|error| tablet.note(error))?;
            tablet.adopt(shape.clone());
            self.note_changed(tablet.id);
        }
        Ok(())
    }

    /// Brings `target`, whose rows look like `to`, to `version` of `base`, whose newest rows look like `from`. Creates it if
    /// it is not there. Fails with [`Error::Misfit`] for a value that does not fit, and with [`Error::Stopped`] if it is told
    /// to stop; the target is then at some version before. One call for a target at a time. Blocks, and works the processor.
    pub fn convert(
        self: &Arc<Self>,
        from: &TableSchema,
        to: &TableSchema,
        base: TabletId,
        target: TabletId,
        version: Version,
        stop: &Stop,
    ) -> Result<()> {
        let pair = self.pair(from, to, base, target)?;
        let now = || pair.target.state.read().version;
        while now() < version {
            stop.check(&pair.target)?;
            pair.pin();
            match self.next(&pair, now().next(), version)? {
                Next::Load(rowset, record) => match self.follow(&pair, now().next(), rowset, &record) {
                    // It may have been deleted by then.
                    Err(Error::Misfit { .. }) => self.fill(&pair, version, stop)?,
                    followed => followed?,
                },
                Next::Nothing => self.publish_nothing(&pair.target, now().next())?,
                Next::Fill => self.fill(&pair, version, stop)?,
            }
        }
        pair.pin();
        Ok(())
    }

    /// Whether a tablet holds a version, and then its rows and the bytes of their segments.
    pub fn converted(&self, target: TabletId, version: Version) -> Option<(u64, u64)> {
        let tablet = self.tablet(target).ok()?;
        let report = tablet.report();
        (report.version >= version.get()).then_some((report.rows, report.bytes))
    }

    /// Memory that one conversion of a base takes at most, about, in bytes: rows of a segment as they are read, sorted and
    /// written, or of several where the target has to be filled.
    pub fn conversion_memory(&self, base: TabletId, target: TabletId) -> u64 {
        let Ok(base) = self.tablet(base) else { return 0 };
        let at = self.tablet(target).map_or(Version::FIRST, |target| target.state.read().version);
        let columns = base.shape().schema.columns.len() as u64;
        let state = base.state.read();
        let newer = |id: RowsetId, record: &RowsetRecord| {
            is_load(id) && record.published().is_none_or(|lifetime| lifetime.version > at)
        };
        let mut rowsets = state.rowsets.iter();
        let fills = at == Version::FIRST || rowsets.any(|(id, record)| newer(*id, record) && record.change.is_some());
        let read =
            state.rowsets.iter().filter(|(id, record)| if fills { record.is_live() } else { newer(**id, record) });
        // As compactions count it, once as read and once as sorted.
        let memory = read.flat_map(|(_, record)| &record.segments).map(|s| 2 * (4 * s.bytes + 16 * s.rows * columns));
        let memory: u64 = if fills { memory.sum() } else { memory.max().unwrap_or_default() };
        memory.min(SEGMENTS_IN_MEMORY * self.options.segment_bytes)
    }

    fn pair(&self, from: &TableSchema, to: &TableSchema, base: TabletId, target: TabletId) -> Result<Pair> {
        self.adopt(from, &[base])?;
        let base = self.tablet(base)?;
        self.create_tablets(to, &[target])?;
        let target = self.tablet(target)?;
        let conversion = Conversion::new(&base.shape().schema, &target.shape().schema);
        Ok(Pair { base, target, conversion })
    }

    /// What brings the target to `next`, which the base has, on the way to `version`.
    fn next(&self, pair: &Pair, next: Version, version: Version) -> Result<Next> {
        let state = pair.base.state.read();
        if version > state.version {
            return Err(Error::FutureVersion { tablet: pair.base.id, current: state.version, version });
        }
        let live: u64 = state.rowsets.values().filter(|record| record.is_live()).map(|record| record.bytes()).sum();
        let behind = version.get() - next.get() + 1;
        // Up to its oldest version the base may have come by a clone, or have forgotten what it published.
        let is_new = next == Version::FIRST.next();
        if is_new || next <= state.oldest || live < behind.saturating_mul(BYTES_OF_A_VERSION) {
            return Ok(Next::Fill);
        }
        let published =
            |record: &RowsetRecord| record.published().is_some_and(|l| (l.version, l.since) == (next, next));
        let loaded = state.rowsets.iter().find(|(id, record)| is_load(**id) && published(record));
        Ok(match loaded {
            Some((_, record)) if record.change.is_some() => Next::Fill,
            Some((id, record)) => Next::Load(*id, record.clone()),
            None => Next::Nothing,
        })
    }
}

impl Pair {
    /// Lets the base keep what compactions replace for a while.
    fn pin(&self) {
        self.base.superseded.lock().pin(Instant::now() + PINNED);
    }

    /// The error for rows that cannot be converted.
    fn refused(&self, error: ConversionError) -> Error {
        match error {
            ConversionError::Misfit(misfit) => Error::Misfit { tablet: self.base.id, misfit },
            ConversionError::Arrow(source) => Error::Rows { tablet: self.base.id, source },
        }
    }
}
