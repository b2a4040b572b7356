//! Files of segments: stored before anybody is told of them, fetched when the node's cache lacks them, and removed from it
//! when it holds too much.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use futures::future::try_join_all;
use tarn_proto::storage::{IndexKey, SegmentKey};
use tarn_proto::volume::{self, VolumeStore};
use tarn_proto::{RowsetId, TabletId};
use tracing::{info, warn};

use super::Owned;
use crate::engine::Engine;
use crate::error::IoContext;
use crate::layout::SegmentFiles;
use crate::open_segment::{OpenSegment, damaged};
use crate::record::{RowsetRecord, SegmentRecord};
use crate::segment::TemporarySegment;
use crate::sidecar::Sidecar;
use crate::tablet::Tablet;
use crate::{Error, Result};

/// What objects' names end with, by file.
const SEGMENT: &str = ".vortex";
const SIDECAR: &str = ".sidecar";
const KEYS: &str = ".keys";
/// The cache is emptied to this share of what it may hold.
const KEPT_PERCENT: u64 = 90;

/// The files that a segment may have, each with what its object's name ends with.
fn parts(files: &SegmentFiles, record: &SegmentRecord) -> Vec<(PathBuf, String)> {
    let fixed = [(&files.segment, SEGMENT), (&files.sidecar, SIDECAR), (&files.keys, KEYS)];
    let fixed = fixed.into_iter().map(|(path, kind)| (path.clone(), kind.to_owned()));
    fixed.chain(record.index_files().map(|(key, _)| (files.index(key), VolumeStore::index_kind(key)))).collect()
}

/// The objects that the files of a rowset may be in.
pub(super) fn object_paths(
    store: &VolumeStore,
    tablet: TabletId,
    rowset: RowsetId,
    record: &RowsetRecord,
) -> Vec<volume::Path> {
    let mut paths = Vec::new();
    for (number, segment) in (0..).zip(&record.segments) {
        let indexes = segment.index_files().map(|(key, _)| VolumeStore::index_kind(key));
        let kinds = [SEGMENT, SIDECAR, KEYS].map(str::to_owned).into_iter().chain(indexes);
        paths.extend(kinds.map(|kind| store.file(tablet, rowset, number, segment.checksum, &kind)));
    }
    paths
}

/// A file and the object that it becomes.
pub(super) struct Transfer {
    file: PathBuf,
    object: volume::Path,
}

/// An object's name among those of its tablet.
fn name_of(path: &volume::Path) -> String {
    path.filename().unwrap_or_default().to_owned()
}

/// The names of the objects that the files of a rowset may be in.
pub(super) fn object_names(
    store: &VolumeStore,
    tablet: TabletId,
    rowset: RowsetId,
    record: &RowsetRecord,
) -> impl Iterator<Item = String> {
    object_paths(store, tablet, rowset, record).into_iter().map(|path| name_of(&path))
}

impl Owned {
    /// What storing a segment's files means, under whatever names they have now.
    fn transfers(&self, key: SegmentKey, files: &SegmentFiles, record: &SegmentRecord) -> Vec<Transfer> {
        let there = parts(files, record).into_iter().filter(|(file, _)| file.exists());
        there
            .map(|(file, kind)| Transfer {
                file,
                object: self.store.file(key.tablet, key.rowset, key.segment, record.checksum, &kind),
            })
            .collect()
    }
}

impl Engine {
    /// Stores the files of a segment that was just written, if its tablet is on a volume.
    pub(crate) async fn store_segment(&self, tablet: &Tablet, segment: &TemporarySegment) -> Result<()> {
        let Some(owned) = &tablet.owned else { return Ok(()) };
        let transfers = owned.transfers(segment.key, segment.files(), &segment.record);
        let names: Vec<String> = transfers.iter().map(|transfer| name_of(&transfer.object)).collect();
        let (store, slots, id) = (owned.store.clone(), self.volumes.transfers.clone(), tablet.id);
        let stored = self.volumes.task(store_all(store, slots, id, transfers))?;
        stored.await.map_err(|_| Error::Background("a segment's way to its storage volume"))??;
        owned.stored.lock().extend(names);
        Ok(())
    }

