//! Superseded rowsets: what a compaction replaced stays for those who read older versions, until nobody has read any of a
//! tablet's for a while.
//!
//! A reader holds a manifest, not a lock: the engine sees it only when it asks for bytes. So a rowset goes when it has been
//! superseded and the tablet's superseded rowsets unread for [`Options::retention`](crate::Options), and at the latest
//! after [`LONGEST`] times as long, since a reader may keep to a manifest for ever. A query that comes to a tablet later than
//! that is run again, at a newer version. What is gone is an
//! [`Error::Superseded`] or [`Error::UnknownSegment`], upon which readers take a newer version.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tarn_proto::RowsetId;

use crate::engine::Engine;
use crate::meta::Changes;
use crate::record::VersionRecord;
use crate::tablet::{State, Tablet};
use crate::{Error, Result, metrics};

/// Superseded rowsets that are read go after so many times the retention.
const LONGEST: u32 = 6;

/// A tablet's superseded rowsets.
#[derive(Debug, Default)]
pub(crate) struct Superseded {
    /// Since when the collector knows them.
    known: BTreeMap<RowsetId, Instant>,
    /// Those that it has not seen.
    new: Vec<RowsetId>,
    /// Whether one was read since the collector came by.
    read: bool,
    /// When the collector last learned of a read.
    last_read: Option<Instant>,
    /// Until when all of them stay.
    pinned: Option<Instant>,
}

impl Superseded {
    /// Those of a tablet that was recovered.
    pub(crate) fn of(state: &State) -> Self {
        let new = state.rowsets.iter().filter(|(_, record)| record.is_superseded()).map(|(id, _)| *id).collect();
        Self { new, ..Self::default() }
    }

    /// Adds rowsets.
    pub(crate) fn add(&mut self, rowsets: impl IntoIterator<Item = RowsetId>) {
        self.new.extend(rowsets);
    }

    /// Notes that one of them was read.
    pub(crate) const fn note_read(&mut self) {
        self.read = true;
    }

    /// Keeps all of them until then, at least.
    pub(crate) fn pin(&mut self, until: Instant) {
        self.pinned = self.pinned.max(Some(until));
    }

    /// Those that nobody needs any more.
    fn due(&mut self, now: Instant, retention: Duration) -> Vec<RowsetId> {
        self.known.extend(self.new.drain(..).map(|rowset| (rowset, now)));
        if std::mem::take(&mut self.read) {
            self.last_read = Some(now);
        }
        if self.pinned.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let unread = self.last_read.is_none_or(|read| now.duration_since(read) >= retention);
        let age = if unread { retention } else { retention * LONGEST };
        let due = self.known.iter().filter(|(_, since)| now.duration_since(**since) >= age);
        due.map(|(rowset, _)| *rowset).collect()
    }

    fn remove(&mut self, rowsets: &[RowsetId]) {
        self.known.retain(|rowset, _| !rowsets.contains(rowset));
    }
}

impl Engine {
    /// Removes superseded rowsets that nobody needs any more; `now` must not go back. To be called from time to time:
    /// retention counts from the first call after a rowset was superseded. Returns how many went, or the first failure
    /// after all tablets were tried. Blocks.
    pub fn remove_superseded(&self, now: Instant) -> Result<usize> {
        let mut removed = 0;
        let mut failure = None;
        for tablet in self.all_tablets() {
            let due = tablet.superseded.lock().due(now, self.options.retention);
            if due.is_empty() {
                continue;
            }
            match self.remove_rowsets(&tablet, &due) {
                Ok(rowsets) => removed += rowsets,
                Err(Error::UnknownTablet(_) | Error::Fenced { .. } | Error::Closed { .. }) => {}
                Err(error) => {
                    tablet.note(&error);
                    failure.get_or_insert(error);
                }
            }
        }
        metrics::superseded_removed(removed);
        failure.map_or(Ok(removed), Err)
    }

    /// Returns how many went. A read-only tablet gives back its space, too.
    fn remove_rowsets(&self, tablet: &Tablet, due: &[RowsetId]) -> Result<usize> {
        let _commit = tablet.commit.lock();
        let state = tablet.state.read();
        if state.dropped {
            return Err(tablet.gone());
        }
        if state.unsure {
            // What the store holds of the tablet is known at the next start, and must not be written over before.
            return Ok(0);
        }
        let mut changes = Changes::default();
        let mut gone = Vec::new();
        let mut oldest = state.oldest;
        for rowset in due {
            let Some(record) = state.rowsets.get(rowset) else { continue };
            let Some(until) = record.published().and_then(|lifetime| lifetime.until) else { continue };
            changes.delete_rowset(tablet.id, *rowset);
            gone.push((*rowset, record.clone()));
            oldest = oldest.max(until);
        }
        changes.put_version(tablet.id, VersionRecord { oldest, ..state.versions() });
        drop(state);
        // First the records: files without one are orphans, records without files would be damage.
        self.write(changes)?;
        let mut state = tablet.state.write();
        state.oldest = oldest;
        // A clone may have made one of the others part of the newest version again.
        for (rowset, _) in &gone {
            state.rowsets.remove(rowset);
            state.delete_vectors.retain(|(of, _), _| of != rowset);
        }
        drop(state);
        tablet.superseded.lock().remove(due);
        let removed = gone.len();
        self.remove_objects(tablet, &gone);
        for (rowset, record) in gone {
            self.remove_files(tablet.id, rowset, record.segments.len() as u32);
        }
        self.drop_old_vectors(tablet);
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn superseded_rowsets_go_when_they_were_not_read_for_the_retention() {
        let start = Instant::now();
        let at = |minutes: u32| start + MINUTE * minutes;
        let mut superseded = Superseded::default();
        superseded.add([RowsetId(1)]);
        assert_eq!(superseded.due(at(0), MINUTE * 10), []);
        superseded.note_read();
        assert_eq!(superseded.due(at(5), MINUTE * 10), []);
        superseded.add([RowsetId(2)]);
        assert_eq!(superseded.due(at(11), MINUTE * 10), [], "it was read at minute 5");
        assert_eq!(superseded.due(at(15), MINUTE * 10), [RowsetId(1)]);
        superseded.remove(&[RowsetId(1)]);
        assert_eq!(superseded.due(at(20), MINUTE * 10), []);
        assert_eq!(superseded.due(at(21), MINUTE * 10), [RowsetId(2)]);
    }

    #[test]
    fn pinned_rowsets_stay_until_then() {
        let start = Instant::now();
        let at = |minutes: u32| start + MINUTE * minutes;
        let mut superseded = Superseded::default();
        superseded.add([RowsetId(1)]);
        superseded.pin(at(90));
        superseded.pin(at(20));
        for minutes in [0, 30, 89] {
            assert_eq!(superseded.due(at(minutes), MINUTE * 10), []);
        }
        assert_eq!(superseded.due(at(90), MINUTE * 10), [RowsetId(1)]);
    }

    #[test]
    fn a_reader_cannot_keep_superseded_rowsets_for_ever() {
        let start = Instant::now();
        let mut superseded = Superseded::default();
        superseded.add([RowsetId(1)]);
        for minutes in 0..60 {
            superseded.note_read();
            assert_eq!(superseded.due(start + MINUTE * minutes, MINUTE * 10), []);
        }
        superseded.note_read();
        assert_eq!(superseded.due(start + MINUTE * 60, MINUTE * 10), [RowsetId(1)]);
    }
}
