//! Owning a tablet: its newest manifest is read and the next one taken, which ends whoever owned it before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tarn_proto::storage::OpenTablet;
use tarn_proto::volume::{Created, Volume, VolumeStore};
use tarn_proto::{TableSchema, TabletId, TxnId, Version, VolumeId};
use tracing::info;

use super::log::{manifest_path, manifests, resolve};
use super::manifest::{Records, Value, VolumeManifest};
use super::pending::read_pending;
use super::{Closed, Log, Owned};
use crate::engine::Engine;
use crate::keys::Key;
use crate::meta::{Change, Changes};
use crate::record::{Record, RowsetRecord, TabletRecord, VersionRecord, VolumeRecord};
use crate::recovery;
use crate::{Error, Result, segment};

/// Tablets that are opened at the same time.
const PARALLEL_OPENS: usize = 32;
/// Attempts to take the next manifest. Each one more is for somebody else who took it.
const ATTEMPTS: usize = 16;

/// A tablet that was claimed.
struct Claimed {
    tablet: TabletId,
    owned: Owned,
    /// What the metadata store shall have of it.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    pending: BTreeMap<TxnId, RowsetRecord>,
}

/// Tablets that nobody else opens meanwhile.
struct Opening<'a> {
    opening: &'a Mutex<BTreeSet<TabletId>>,
    tablets: Vec<TabletId>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut opening = self.opening.lock();
        for tablet in &self.tablets {
            opening.remove(tablet);
        }
    }
}