    /// Stores the files of segments that were just written, if their tablet is on a volume. Blocks.
    pub(crate) fn store_segments(&self, tablet: &Tablet, segments: &[TemporarySegment]) -> Result<()> {
        let Some(owned) = &tablet.owned else { return Ok(()) };
        let each = segments.iter().map(|segment| owned.transfers(segment.key, segment.files(), &segment.record));
        self.store_files(tablet.id, owned, each.flatten().collect())
    }

    fn store_files(&self, tablet: TabletId, owned: &Owned, transfers: Vec<Transfer>) -> Result<()> {
        if transfers.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = transfers.iter().map(|transfer| name_of(&transfer.object)).collect();
        let (store, slots) = (owned.store.clone(), self.volumes.transfers.clone());
        self.volumes.wait(store_all(store, slots, tablet, transfers))??;
        owned.stored.lock().extend(names);
        Ok(())
    }

    /// Stores files of a rowset that a manifest is to name for the first time, and that are not stored yet: whoever made
    /// them need not know of volumes. `before` is the record that the manifest has of it. Blocks.
    pub(super) fn store_named(
        &self,
        tablet: TabletId,
        owned: &Owned,
        rowset: RowsetId,
        record: &RowsetRecord,
        before: Option<&RowsetRecord>,
    ) -> Result<()> {
        let known = before.into_iter().flat_map(|before| object_names(&owned.store, tablet, rowset, before));
        let known: BTreeSet<String> = known.chain(owned.stored.lock().iter().cloned()).collect();
        let mut transfers = Vec::new();
        for (number, segment) in (0..).zip(&record.segments) {
            let key = SegmentKey { tablet, rowset, segment: number };
            for (file, kind) in parts(&self.dir.segment(key), segment) {
                let object = owned.store.file(tablet, rowset, number, segment.checksum, &kind);
                let is_known = known.contains(&name_of(&object));
                if !is_known && file.exists() {
                    transfers.push(Transfer { file, object });
                } else if !is_known && kind == SEGMENT {
                    let what = "it is to be named, and was never stored".to_owned();
                    return Err(Error::VolumeObject { object: owned.store.display(&object), what });
                }
            }
        }
        self.store_files(tablet, owned, transfers)
    }

    /// Stores files that were made for a published segment, before the record that names them is written; nothing if its
    /// tablet is not on a volume. Blocks.
    pub(crate) fn store_indexes(&self, key: SegmentKey, record: &SegmentRecord) -> Result<()> {
        let tablet = self.tablet(key.tablet)?;
        let Some(owned) = &tablet.owned else { return Ok(()) };
        let files = self.dir.segment(key);
        let mut transfers = owned.transfers(key, &files, record);
        transfers.retain(|transfer| record.index_files().any(|(index, _)| files.index(index) == transfer.file));
        self.store_files(key.tablet, owned, transfers)
    }

    /// Removes the objects of rowsets that no manifest names any more, in the background.
    pub(crate) fn remove_objects(&self, tablet: &Tablet, rowsets: &[(RowsetId, Arc<RowsetRecord>)]) {
        let Some(owned) = &tablet.owned else { return };
        let paths =
            |(rowset, record): &(RowsetId, Arc<RowsetRecord>)| object_paths(&owned.store, tablet.id, *rowset, record);
        let paths: Vec<volume::Path> = rowsets.iter().flat_map(paths).collect();
        let store = owned.store.clone();
        self.volumes.start(async move {
            // What stays is collected later.
            let _ = store.delete(&paths).await;
        });
    }

