//! The tablet metadata store: RocksDB behind typed records. All calls block; writes are synced.

use std::path::Path;

use rocksdb::{DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch, WriteOptions};
use tarn_proto::{RowsetId, TabletId, Version};

use crate::error::IoContext;
use crate::keys::Key;
use crate::primary::DeleteVector;
use crate::record::{Record, RowsetRecord, TabletRecord, VersionRecord, VolumeRecord};
use crate::{Error, Result};

/// Memory for writes that are not yet in a table file. Records are small and few.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Log files of RocksDB itself that are kept.
const KEPT_LOGS: usize = 4;
/// What RocksDB writes last when it makes a store.
const CURRENT: &str = "CURRENT";

/// The store.
pub(crate) struct Meta {
    db: DB,
    synced: WriteOptions,
}

/// A decoded entry of the store.
pub(crate) enum Entry {
    /// A tablet exists.
    Tablet(TabletId, TabletRecord),
    /// Where it stands.
    Version(TabletId, VersionRecord),
    /// One of its rowsets.
    Rowset(TabletId, RowsetId, RowsetRecord),
    /// That the tablet is on a storage volume.
    Volume(TabletId),
    /// The stored delete vector of a segment from a version on. They come in order of their versions.
    DeleteVector(TabletId, RowsetId, u32, Version, Box<[u8]>),
}

impl Entry {
    /// The entry that these bytes are.
    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        Ok(match Key::decode(key)? {
            Key::Tablet(tablet) => Self::Tablet(tablet, TabletRecord::decode(value)?),
            Key::Version(tablet) => Self::Version(tablet, VersionRecord::decode(value)?),
            Key::Volume(tablet) => VolumeRecord::decode(value).map(|_| Self::Volume(tablet))?,
            Key::Rowset(tablet, rowset) => Self::Rowset(tablet, rowset, RowsetRecord::decode(value)?),
            Key::DeleteVector(tablet, rowset, segment, version) => {
                Self::DeleteVector(tablet, rowset, segment, version, value.into())
            }
        })
    }
}

/// Changes that become durable together.
#[derive(Default)]
pub(crate) struct Changes(Vec<Change>);

/// One change of the store.
pub(crate) enum Change {
    /// Adds or replaces an entry.
    Put(Vec<u8>, Vec<u8>),
    /// Removes an entry.
    Delete(Vec<u8>),
    /// Removes the entries from the first key to the one before the last.
    DeleteRange(Vec<u8>, Vec<u8>),
}

impl Change {
    /// The tablet that it is of.
    pub(crate) fn tablet(&self) -> TabletId {
        let (Self::Put(key, _) | Self::Delete(key) | Self::DeleteRange(key, _)) = self;
        tablet_of(key).unwrap_or(TabletId(0))
    }
}

impl Changes {
    /// Adds or replaces a tablet.
    pub(crate) fn put_tablet(&mut self, tablet: TabletId, record: &TabletRecord) {
        self.put(Key::Tablet(tablet), record.encode());
    }

    /// Sets where a tablet stands.
    pub(crate) fn put_version(&mut self, tablet: TabletId, record: VersionRecord) {
        self.put(Key::Version(tablet), record.encode());
    }

    /// Adds or replaces a rowset.
    pub(crate) fn put_rowset(&mut self, tablet: TabletId, rowset: RowsetId, record: &RowsetRecord) {
        self.put(Key::Rowset(tablet, rowset), record.encode());
    }

    /// Forgets a rowset.
    pub(crate) fn delete_rowset(&mut self, tablet: TabletId, rowset: RowsetId) {
        self.delete(Key::Rowset(tablet, rowset));
    }

    /// Adds or replaces the delete vector of a segment from its first version on.
    pub(crate) fn put_delete_vector(
        &mut self,
        tablet: TabletId,
        rowset: RowsetId,
        segment: u32,
        vector: &DeleteVector,
    ) {
        self.put(Key::DeleteVector(tablet, rowset, segment, vector.since), vector.encode());
    }

    /// Forgets all delete vectors of a tablet that are not put afterwards.
    pub(crate) fn delete_vectors(&mut self, tablet: TabletId) {
        let first = |tablet| Key::DeleteVector(tablet, RowsetId(0), 0, Version(0)).encode();
        self.0.push(Change::DeleteRange(first(tablet), first(TabletId(tablet.get() + 1))));
    }

    /// Forgets a tablet, its version and its delete vectors; its rowsets are deleted one by one.
    pub(crate) fn delete_tablet(&mut self, tablet: TabletId) {
        self.delete_vectors(tablet);
        self.delete(Key::Tablet(tablet));
        self.delete(Key::Version(tablet));
        self.delete(Key::Volume(tablet));
    }

    /// Forgets all that there is of a tablet, whatever the kind of its key.
    pub(crate) fn clear(&mut self, tablet: TabletId) {
        for kind in b'a'..=b'z' {
            let first = |tablet: u64| [&[kind][..], &tablet.to_be_bytes()].concat();
            self.0.push(Change::DeleteRange(first(tablet.get()), first(tablet.get() + 1)));
        }
    }

