//! Indexes of segments that were written without them: made in the background, one segment at a time.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tarn_proto::index::Class;
use tarn_proto::storage::{IndexKey, SegmentKey};
use tarn_proto::{Column, RowsetId, TableSchema};
use tracing::{debug, warn};

use super::build::{Builder, file_of};
use crate::compaction::Stop;
use crate::compaction::read::Reader;
use crate::engine::Engine;
use crate::error::IoContext;
use crate::layout::sync_dir;
use crate::meta::Changes;
use crate::record::{IndexRecord, RowsetRecord, SegmentRecord};
use crate::segment::write_synced;
use crate::tablet::{State, Tablet};
use crate::{Result, metrics};

/// Rows that are decoded at a time.
const READ_ROWS: u64 = 65_536;

/// An index that could not be made is tried again after so long.
const RETRY: Duration = Duration::from_secs(60);

/// What [`Engine::make_indexes`] remembers from call to call.
#[derive(Debug, Default)]
pub struct IndexWork {
    /// What failed, and when.
    failed: HashMap<(SegmentKey, IndexKey), Instant>,
}

/// The indexes of a segment that have to be made or go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub lacking: Vec<IndexKey>,
    pub unwanted: Vec<IndexKey>,
}

/// How a segment's indexes differ from those of the schema. `is_there` says whether the file of one is.
pub(super) fn difference(
    schema: &TableSchema,
    segment: &SegmentRecord,
    is_there: impl Fn(IndexKey) -> bool,
) -> Difference {
    let wanted: Vec<IndexKey> =
        schema.indexes.iter().map(|index| IndexKey { column: index.column, kind: index.kind }).collect();
    let has = |key: IndexKey| segment.index(key).is_some_and(|index| index.file.is_none() || is_there(key));
    let unwanted = segment.indexes.iter().map(IndexRecord::key).filter(|key| !wanted.contains(key)).collect();
    let lacking = if segment.rows == 0 { Vec::new() } else { wanted.into_iter().filter(|key| !has(*key)).collect() };
    Difference { lacking, unwanted }
}

/// Segments of a tablet's newest version that lack an index of the schema.
pub(crate) fn segments_without(schema: &TableSchema, state: &State) -> u64 {
    if schema.indexes.is_empty() {
        return 0;
    }
    let live = state.rowsets.values().filter(|record| record.is_live());
    let segments = live.flat_map(|record| &record.segments);
    segments.filter(|segment| !difference(schema, segment, |_| true).lacking.is_empty()).count() as u64
}

/// Whether a tablet has indexes, or files of some that it had.
fn has_indexes(tablet: &Tablet) -> bool {
    !tablet.shape().schema.indexes.is_empty()
        || tablet.state.read().rowsets.values().any(|r| r.segments.iter().any(|s| !s.indexes.is_empty()))
}

impl Engine {
    /// Makes the indexes that segments of the newest versions lack, and removes those that no schema has any more, until
    /// all is done or `stop` says so. What fails is logged and tried again by a later call. Returns how many were made.
    /// Blocks; does the processor's work on the calling thread.
    pub fn make_indexes(&self, work: &mut IndexWork, now: Instant, stop: &Stop) -> usize {
        work.failed.retain(|_, since| now.saturating_duration_since(*since) < RETRY);
        let mut made = 0;
        for tablet in self.all_tablets() {
            if tablet.check_writable().is_err() || !has_indexes(&tablet) {
                continue;
            }
            let rowsets: Vec<(RowsetId, Arc<RowsetRecord>)> = {
                let state = tablet.state.read();
                state.rowsets.iter().filter(|(_, r)| r.is_live()).map(|(id, r)| (*id, r.clone())).collect()
            };
            for (rowset, record) in rowsets {
                for (number, segment) in (0..).zip(&record.segments) {
                    if stop.is_asked() {
                        return made;
                    }
                    let key = SegmentKey { tablet: tablet.id, rowset, segment: number };
                    made += self.complete(&tablet, key, segment, work, now);
                }
            }
        }
        made
    }