    /// An open segment; its files are fetched if the tablet is on a volume and the cache lacks them. Blocks.
    pub(crate) fn open_segment(&self, key: SegmentKey, record: &SegmentRecord) -> Result<Arc<OpenSegment>> {
        let Some(tablet) = self.on_volume(key.tablet) else { return self.open.get(&self.dir, key, record) };
        if let Some(open) = self.open.known(key, record) {
            return Ok(open);
        }
        let files = self.dir.segment(key);
        self.fetch_missing(&tablet, key, record, &files.segment, SEGMENT)?;
        self.fetch_missing(&tablet, key, record, &files.sidecar, SIDECAR)?;
        match self.open.get(&self.dir, key, record) {
            Err(error @ Error::Damaged { .. }) => {
                warn!(tablet = %key.tablet, reason = tarn_proto::error::chain(&error), "cached files are fetched again");
                self.fetch(&tablet, key, record, &files.segment, SEGMENT)?;
                self.fetch(&tablet, key, record, &files.sidecar, SIDECAR)?;
                self.open.get(&self.dir, key, record)
            }
            opened => opened,
        }
    }

    /// The short-key index of a segment. Of a tablet on a volume, nothing but the sidecar is fetched for it. Blocks.
    pub(crate) fn short_key_index(&self, key: SegmentKey, record: &SegmentRecord) -> Result<Bytes> {
        let Some(tablet) = self.on_volume(key.tablet) else {
            return Ok(self.open.get(&self.dir, key, record)?.short_key_index());
        };
        if let Some(open) = self.open.known(key, record) {
            return Ok(open.short_key_index());
        }
        let file = self.dir.segment(key).sidecar;
        self.fetch_missing(&tablet, key, record, &file, SIDECAR)?;
        let read = || {
            let bytes = fs::read(&file).map_err(|error| error.to_string())?;
            let sidecar = Sidecar::decode(&bytes)?;
            match sidecar.is_of(record) {
                true => Ok(sidecar.short_key_index),
                false => Err("it belongs to another segment file".to_owned()),
            }
        };
        if let Ok(index) = read() {
            return Ok(index);
        }
        self.fetch(&tablet, key, record, &file, SIDECAR)?;
        let name = format!("{}_{}{SIDECAR}", key.rowset.get(), key.segment);
        read().map_err(|what| damaged(key, name, what))
    }