    /// Adds or replaces an entry.
    pub(crate) fn put(&mut self, key: Key, value: Vec<u8>) {
        self.0.push(Change::Put(key.encode(), value));
    }

    /// Removes an entry.
    pub(crate) fn delete(&mut self, key: Key) {
        self.0.push(Change::Delete(key.encode()));
    }

    /// Adds a change.
    pub(crate) fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// Leaves those out that are of other tablets.
    pub(crate) fn retain(&mut self, keep: impl Fn(TabletId) -> bool) {
        self.0.retain(|change| keep(change.tablet()));
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The tablet whose entry has this key: all keys have it behind their first byte.
pub(crate) fn tablet_of(key: &[u8]) -> Option<TabletId> {
    let number = key.get(1..9)?.try_into().ok()?;
    Some(TabletId(u64::from_be_bytes(number)))
}

impl Meta {
    /// Whether there is a store at `path`.
    pub(crate) fn exists(path: &Path) -> Result<bool> {
        path.join(CURRENT).try_exists().doing("look for", path)
    }

    /// Opens or creates the store. Fails if another process has it open.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_keep_log_file_num(KEPT_LOGS);
        // A torn tail is what a crash leaves behind and was never acknowledged. Damage before it is refused, not skipped:
        // without the records behind it, files that they name would be taken for orphans.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        let db = DB::open(&options, path).map_err(|source| Error::Meta { action: "open", source })?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db, synced })
    }

    /// Opens the store to read what is in it now, whoever else has it open.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self> {
        let db = DB::open_for_read_only(&Options::default(), path, false);
        let db = db.map_err(|source| Error::Meta { action: "open", source })?;
        Ok(Self { db, synced: WriteOptions::default() })
    }

    /// Makes changes durable, all or none.
    pub(crate) fn write(&self, changes: Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        for change in changes.0 {
            match change {
                Change::Put(key, value) => batch.put(key, value),
                Change::Delete(key) => batch.delete(key),
                Change::DeleteRange(first, end) => batch.delete_range(first, end),
            }
        }
        self.db.write_opt(batch, &self.synced).map_err(|source| Error::Meta { action: "write", source })
    }

    /// All entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry>> + '_ {
        self.db.iterator(IteratorMode::Start).map(|entry| {
            let (key, value) = entry.map_err(|source| Error::Meta { action: "read", source })?;
            Entry::decode(&key, &value)
        })
    }

    /// The newest delete vector of a segment that is not newer than `version`.
    pub(crate) fn delete_vector(
        &self,
        tablet: TabletId,
        rowset: RowsetId,
        segment: u32,
        version: Version,
    ) -> Result<Option<DeleteVector>> {
        let wanted = Key::DeleteVector(tablet, rowset, segment, version).encode();
        let mut entries = self.db.iterator(IteratorMode::From(&wanted, Direction::Reverse));
        let Some(entry) = entries.next() else { return Ok(None) };
        let (key, value) = entry.map_err(|source| Error::Meta { action: "read", source })?;
        match Key::decode(&key)? {
            Key::DeleteVector(t, r, s, since) if (t, r, s) == (tablet, rowset, segment) => {
                decode_vector(tablet, rowset, segment, since, &value).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What forgets the delete vectors of a tablet that no version from `oldest` on needs. `is_there` says whether the
    /// tablet has a rowset still.
    pub(crate) fn old_delete_vectors(
        &self,
        tablet: TabletId,
        oldest: Version,
        is_there: impl Fn(RowsetId) -> bool,
    ) -> Result<Changes> {
        let first = Key::DeleteVector(tablet, RowsetId(0), 0, Version(0)).encode();
        let mut changes = Changes::default();
        let mut before: Option<(RowsetId, u32, Vec<u8>)> = None;
        for entry in self.db.iterator(IteratorMode::From(&first, Direction::Forward)) {
            let (key, _) = entry.map_err(|source| Error::Meta { action: "read", source })?;
            let Ok(Key::DeleteVector(of, rowset, segment, since)) = Key::decode(&key) else { break };
            if of != tablet {
                break;
            }
            if !is_there(rowset) {
                changes.push(Change::Delete(key.to_vec()));
                continue;
            }
            if since > oldest {
                continue;
            }
            if let Some((r, s, replaced)) = before.replace((rowset, segment, key.to_vec()))
                && (r, s) == (rowset, segment)
            {
                changes.push(Change::Delete(replaced));
            }
        }
        Ok(changes)
    }
}

/// Reads the stored delete vector of a segment.
pub(crate) fn decode_vector(
    tablet: TabletId,
    rowset: RowsetId,
    segment: u32,
    since: Version,
    bytes: &[u8],
) -> Result<DeleteVector> {
    DeleteVector::decode(since, bytes).map_err(|what| Error::DeleteVector { tablet, rowset, segment, what })
}
