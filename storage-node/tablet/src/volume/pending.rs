//! Records of rowsets that loads have finished, in the volume until they are published: the load's acknowledgement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use tarn_proto::volume::{Path, VolumeStore};
use tarn_proto::{TabletId, TxnId};

use super::Owned;
use super::files::{object_names, object_paths};
use crate::engine::Engine;
use crate::engine::commit::rowset_of;
use crate::load::Attempt;
use crate::meta::Changes;
use crate::record::{Record, RowsetRecord};
use crate::tablet::Tablet;
use crate::{Error, Result};

/// What a tablet's pending records stand under.
pub(super) fn pending(store: &VolumeStore, tablet: TabletId) -> Path {
    store.tablet(tablet).join("pending")
}

/// The transaction of a pending record's object.
pub(super) fn txn_of(path: &Path) -> Option<TxnId> {
    path.filename()?.split_once('_')?.0.parse().ok().map(TxnId)
}

/// The object of a rowset's pending record. Its name has a checksum of the record: one of another attempt is another.
fn record_path(store: &VolumeStore, tablet: TabletId, txn: TxnId, bytes: &[u8]) -> Path {
    pending(store, tablet).join(format!("{:020}_{:08x}", txn.get(), crc32c::crc32c(bytes)))
}

/// Reads the pending records of a tablet: of all transactions, or of one.
pub(super) async fn read_pending(
    store: &VolumeStore,
    tablet: TabletId,
    only: Option<TxnId>,
) -> Result<BTreeMap<TxnId, RowsetRecord>> {
    let failed = |source| Error::Volume { tablet, source };
    let under = pending(store, tablet);
    let after = only.map(|txn| under.clone().join(format!("{:020}", txn.get())));
    let mut records: BTreeMap<TxnId, (Duration, RowsetRecord)> = BTreeMap::new();
    for object in store.list(&under, after.as_ref()).await.map_err(failed)? {
        let Some(txn) = txn_of(&object.path) else { continue };
        if only.is_some_and(|only| only != txn) {
            break;
        }
        let bytes = match store.get(&object.path).await {
            // Published or aborted meanwhile.
            Err(error) if error.is_not_found() => continue,
            bytes => bytes.map_err(failed)?,
        };
        // Of two attempts the later one counts: who began it has told the one before to be forgotten.
        if records.get(&txn).is_none_or(|(age, _)| object.age <= *age) {
            records.insert(txn, (object.age, RowsetRecord::decode(&bytes)?));
        }
    }
    Ok(records.into_iter().map(|(txn, (_, record))| (txn, record)).collect())
}

impl Engine {
    /// Refuses to finish a load whose first files may have been collected.
    pub(crate) fn check_duration(&self, attempt: &Attempt, tablets: &[Arc<Tablet>]) -> Result<()> {
        let longest = self.options.volume_load;
        match tablets.iter().find(|tablet| tablet.owned.is_some()) {
            Some(tablet) if attempt.started.elapsed() > longest => Err(Error::TooLong { tablet: tablet.id, longest }),
            _ => Ok(()),
        }
    }

    /// Stores the records of a load's rowsets in the tablets that are on volumes. Blocks.
    pub(crate) fn store_pending(&self, txn: TxnId, records: &[(Arc<Tablet>, RowsetRecord)]) -> Result<()> {
        let puts: Vec<_> = records
            .iter()
            .filter_map(|(tablet, record)| {
                let owned = tablet.owned.as_ref()?;
                let (store, id, bytes) = (owned.store.clone(), tablet.id, Bytes::from(record.encode()));
                let path = record_path(&store, id, txn, &bytes);
                Some(
                    async move { store.put(&path, bytes).await.map_err(|source| Error::Volume { tablet: id, source }) },
                )
            })
            .collect();
        if puts.is_empty() {
            return Ok(());
        }
        self.volumes.wait(try_join_all(puts))?.map(drop)
    }

    /// Looks for the rowset of a transaction that another owner has finished. The tablet knows it then. Under the tablet's
    /// commit lock. Blocks.
    pub(crate) fn find_pending(&self, tablet: &Tablet, txn: TxnId) -> Result<()> {
        let Some(owned) = &tablet.owned else { return Ok(()) };
        if tablet.state.read().rowset_of_txn(txn).is_some() {
            return Ok(());
        }
        let (store, id) = (owned.store.clone(), tablet.id);
        let found = self.volumes.wait(async move { read_pending(&store, id, Some(txn)).await })??;
        self.enter_pending(tablet, found)
    }

    /// Lets a tablet know pending rowsets. Under its commit lock, or before anybody has it. Blocks.
    pub(super) fn enter_pending(&self, tablet: &Tablet, found: BTreeMap<TxnId, RowsetRecord>) -> Result<()> {
        for (txn, record) in found {
            let rowset = rowset_of(txn);
            if tablet.state.read().rowset_of_txn(txn).is_some() {
                continue;
            }
            if let Some(owned) = &tablet.owned {
                // Who finished it has stored its files.
                owned.stored.lock().extend(object_names(&owned.store, tablet.id, rowset, &record));
            }
            let mut changes = Changes::default();
            changes.put_rowset(tablet.id, rowset, &record);
            self.meta.write(changes)?;
            tablet.state.write().rowsets.insert(rowset, Arc::new(record));
            self.note_pending(txn, tablet.id);
        }
        Ok(())
    }

    /// Removes a pending record from the volume, in the background: it is published, or `abandoned` with its files.
    pub(crate) fn remove_pending(&self, tablet: &Tablet, txn: TxnId, record: &RowsetRecord, abandoned: bool) {
        let Some(owned) = &tablet.owned else { return };
        let Owned { store, .. } = owned;
        let pending = RowsetRecord { state: crate::record::RowsetState::Pending, ..record.clone() };
        // First the record: files without one are garbage, a record without files is damage.
        let path = record_path(store, tablet.id, txn, &pending.encode());
        let files = if abandoned { object_paths(store, tablet.id, rowset_of(txn), record) } else { Vec::new() };
        let store = store.clone();
        self.volumes.start(async move {
            if store.delete(&[path]).await.is_ok() {
                // What stays is collected later.
                let _ = store.delete(&files).await;
            }
        });
    }
}
