//! Changes of a tablet's metadata, in its volume before they are in the node's store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use tarn_proto::volume::{Created, Path, VolumeStore};
use tarn_proto::{RowsetId, TabletId};
use tracing::warn;

use super::files::object_names;
use super::manifest::{Place, Records, Value, VolumeManifest};
use super::{Closed, Owned};
use crate::engine::Engine;
use crate::keys::Key;
use crate::meta::{Change, Changes};
use crate::record::{Record, RowsetRecord};
use crate::tablet::Tablet;
use crate::{Error, Result};

/// Larger values stand in an object of their own, so that not every manifest repeats them.
const LARGE_VALUE: usize = 1 << 10;

/// The object of a manifest.
pub(super) fn manifest_path(store: &VolumeStore, tablet: TabletId, sequence: u64) -> Path {
    manifests(store, tablet).join(format!("{sequence:020}"))
}

/// What a tablet's manifests stand under.
pub(super) fn manifests(store: &VolumeStore, tablet: TabletId) -> Path {
    store.tablet(tablet).join("manifest")
}

/// What a tablet's large values stand under.
pub(super) fn values(store: &VolumeStore, tablet: TabletId) -> Path {
    store.tablet(tablet).join("values")
}

/// The tablets on volumes whose changes are stored, and why those of others are not.
struct Stored {
    tablets: Vec<Arc<Tablet>>,
    failed: BTreeMap<TabletId, Error>,
}

/// A manifest to be stored, with the large values that are new in it.
struct Next {
    tablet: Arc<Tablet>,
    manifest: VolumeManifest,
    values: Option<(Path, Bytes)>,
}

