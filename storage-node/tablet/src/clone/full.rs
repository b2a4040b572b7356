//! A replica that takes over all of another one: rowsets that both have stay, the others are fetched, and all of it
//! becomes the replica's in one synced batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tarn_proto::{RowsetId, TableModel, TabletId};

use super::fetch::fetch;
use super::offered::Offered;
use super::{Pace, Source, same_files};
use crate::engine::commit::is_load;
use crate::engine::{Engine, blocking};
use crate::meta::Changes;
use crate::primary::DeleteVector;
use crate::record::{Lifetime, RowsetRecord, RowsetState, TabletRecord, VersionRecord};
use crate::segment::TemporarySegment;
use crate::tablet::{Shape, State, Tablet};
use crate::{Error, Result, metrics};

/// Rowsets that were fetched.
pub(super) type Fetched = BTreeMap<RowsetId, Vec<TemporarySegment>>;

impl Engine {
    /// Fetches the files of the source's newest version that are not here, beside those fetched before. What the source
    /// does not list any more goes.
    pub(super) async fn fetch_lacking(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        offer: &Offered,
        source: &impl Source,
        pace: &Pace,
        fetched: &mut Fetched,
    ) -> Result<()> {
        let listed: BTreeMap<RowsetId, &RowsetRecord> =
            offer.live().map(|(id, record)| (*id, record.as_ref())).collect();
        fetched.retain(|id, segments| listed.get(id).is_some_and(|record| are_of(segments, record)));
        let has_keys = offer.schema.model == TableModel::PrimaryKey;
        let lacking: Vec<_> = {
            let state = tablet.state.read();
            offer.live().filter(|(id, record)| !is_whole(tablet, &state, *id, record)).cloned().collect()
        };
        self.disk.admit(lacking.iter().map(|(_, record)| record.bytes()).sum())?;
        for (id, record) in lacking {
            if let std::collections::btree_map::Entry::Vacant(place) = fetched.entry(id) {
                place.insert(fetch(self, source, pace, tablet.id, id, &record, has_keys).await?);
            }
        }
        Ok(())
    }

    /// Makes the tablet what the source was, unless it has gone on meanwhile, beyond that: there is no way back. What was
    /// fetched and is not needed goes.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        offer: Offered,
        fetched: Fetched,
        repair: bool,
    ) -> Result<()> {
        let (engine, tablet) = (self.clone(), tablet.clone());
        blocking("a clone", move || engine.commit_clone(&tablet, &offer, fetched, repair)).await?
    }

    fn commit_clone(&self, tablet: &Arc<Tablet>, offer: &Offered, mut fetched: Fetched, repair: bool) -> Result<()> {
        let _commit = tablet.commit.lock();
        tablet.check_writable()?;
        let before = tablet.state.read().clone();
        if before.version > offer.version || (!repair && before.version == offer.version) {
            return Ok(());
        }
        // Rowsets that were to be kept may have gone meanwhile; others may have come.
        let mut named = Vec::new();
        for (id, record) in offer.live() {
            match fetched.remove(id) {
                _ if is_whole(tablet, &before, *id, record) => {}
                Some(segments) => named.push((*id, record, segments)),
                None => {
                    let (tablet, rowset) = (tablet.id, *id);
                    let what = "it was compacted away here while others were fetched".to_owned();
                    return Err(Error::Copy { tablet, rowset, source_node: "this node".to_owned(), what });
                }
            }
        }
        for (id, record, _) in &named {
            self.forget_other(tablet, &before, *id, record)?;
        }
        let fetched: BTreeSet<RowsetId> = named.iter().map(|(id, ..)| *id).collect();
        let segments = named.into_iter().flat_map(|(_, _, segments)| segments).collect();
        self.name_copies(tablet, segments)?;
        self.open.retain(|key| key.tablet != tablet.id || !fetched.contains(&key.rowset));

        let next = Next::of(&before, offer, &fetched);
        let shape = tablet.is_behind(&offer.schema).then(|| Arc::new(Shape::new(offer.schema.clone())));
        let changes = next.changes(tablet.id, &before, shape.as_deref());
        self.write(changes).inspect_err(|error| tablet.note(error))?;

        if let Some(shape) = shape {
            tablet.adopt(shape);
        }
        let mut state = tablet.state.write();
        state.version = offer.version;
        state.oldest = offer.version;
        state.clones += 1;
        state.delete_vectors = next.delete_vectors;
        next.stale.iter().for_each(|(id, _)| drop(state.rowsets.remove(id)));
        state.rowsets.extend(next.rowsets.into_iter().map(|(id, record)| (id, Arc::new(record))));
        let whole: BTreeSet<RowsetId> = state.live().into_iter().map(|(id, ..)| id).collect();
        drop(state);
        tablet.damaged.lock().retain(|id, _| !whole.contains(id));
        tablet.unmergeable.lock().retain(|id| !whole.contains(id));
        tablet.superseded.lock().add(next.ended);
        next.stale.iter().for_each(|(id, segments)| self.remove_files(tablet.id, *id, *segments));
        self.forget_entered(tablet, &whole);
        self.primary.forget(tablet.id);
        tablet.relieved.notify_waiters();
        self.note_changed(tablet.id);
        metrics::caught_up("clone");
        Ok(())
    }

    /// Forgets what has a fetched rowset's id and is not the same, if it is a pending one, of an attempt that came to
    /// nothing. What is published stays up to the commit and is written over: a damaged one by the bytes that it should have,
    /// an update's, of which each replica has files of its own, by those that the source's delete vectors are about. A crash
    /// before the commit leaves files that do not fit their record, which is noticed as damage.
    fn forget_other(&self, tablet: &Tablet, state: &State, id: RowsetId, record: &RowsetRecord) -> Result<()> {
        let is_other = |other: &&Arc<RowsetRecord>| other.is_pending() && !same_files(other, record);
        let Some(other) = state.rowsets.get(&id).filter(is_other) else { return Ok(()) };
        let mut changes = Changes::default();
        changes.delete_rowset(tablet.id, id);
        self.write(changes).inspect_err(|error| tablet.note(error))?;
        tablet.state.write().rowsets.remove(&id);
        self.remove_files(tablet.id, id, other.segments.len() as u32);
        Ok(())
    }

    /// Transactions whose rowsets are published by a clone wait no longer.
    fn forget_entered(&self, tablet: &Tablet, live: &BTreeSet<RowsetId>) {
        let state = tablet.state.read();
        let entered: BTreeSet<_> = live.iter().filter_map(|id| Some(state.rowsets.get(id)?.txn)).collect();
        let waits: BTreeSet<_> = state.rowsets.values().filter(|r| r.is_pending()).map(|r| r.txn).collect();
        drop(state);
        let mut pending = self.pending.lock();
        for txn in entered.difference(&waits) {
            if let Some(tablets) = pending.get_mut(txn) {
                tablets.remove(&tablet.id);
                if tablets.is_empty() {
                    pending.remove(txn);
                }
            }
        }
    }
}