    /// Brings a segment's indexes to what the schema has. Returns how many were made.
    fn complete(
        &self,
        tablet: &Tablet,
        key: SegmentKey,
        segment: &SegmentRecord,
        work: &mut IndexWork,
        now: Instant,
    ) -> usize {
        let shape = tablet.shape();
        if shape.schema.indexes.is_empty() && segment.indexes.is_empty() {
            return 0;
        }
        let files = self.dir.segment(key);
        let Difference { lacking, unwanted } = difference(&shape.schema, segment, |index| {
            // What a volume's node lacks it fetches.
            tablet.owned.is_some() || files.index(index).is_file()
        });
        let mut made = Vec::new();
        for index in lacking {
            if work.failed.contains_key(&(key, index)) {
                continue;
            }
            match self.make_index(&shape.schema, key, segment, index) {
                Ok(record) => made.push(record),
                Err(error) => {
                    let gone = !tablet.state.read().rowsets.contains_key(&key.rowset);
                    if !gone {
                        let reason = tarn_proto::error::chain(&error);
                        let (tablet, rowset, segment) = (key.tablet, key.rowset, key.segment);
                        let column = index.column;
                        warn!(%tablet, %rowset, segment, %column, reason, "cannot make an index; it is tried again later");
                    }
                    work.failed.insert((key, index), now);
                }
            }
        }
        if made.is_empty() && unwanted.is_empty() {
            return 0;
        }
        let count = made.len();
        let stored = self.store_indexes(key, &SegmentRecord { indexes: made.clone(), ..segment.clone() });
        match stored.and_then(|()| self.record_indexes(tablet, key, segment, made, &unwanted)) {
            Ok(()) => {
                for index in &unwanted {
                    let _ = fs::remove_file(files.index(*index));
                }
                metrics::indexes_made(count);
                count
            }
            Err(error) => {
                let reason = tarn_proto::error::chain(&error);
                warn!(tablet = %key.tablet, reason, "cannot record the indexes of a segment");
                0
            }
        }
    }

    /// Reads a column of a segment and writes the file of an index of it, if it helps.
    fn make_index(
        &self,
        schema: &TableSchema,
        key: SegmentKey,
        segment: &SegmentRecord,
        index: IndexKey,
    ) -> Result<IndexRecord> {
        let record = |file| IndexRecord { column: index.column, kind: index.kind, file };
        let column: Option<&Column> = schema.index_of(index.column).map(|position| &schema.columns[position]);
        let Some((column, class)) = column.and_then(|column| Some((column, Class::of(&column.data_type)?))) else {
            return Ok(record(None));
        };
        let mut builder = Builder::new(index.kind, class);
        let mut rows = Reader::new(READ_ROWS).columns(self, key, segment, vec![column.clone()], None)?;
        while let Some(batch) = rows.next()? {
            if !builder.push(batch.column(0)) {
                return Ok(record(None));
            }
        }
        let Some(bytes) = builder.finish(key, index) else { return Ok(record(None)) };
        let attempt = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let (temporary, path) = (self.dir.temporary(key, attempt).index(index), self.dir.segment(key).index(index));
        write_synced(&temporary, &bytes)?;
        fs::rename(&temporary, &path).doing("rename", &temporary)?;
        sync_dir(&self.dir.tablet(key.tablet))?;
        let (tablet, rowset, segment) = (key.tablet, key.rowset, key.segment);
        debug!(%tablet, %rowset, segment, column = %index.column, bytes = bytes.len(), "made an index");
        Ok(record(Some(file_of(&bytes))))
    }

    /// Adds what is known of indexes to the record of a segment, durably, and takes from it those that go.
    fn record_indexes(
        &self,
        tablet: &Tablet,
        key: SegmentKey,
        segment: &SegmentRecord,
        made: Vec<IndexRecord>,
        unwanted: &[IndexKey],
    ) -> Result<()> {
        let _commit = tablet.commit.lock();
        tablet.check_writable()?;
        let record = tablet.state.read().rowsets.get(&key.rowset).cloned();
        // A repair may have put another file in its place.
        let record = record.filter(|record| {
            let now = record.segments.get(key.segment as usize);
            now.is_some_and(|now| {
                (now.rows, now.bytes, now.checksum) == (segment.rows, segment.bytes, segment.checksum)
            })
        });
        let Some(record) = record else {
            // It went meanwhile, and what was made for it is of no use.
            let files = self.dir.segment(key);
            made.iter().for_each(|index| drop(fs::remove_file(files.index(index.key()))));
            return Ok(());
        };
        let mut record = RowsetRecord::clone(&record);
        let indexes = &mut record.segments[key.segment as usize].indexes;
        indexes
            .retain(|index| !unwanted.contains(&index.key()) && !made.iter().any(|other| other.key() == index.key()));
        indexes.extend(made);
        let mut changes = Changes::default();
        changes.put_rowset(tablet.id, key.rowset, &record);
        self.write(changes).inspect_err(|error| tablet.note(error))?;
        tablet.state.write().rowsets.insert(key.rowset, Arc::new(record));
        Ok(())
    }
}