impl Engine {
    /// Makes changes durable, all or none of a tablet; fails with the first tablet's failure, after the others are done.
    /// Under the tablets' commit locks. Blocks.
    pub(crate) fn write(&self, changes: Changes) -> Result<()> {
        match self.write_each(changes)?.into_values().next() {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Makes changes durable: all of them, but for those of tablets whose volume did not take them, which are answered and
    /// closed. Under the tablets' commit locks. Blocks.
    pub(crate) fn write_each(&self, mut changes: Changes) -> Result<BTreeMap<TabletId, Error>> {
        let Stored { tablets: stored, failed } = self.store_changes(&changes)?;
        if !failed.is_empty() {
            changes.retain(|tablet| !failed.contains_key(&tablet));
        }
        if let Err(error) = self.meta.write(changes) {
            // The volume is ahead of the node's store: opening the tablets again brings it up to date.
            for tablet in stored {
                self.close(&tablet, Closed::Unsure(tarn_proto::error::chain(&error)));
            }
            return Err(error);
        }
        Ok(failed)
    }

    /// Writes the next manifests of the tablets that are on volumes: those whose volume has them now, and why others do not.
    fn store_changes(&self, changes: &Changes) -> Result<Stored> {
        let mut failed = BTreeMap::new();
        let changed: BTreeSet<TabletId> = changes.iter().map(Change::tablet).collect();
        let mut next = Vec::new();
        for id in changed {
            let tablet = match self.tablet(id) {
                Ok(tablet) => tablet,
                // It was closed since the caller found it.
                Err(error @ (Error::Fenced { .. } | Error::Closed { .. })) => {
                    failed.insert(id, error);
                    continue;
                }
                Err(_) => continue,
            };
            let Some(owned) = &tablet.owned else { continue };
            if let Some(error) = owned.closed(id) {
                failed.insert(id, error);
            } else if let Err(error) = self.store_new_files(&tablet, owned, changes) {
                failed.insert(id, error);
            } else {
                next.extend(next_manifest(&tablet, owned, changes));
            }
        }
        if next.is_empty() {
            return Ok(Stored { tablets: Vec::new(), failed });
        }
        let requests: Vec<_> = next
            .iter()
            .filter_map(|next| {
                let owned = next.tablet.owned.as_ref()?;
                let manifest = manifest_path(&owned.store, next.tablet.id, next.manifest.sequence);
                let bytes = Bytes::from(next.manifest.encode());
                Some(store_manifest(owned.store.clone(), manifest, bytes, next.values.clone()))
            })
            .collect();
        let outcomes = self.volumes.wait(join_all(requests))?;
        let mut stored = Vec::new();
        for (next, outcome) in next.into_iter().zip(outcomes) {
            let Next { tablet, manifest, .. } = next;
            let Some(owned) = &tablet.owned else { continue };
            let closed = match outcome {
                Ok(Created::Yes) => {
                    let mut log = owned.log.lock();
                    log.sequence = manifest.sequence;
                    log.records = manifest.records;
                    drop(log);
                    forget_stored(&tablet, owned, changes);
                    stored.push(tablet);
                    continue;
                }
                Ok(Created::Taken(other)) => taken(owned, &other),
                Err(error) => Closed::Unsure(tarn_proto::error::chain(&error)),
            };
            failed.insert(tablet.id, closed.error(tablet.id));
            self.close(&tablet, closed);
        }
        Ok(Stored { tablets: stored, failed })
    }

    /// Stores the files of published rowsets that changes name and the volume lacks.
    fn store_new_files(&self, tablet: &Tablet, owned: &Owned, changes: &Changes) -> Result<()> {
        for (rowset, record, key) in published(tablet.id, changes) {
            let before = match owned.log.lock().records.get(key) {
                Some(Value::Here(bytes)) => RowsetRecord::decode(bytes).ok(),
                Some(Value::There(_)) | None => None,
            };
            self.store_named(tablet.id, owned, rowset, &record, before.as_ref())?;
        }
        Ok(())
    }

    /// Forgets a tablet that is, or may be, somebody else's: what is asked of it from now on fails with the reason. What the
    /// node's store and folder have of it is replaced when it is opened again.
    pub(super) fn close(&self, tablet: &Arc<Tablet>, reason: Closed) {
        let Some(owned) = &tablet.owned else { return };
        if owned.closed.set(reason.clone()).is_err() {
            return;
        }
        warn!(tablet = %tablet.id, epoch = owned.epoch, reason = %reason.error(tablet.id), "closing a tablet on a storage volume");
        self.volumes.closed.lock().insert(tablet.id, reason);
        self.forget_tablet(tablet);
    }
}

/// The published rowsets that changes add to a tablet or replace.
fn published(tablet: TabletId, changes: &Changes) -> impl Iterator<Item = (RowsetId, RowsetRecord, &Vec<u8>)> {
    changes.iter().filter_map(move |change| match change {
        Change::Put(key, value) => match Key::decode(key) {
            Ok(Key::Rowset(of, rowset)) if of == tablet => {
                let record = RowsetRecord::decode(value).ok().filter(|record| !record.is_pending())?;
                Some((rowset, record, key))
            }
            _ => None,
        },
        Change::Delete(_) | Change::DeleteRange(..) => None,
    })
}

/// What the newest manifest names need not be remembered.
fn forget_stored(tablet: &Tablet, owned: &Owned, changes: &Changes) {
    for (rowset, record, _) in published(tablet.id, changes) {
        let mut stored = owned.stored.lock();
        for name in object_names(&owned.store, tablet.id, rowset, &record) {
            stored.remove(&name);
        }
    }
}

/// Who has taken the place of an owner's next manifest.
pub(super) fn taken(owned: &Owned, other: &[u8]) -> Closed {
    match VolumeManifest::decode(other) {
        Ok(other) if other.epoch > owned.epoch => Closed::Fenced { epoch: owned.epoch, by: other.epoch },
        Ok(_) => Closed::Unsure("it was opened anew, or the outcome of an earlier write was not known".to_owned()),
        Err(what) => Closed::Unsure(format!("a manifest in its place is damaged: {what}")),
    }
}

async fn store_manifest(
    store: Arc<VolumeStore>,
    path: Path,
    manifest: Bytes,
    values: Option<(Path, Bytes)>,
) -> std::result::Result<Created, tarn_proto::volume::Error> {
    if let Some((path, bytes)) = values {
        store.put(&path, bytes).await?;
    }
    store.create(&path, manifest).await
}

/// The manifest that changes make of a tablet's newest; none if they change nothing that it has.
fn next_manifest(tablet: &Arc<Tablet>, owned: &Owned, changes: &Changes) -> Option<Next> {
    let log = owned.log.lock();
    let mut records = log.records.clone();
    let mut large = Vec::new();
    let name = format!("{:020}_{:032x}", log.sequence + 1, owned.writer);
    for change in changes.iter().filter(|change| change.tablet() == tablet.id) {
        match change {
            Change::Put(key, value) if is_kept(key, value) => {
                let value = match is_large(key, value) {
                    true => Value::There(keep(value, &name, &mut large)),
                    false => Value::Here(Bytes::copy_from_slice(value)),
                };
                records.insert(key.clone(), value);
            }
            // A pending rowset is none of the manifest's business.
            Change::Put(key, _) | Change::Delete(key) => drop(records.remove(key)),
            Change::DeleteRange(first, end) => {
                let within: Vec<Vec<u8>> =
                    records.range(first.clone()..end.clone()).map(|(key, _)| key.clone()).collect();
                within.iter().for_each(|key| drop(records.remove(key)));
            }
        }
    }
    if records == log.records {
        return None;
    }
    let manifest = VolumeManifest {
        tablet: tablet.id,
        sequence: log.sequence + 1,
        epoch: owned.epoch,
        writer: owned.writer,
        claims: log.claims.clone(),
        records,
    };
    let values = (!large.is_empty()).then(|| (values(&owned.store, tablet.id).join(name), Bytes::from(large)));
    Some(Next { tablet: tablet.clone(), manifest, values })
}

/// Whether manifests have an entry of the metadata store.
fn is_kept(key: &[u8], value: &[u8]) -> bool {
    match Key::decode(key) {
        Ok(Key::Rowset(..)) => RowsetRecord::decode(value).is_ok_and(|record| !record.is_pending()),
        Ok(Key::Volume(_)) => false,
        _ => true,
    }
}

/// Whether a value stands in an object of its own. What is looked at in manifests does not.
fn is_large(key: &[u8], value: &[u8]) -> bool {
    value.len() > LARGE_VALUE && !matches!(Key::decode(key), Ok(Key::Tablet(_) | Key::Version(_) | Key::Rowset(..)))
}

/// Puts a value behind others, and tells where it stands.
fn keep(value: &[u8], object: &str, large: &mut Vec<u8>) -> Place {
    let place = Place {
        object: object.to_owned(),
        offset: large.len() as u64,
        length: value.len() as u64,
        checksum: crc32c::crc32c(value),
    };
    large.extend_from_slice(value);
    place
}

/// The values of a manifest, those in other objects read from there.
pub(super) async fn resolve(
    store: &VolumeStore,
    tablet: TabletId,
    records: &Records,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut resolved = Vec::with_capacity(records.len());
    let mut objects: BTreeMap<&str, Bytes> = BTreeMap::new();
    for (key, value) in records {
        let bytes = match value {
            Value::Here(bytes) => bytes.to_vec(),
            Value::There(place) => {
                let path = values(store, tablet).join(place.object.as_str());
                let object = match objects.get(place.object.as_str()) {
                    Some(object) => object.clone(),
                    None => {
                        let object = store.get(&path).await.map_err(|source| Error::Volume { tablet, source })?;
                        objects.entry(&place.object).or_insert(object).clone()
                    }
                };
                let bytes = object.get(place.offset as usize..(place.offset + place.length) as usize);
                let bytes = bytes.filter(|bytes| crc32c::crc32c(bytes) == place.checksum);
                let what = "a value in it is not what was written".to_owned();
                bytes.ok_or_else(|| Error::VolumeObject { object: store.display(&path), what })?.to_vec()
            }
        };
        resolved.push((key.clone(), bytes));
    }
    Ok(resolved)
}