impl Engine {
    /// Owns tablets on a volume from now on: takes over those that are there, creates the others at [`Version::FIRST`].
    /// Fails with the first failure after all were tried; with [`Error::Fenced`] for a tablet that somebody owns under a
    /// greater epoch. Idempotent. Blocks.
    pub fn open_tablets(&self, schema: &TableSchema, volume: &Volume, tablets: &[OpenTablet]) -> Result<()> {
        let Some(first) = tablets.first() else { return Ok(()) };
        let first = first.tablet;
        segment::check_schema(schema).map_err(|source| Error::Rows { tablet: first, source })?;
        let store = self.volumes.pool.get(volume).map_err(|source| Error::Volume { tablet: first, source })?;
        let (opening, mut failure) = self.start_opening(tablets);
        let wanted: Vec<OpenTablet> =
            tablets.iter().filter(|open| opening.tablets.contains(&open.tablet)).copied().collect();
        let (id, schema) = (volume.id, schema.clone());
        let claimed = self.volumes.wait(async move {
            let claims = wanted.into_iter().map(|open| claim(store.clone(), id, open, schema.clone()));
            futures::stream::iter(claims).buffer_unordered(PARALLEL_OPENS).collect::<Vec<_>>().await
        })?;
        for claimed in claimed {
            let entered = claimed.and_then(|claimed| self.enter_claimed(claimed));
            if let Err(error) = entered {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Those of the tablets that are to be opened, and the first refusal of another.
    fn start_opening(&self, tablets: &[OpenTablet]) -> (Opening<'_>, Option<Error>) {
        let mut opening = Opening { opening: &self.volumes.opening, tablets: Vec::new() };
        let mut failure = None;
        for open in tablets {
            let tablet = open.tablet;
            let here = self.tablet(tablet).ok();
            let owned = here.as_ref().and_then(|tablet| tablet.owned.as_ref());
            match (&here, owned) {
                (Some(_), Some(owned)) if owned.epoch == open.epoch => continue,
                (Some(_), Some(owned)) if owned.epoch > open.epoch => {
                    failure.get_or_insert(Error::Fenced { tablet, epoch: open.epoch, by: owned.epoch });
                    continue;
                }
                (Some(here), Some(owned)) => {
                    // It was owned by another node in between.
                    let _commit = here.commit.lock();
                    self.close(here, Closed::Fenced { epoch: owned.epoch, by: open.epoch });
                }
                (Some(_), None) => {
                    let reason = "it is on this node's disk already".to_owned();
                    failure.get_or_insert(Error::Closed { tablet, reason });
                    continue;
                }
                (None, _) => {}
            }
            if self.volumes.opening.lock().insert(tablet) {
                opening.tablets.push(tablet);
            } else {
                let reason = "it is being opened".to_owned();
                failure.get_or_insert(Error::Closed { tablet, reason });
            }
        }
        (opening, failure)
    }

    /// Lets the node's store and memory have a claimed tablet.
    fn enter_claimed(&self, claimed: Claimed) -> Result<()> {
        let Claimed { tablet: id, owned, entries, pending } = claimed;
        let record = VolumeRecord { volume: owned.volume, epoch: owned.epoch };
        let mut changes = Changes::default();
        changes.clear(id);
        for (key, value) in &entries {
            changes.push(Change::Put(key.clone(), value.clone()));
        }
        changes.put(Key::Volume(id), record.encode());
        self.meta.write(changes)?;
        let (epoch, writer) = (owned.epoch, owned.writer);
        let tablet = Arc::new(recovery::assemble(id, &entries)?.on_volume(owned));
        self.enter_pending(&tablet, pending)?;
        self.volumes.closed.lock().remove(&id);
        info!(tablet = %id, epoch, writer = format!("{writer:032x}"), "a tablet on a storage volume is open");
        self.insert_tablet(tablet);
        Ok(())
    }

    /// Removes the objects of tablets that nobody owns any more. Idempotent. Blocks.
    pub fn purge_tablets(&self, volume: &Volume, tablets: &[TabletId]) -> Result<()> {
        let Some(first) = tablets.first().copied() else { return Ok(()) };
        let failed = move |source| Error::Volume { tablet: first, source };
        let store = self.volumes.pool.get(volume).map_err(failed)?;
        let tablets = tablets.to_vec();
        let purged = self.volumes.wait(async move {
            for tablet in tablets {
                let objects = store.list(&store.tablet(tablet), None).await?;
                let paths: Vec<_> = objects.into_iter().map(|object| object.path).collect();
                store.delete(&paths).await?;
            }
            Ok(())
        })?;
        purged.map_err(failed)
    }
}

/// The newest manifest of a tablet.
pub(super) async fn newest(store: &VolumeStore, tablet: TabletId) -> Result<Option<VolumeManifest>> {
    let failed = |source| Error::Volume { tablet, source };
    let mut attempts = 1;
    loop {
        let listed = store.list(&manifests(store, tablet), None).await.map_err(failed)?;
        let Some(last) = listed.last() else { return Ok(None) };
        let bytes = match store.get(&last.path).await {
            // Its writer has written the next one and removed it.
            Err(error) if error.is_not_found() && attempts < ATTEMPTS => {
                attempts += 1;
                continue;
            }
            bytes => bytes.map_err(failed)?,
        };
        let damaged = |what| Error::VolumeObject { object: store.display(&last.path), what };
        let manifest = VolumeManifest::decode(&bytes).map_err(damaged)?;
        let named = manifest_path(store, tablet, manifest.sequence);
        if manifest.tablet != tablet || named != last.path {
            return Err(damaged(format!("it is number {} of tablet {}", manifest.sequence, manifest.tablet)));
        }
        return Ok(Some(manifest));
    }
}

/// Takes the next manifest of a tablet.
async fn claim(store: Arc<VolumeStore>, volume: VolumeId, open: OpenTablet, schema: TableSchema) -> Result<Claimed> {
    let OpenTablet { tablet, epoch, version } = open;
    let writer = uuid::Uuid::new_v4().as_u128();
    for _ in 0..ATTEMPTS {
        let (sequence, mut claims, mut records) = match newest(&store, tablet).await? {
            Some(before) if before.epoch > epoch => return Err(Error::Fenced { tablet, epoch, by: before.epoch }),
            Some(before) => (before.sequence + 1, before.claims, before.records),
            None if version > Version::FIRST => {
                return Err(Error::LostInVolume { tablet, found: Version::FIRST, visible: version });
            }
            None => (0, Vec::new(), first_records(tablet, &schema)),
        };
        let found = version_of(tablet, &records)?;
        if found < version {
            return Err(Error::LostInVolume { tablet, found, visible: version });
        }
        take_schema(tablet, &schema, &mut records)?;
        claims.push(sequence);
        let manifest = VolumeManifest { tablet, sequence, epoch, writer, claims, records };
        let path = manifest_path(&store, tablet, sequence);
        let created = store.create(&path, Bytes::from(manifest.encode())).await;
        match created.map_err(|source| Error::Volume { tablet, source })? {
            Created::Taken(_) => continue,
            Created::Yes => {}
        }
        // From here on nobody else changes the tablet: what is read now stays.
        let entries = resolve(&store, tablet, &manifest.records).await?;
        let pending = read_pending(&store, tablet, None).await?;
        let log = Log { sequence, claims: manifest.claims, records: manifest.records };
        let owned = Owned {
            volume,
            store,
            epoch,
            writer,
            log: Mutex::new(log),
            closed: OnceLock::new(),
            stored: Mutex::default(),
            looked: Mutex::new(Instant::now()),
        };
        return Ok(Claimed { tablet, owned, entries, pending });
    }
    let reason = "others open it again and again".to_owned();
    Err(Error::Closed { tablet, reason })
}

fn first_records(tablet: TabletId, schema: &TableSchema) -> Records {
    let mut records = Records::new();
    put(&mut records, Key::Tablet(tablet), &TabletRecord { schema: schema.clone() });
    put(&mut records, Key::Version(tablet), &VersionRecord::FIRST);
    records
}

fn put(records: &mut Records, key: Key, record: &impl Record) {
    records.insert(key.encode(), Value::Here(record.encode().into()));
}

fn small<R: Record>(records: &Records, key: Key) -> Result<R> {
    match records.get(&key.encode()) {
        Some(Value::Here(bytes)) => R::decode(bytes),
        Some(Value::There(_)) | None => Err(Error::Key(key.encode())),
    }
}

fn version_of(tablet: TabletId, records: &Records) -> Result<Version> {
    Ok(small::<VersionRecord>(records, Key::Version(tablet))?.version)
}

/// Lets a tablet have a schema that is newer than its own.
fn take_schema(tablet: TabletId, schema: &TableSchema, records: &mut Records) -> Result<()> {
    if small::<TabletRecord>(records, Key::Tablet(tablet))?.schema.version < schema.version {
        put(records, Key::Tablet(tablet), &TabletRecord { schema: schema.clone() });
    }
    Ok(())
}
