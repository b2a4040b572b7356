//! PRIMARY KEY tables: delete and insert. A published key has one live row; the rows that it had before are marked in
//! delete vectors, so that readers never merge.
//!
//! ```text
//!  flush    `flush`: the last operation on a key wins ──► segment, and its `key_file`: sorted keys (`key`) and rows
//!  publish  key files of the rowset (`merge`) ──► `index`: where each key was ──► `delete_vector`s of those segments
//!           many keys: merged with the key files of all live rowsets instead (`join`)
//!           one synced batch of metadata: version, rowset, delete vectors        ──► then the index
//!           an update's rowset is completed before, from the rows that it replaces (`resolve`, `locate`)
//!  compact  rows of the inputs that died since they were read ──► row map (`moved`) ──► delete vectors of the output
//!           one synced batch ──► lookups translated by the row map ──► the output's keys into the index, in pieces
//! ```
//!
//! What is true stands in the metadata store: rowsets and delete vectors. The index is a cache of it, changed afterwards
//! and without a log. Its marker names the rowsets that it is complete for; before a publish the live rows of all others
//! are added from their key files (from the segments if those are lost), of all rowsets if there is no index. An entry
//! that leads to a row which is dead or gone means that the key has no row: whatever a crash leaves behind, lookups are
//! right.

mod convert;
pub(crate) mod delete_vector;
pub(crate) mod flush;
pub(crate) mod index;
mod join;
pub(crate) mod key;
pub(crate) mod key_file;
mod locate;
pub(crate) mod merge;
pub(crate) mod moved;
pub(crate) mod publish;
pub(crate) mod resolve;
mod rowset_keys;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;
use tarn_proto::{RowsetId, TabletId, Version};
use tracing::warn;

pub(crate) use delete_vector::DeleteVector;
use index::{Memory, Store};
use moved::Moved;

use crate::meta::Changes;
use crate::tablet::State;
use crate::{Error, Result};

/// The node's index, opened when it is first needed.
pub(crate) struct Primary {
    path: PathBuf,
    memory: Memory,
    /// Written to open or replace the store: whoever reads it relies on what it found before.
    store: RwLock<Option<Store>>,
    /// The rowsets of a tablet that the store is complete for. Changes under the tablet's commit lock or with the store.
    complete: Mutex<HashMap<TabletId, BTreeSet<RowsetId>>>,
    /// Tablets whose last compaction's output is not in the store yet. Changes under the tablet's commit lock.
    moved: Mutex<HashMap<TabletId, Arc<Moved>>>,
    /// The rowset whose keys are in the store before it is published, if that is so. Changes under the tablet's commit
    /// lock.
    entered: Mutex<HashMap<TabletId, RowsetId>>,
    /// Told between two steps of what others may interrupt.
    #[cfg(test)]
    pub between: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Primary {
    /// An index in this directory, which need not exist.
    pub(crate) fn new(path: PathBuf, memory: Memory) -> Self {
        Self {
            path,
            memory,
            store: RwLock::new(None),
            complete: Mutex::default(),
            moved: Mutex::default(),
            entered: Mutex::default(),
            #[cfg(test)]
            between: Mutex::default(),
        }
    }

    /// The store. Opens it if need be, without tablets that are not `known`. Blocks.
    fn store(&self, known: impl Fn(TabletId) -> bool) -> Result<MappedRwLockReadGuard<'_, Store>> {
        loop {
            if let Ok(store) = RwLockReadGuard::try_map(self.store.read(), Option::as_ref) {
                return Ok(store);
            }
            let mut store = self.store.write();
            if store.is_none() {
                let opened = Store::open(&self.path, self.memory)?;
                for tablet in opened.tablets()?.into_iter().filter(|tablet| !known(*tablet)) {
                    opened.clear(tablet)?;
                }
                *store = Some(opened);
            }
        }
    }

    /// Throws the store away after it could not be read. Blocks.
    fn reset(&self, error: &Error) -> Result<()> {
        let reason = tarn_proto::error::chain(error);
        warn!(path = %self.path.display(), reason, "the primary-key index is damaged and is built anew");
        let mut store = self.store.write();
        self.complete.lock().clear();
        self.entered.lock().clear();
        // One store at a time may be open in the directory.
        drop(store.take());
        *store = Some(Store::recreate(&self.path, self.memory)?);
        Ok(())
    }

    /// Does `work` with the store; once more with a new one if this one cannot be read. Blocks.
    fn with<T>(&self, known: impl Fn(TabletId) -> bool, work: impl Fn(&Store) -> Result<T>) -> Result<T> {
        let done = self.store(&known).and_then(|store| work(&store));
        match done {
            Err(error @ Error::Index { .. }) => {
                self.reset(&error)?;
                work(&*self.store(&known)?)
            }
            done => done,
        }
    }

    #[cfg(test)]
    pub(crate) fn between_steps(&self) {
        let told = self.between.lock().clone();
        told.into_iter().for_each(|told| told());
    }

    /// Forgets a tablet that is dropped. What cannot be forgotten now is when the store is next opened. Blocks.
    pub(crate) fn forget(&self, tablet: TabletId) {
        self.complete.lock().remove(&tablet);
        self.moved.lock().remove(&tablet);
        self.entered.lock().remove(&tablet);
        if let Some(store) = &*self.store.read()
            && let Err(error) = store.clear(tablet)
        {
            warn!(%tablet, reason = tarn_proto::error::chain(&error), "cannot clear the index of a dropped tablet");
        }
    }
}

/// Delete vectors that a publish or a compaction replaces, by rowset and segment.
#[derive(Debug, Default)]
pub(crate) struct Marks(BTreeMap<(RowsetId, u32), DeleteVector>);

impl Marks {
    /// The delete vectors at version `at` that mark these rows beside those that are marked now.
    pub(crate) fn of(
        state: &State,
        rows: impl IntoIterator<Item = ((RowsetId, u32), RoaringBitmap)>,
        at: Version,
    ) -> Self {
        let mut marks = Self::default();
        for (place, new) in rows {
            let before = state.delete_vectors.get(&place);
            let all = before.map(DeleteVector::bitmap).unwrap_or_default() | new;
            if all.len() > before.map_or(0, |vector| vector.rows) {
                marks.0.insert(place, DeleteVector::new(at, &all));
            }
        }
        marks
    }

    /// Rows that they mark and the state does not.
    fn added(&self, state: &State) -> u64 {
        let before = |place| state.delete_vectors.get(place).map_or(0, |vector| vector.rows);
        self.0.iter().map(|(place, vector)| vector.rows - before(place)).sum()
    }

    /// Adds them to what becomes durable.
    pub(crate) fn put(&self, tablet: TabletId, changes: &mut Changes) {
        for ((rowset, segment), vector) in &self.0 {
            changes.put_delete_vector(tablet, *rowset, *segment, vector);
        }
    }

    /// Enters them into the tablet's state once they are durable.
    pub(crate) fn enter(&self, state: &mut State) {
        state.delete_vectors.extend(self.0.iter().map(|(place, vector)| (*place, vector.clone())));
    }
}