    /// Makes sure that a segment's key file is on the node's disk. Blocks.
    pub(crate) fn fetch_keys(&self, key: SegmentKey, record: &SegmentRecord) -> Result<()> {
        match self.on_volume(key.tablet) {
            Some(tablet) if !self.dir.segment(key).keys.exists() => self.fetch_key_file(&tablet, key, record).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Replaces a segment's key file in the cache, if the tablet is on a volume that has it. Blocks.
    pub(crate) fn fetch_keys_again(&self, key: SegmentKey, record: &SegmentRecord) -> Result<bool> {
        self.on_volume(key.tablet).map_or(Ok(false), |tablet| self.fetch_key_file(&tablet, key, record))
    }

    /// Whether the volume has it. One that is lost is as one that is lost from a disk: keys can be read from the rows.
    fn fetch_key_file(&self, tablet: &Tablet, key: SegmentKey, record: &SegmentRecord) -> Result<bool> {
        match self.fetch(tablet, key, record, &self.dir.segment(key).keys, KEYS) {
            Ok(()) => Ok(true),
            Err(Error::Volume { source, .. }) if source.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that an index of a segment is on the node's disk. Blocks.
    pub(crate) fn fetch_index(&self, key: SegmentKey, record: &SegmentRecord, index: IndexKey) -> Result<()> {
        let Some(tablet) = self.on_volume(key.tablet) else { return Ok(()) };
        self.fetch_missing(&tablet, key, record, &self.dir.segment(key).index(index), &VolumeStore::index_kind(index))
    }

    fn on_volume(&self, tablet: TabletId) -> Option<Arc<Tablet>> {
        self.tablet(tablet).ok().filter(|tablet| tablet.owned.is_some())
    }

    fn fetch_missing(
        &self,
        tablet: &Tablet,
        key: SegmentKey,
        record: &SegmentRecord,
        file: &Path,
        kind: &str,
    ) -> Result<()> {
        if file.exists() { Ok(()) } else { self.fetch(tablet, key, record, file, kind) }
    }

    fn fetch(&self, tablet: &Tablet, key: SegmentKey, record: &SegmentRecord, file: &Path, kind: &str) -> Result<()> {
        let Some(owned) = &tablet.owned else { return Ok(()) };
        self.dir.create_tablet(tablet.id)?;
        let number = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let temporary = file.with_extension(format!("{number}.fetched.tmp"));
        let object = owned.store.file(key.tablet, key.rowset, key.segment, record.checksum, kind);
        let (store, slots, target) = (owned.store.clone(), self.volumes.transfers.clone(), temporary.clone());
        let (path, id) = (object.clone(), tablet.id);
        let fetched = self.volumes.wait(async move {
            let _slot = slots.acquire().await.map_err(|_| Error::Background("a file of a storage volume"))?;
            store.fetch_file(&path, &target).await.map_err(|source| Error::Volume { tablet: id, source })
        })?;
        let fetched = match fetched {
            Ok((bytes, checksum)) if kind == SEGMENT && (bytes, checksum) != (record.bytes, record.checksum) => {
                let what = format!("it has {bytes} bytes and checksum {checksum:08x}, which is another file's");
                Err(Error::VolumeObject { object: owned.store.display(&object), what })
            }
            Ok(_) => fs::rename(&temporary, file).doing("rename", &temporary),
            Err(error) => Err(error),
        };
        fetched.inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// Removes the files from the cache that were written or fetched longest ago, if it holds more than it may. Blocks.
    pub(super) fn trim_cache(&self) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for tablet in self.all_tablets().into_iter().filter(|tablet| tablet.owned.is_some()) {
            let Ok(entries) = fs::read_dir(self.dir.tablet(tablet.id)) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(meta) = entry.metadata() else { continue };
                // Files of others are being made, and may be here only.
                let known =
                    rowset_of_file(&path).is_some_and(|rowset| tablet.state.read().rowsets.contains_key(&rowset));
                if known && path.extension().is_none_or(|end| end != "tmp") {
                    files.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len(), path));
                }
            }
        }
        let mut held: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        if held <= self.options.volume_cache_bytes {
            return;
        }
        let kept = self.options.volume_cache_bytes / 100 * KEPT_PERCENT;
        files.sort();
        let mut removed = 0usize;
        for (_, bytes, path) in files {
            if held <= kept {
                break;
            }
            // Whoever has it open reads on.
            if fs::remove_file(&path).is_ok() {
                held -= bytes;
                removed += 1;
            }
        }
        info!(removed, held, "files were removed from the cache of storage volumes");
    }
}

/// The rowset that a file is of, by its name.
fn rowset_of_file(path: &Path) -> Option<RowsetId> {
    path.file_name()?.to_str()?.split_once('_')?.0.parse().ok().map(RowsetId)
}

async fn store_all(
    store: Arc<VolumeStore>,
    slots: Arc<tokio::sync::Semaphore>,
    tablet: TabletId,
    transfers: Vec<Transfer>,
) -> Result<()> {
    let each = transfers.into_iter().map(|Transfer { file, object }| {
        let (store, slots) = (store.clone(), slots.clone());
        async move {
            let _slot = slots.acquire().await.map_err(|_| Error::Background("a file of a storage volume"))?;
            let (bytes, checksum) = sum(&file).await?;
            let stored = store.put_file(&object, &file, bytes, checksum).await;
            stored.map_err(|source| Error::Volume { tablet, source })
        }
    });
    try_join_all(each).await.map(drop)
}

/// Length and CRC32C of a file.
async fn sum(file: &Path) -> Result<(u64, u32)> {
    use tokio::io::AsyncReadExt;
    let mut source = tokio::fs::File::open(file).await.doing("open", file)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut bytes, mut checksum) = (0, 0);
    loop {
        match source.read(&mut buffer).await.doing("read", file)? {
            0 => return Ok((bytes, checksum)),
            read => {
                bytes += read as u64;
                checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
            }
        }
    }
}