/// Whether fetched segments are those of a record.
fn are_of(segments: &[TemporarySegment], record: &RowsetRecord) -> bool {
    let files = segments.iter().map(|segment| (segment.record.bytes, segment.record.checksum));
    files.eq(record.segments.iter().map(|segment| (segment.bytes, segment.checksum)))
}

/// Whether a tablet has a rowset of these files, and they are not known to be damaged.
fn is_whole(tablet: &Tablet, state: &State, id: RowsetId, record: &RowsetRecord) -> bool {
    let here = state.rowsets.get(&id).is_some_and(|ours| same_files(ours, record));
    here && !tablet.damaged.lock().contains_key(&id)
}

/// What a clone makes of a tablet.
struct Next {
    versions: VersionRecord,
    /// Those that change.
    rowsets: BTreeMap<RowsetId, RowsetRecord>,
    /// All that there are then.
    delete_vectors: BTreeMap<(RowsetId, u32), DeleteVector>,
    /// Rowsets that the tablet lists no longer.
    ended: Vec<RowsetId>,
    /// Pending rowsets, and their numbers of segments, of loads that are published in another form.
    stale: Vec<(RowsetId, u32)>,
}

impl Next {
    fn of(before: &State, offer: &Offered, fetched: &BTreeSet<RowsetId>) -> Self {
        let at = offer.version;
        let mut rowsets = BTreeMap::new();
        for (id, record) in offer.live() {
            // Files that are made of a segment afterwards are each replica's own.
            let ours = before.rowsets.get(id).filter(|_| !fetched.contains(id));
            let segments =
                ours.map_or_else(|| record.as_ref().clone().without_indexes().segments, |o| o.segments.clone());
            rowsets.insert(*id, RowsetRecord { segments, ..record.as_ref().clone() });
        }
        let mut ended = Vec::new();
        for (id, record) in &before.rowsets {
            let Some(lifetime) = record.published().filter(|l| l.until.is_none() && !rowsets.contains_key(id)) else {
                continue;
            };
            ended.push(*id);
            let state = RowsetState::Published(Lifetime { until: Some(at), ..lifetime });
            rowsets.insert(*id, RowsetRecord { state, ..record.as_ref().clone() });
        }
        let loaded: BTreeSet<_> = offer.live().filter(|(id, _)| is_load(*id)).map(|(_, record)| record.txn).collect();
        let stale = before
            .rowsets
            .iter()
            .filter(|(id, record)| record.is_pending() && loaded.contains(&record.txn) && !rowsets.contains_key(id));
        let stale = stale.map(|(id, record)| (*id, record.segments.len() as u32)).collect();
        let listed: BTreeSet<RowsetId> = offer.live().map(|(id, _)| *id).collect();
        let vectors = offer.delete_vectors.iter().filter(|((rowset, _), _)| listed.contains(rowset));
        Self {
            versions: VersionRecord { version: at, oldest: at },
            rowsets,
            delete_vectors: vectors.cloned().collect(),
            ended,
            stale,
        }
    }

    fn changes(&self, tablet: TabletId, before: &State, shape: Option<&Shape>) -> Changes {
        let mut changes = Changes::default();
        // Those of rowsets that stay are the source's from now on; nobody reads older versions any more.
        changes.delete_vectors(tablet);
        for ((rowset, segment), vector) in &self.delete_vectors {
            changes.put_delete_vector(tablet, *rowset, *segment, vector);
        }
        self.stale.iter().for_each(|(id, _)| changes.delete_rowset(tablet, *id));
        for (id, record) in &self.rowsets {
            if before.rowsets.get(id).is_none_or(|known| known.as_ref() != record) {
                changes.put_rowset(tablet, *id, record);
            }
        }
        if let Some(shape) = shape {
            changes.put_tablet(tablet, &TabletRecord { schema: shape.schema.clone() });
        }
        changes.put_version(tablet, self.versions);
        changes
    }
}
