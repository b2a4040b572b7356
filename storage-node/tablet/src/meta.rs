//! The tablet metadata store: RocksDB behind typed records. All calls block; writes are synced.

use std::path::Path;

use rocksdb::{DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch, WriteOptions};
use tarn_proto::{RowsetId, TabletId, Version};

use crate::error::IoContext;
use crate::keys::Key;
use crate::primary::DeleteVector;
use crate::record::{Record, RowsetRecord, TabletRecord, VersionRecord};
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
    /// The stored delete vector of a segment from a version on. They come in order of their versions.
    DeleteVector(TabletId, RowsetId, u32, Version, Box<[u8]>),
}

/// Changes that become durable together.
#[derive(Default)]
pub(crate) struct Changes(WriteBatch);

impl Changes {
    /// Adds or replaces a tablet.
    pub(crate) fn put_tablet(&mut self, tablet: TabletId, record: &TabletRecord) {
        self.0.put(Key::Tablet(tablet).encode(), record.encode());
    }

    /// Sets where a tablet stands.
    pub(crate) fn put_version(&mut self, tablet: TabletId, record: VersionRecord) {
        self.0.put(Key::Version(tablet).encode(), record.encode());
    }

    /// Adds or replaces a rowset.
    pub(crate) fn put_rowset(&mut self, tablet: TabletId, rowset: RowsetId, record: &RowsetRecord) {
        self.0.put(Key::Rowset(tablet, rowset).encode(), record.encode());
    }

    /// Forgets a rowset.
    pub(crate) fn delete_rowset(&mut self, tablet: TabletId, rowset: RowsetId) {
        self.0.delete(Key::Rowset(tablet, rowset).encode());
    }

    /// Adds or replaces the delete vector of a segment from its first version on.
    pub(crate) fn put_delete_vector(
        &mut self,
        tablet: TabletId,
        rowset: RowsetId,
        segment: u32,
        vector: &DeleteVector,
    ) {
        self.0.put(Key::DeleteVector(tablet, rowset, segment, vector.since).encode(), vector.encode());
    }

    /// Forgets a tablet, its version and its delete vectors; its rowsets are deleted one by one.
    pub(crate) fn delete_tablet(&mut self, tablet: TabletId) {
        let first = |tablet| Key::DeleteVector(tablet, RowsetId(0), 0, Version(0)).encode();
        self.0.delete_range(first(tablet), first(TabletId(tablet.get() + 1)));
        self.0.delete(Key::Tablet(tablet).encode());
        self.0.delete(Key::Version(tablet).encode());
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
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

    /// Makes changes durable, all or none.
    pub(crate) fn write(&self, changes: Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.db.write_opt(changes.0, &self.synced).map_err(|source| Error::Meta { action: "write", source })
    }

    /// All entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry>> + '_ {
        self.db.iterator(IteratorMode::Start).map(|entry| {
            let (key, value) = entry.map_err(|source| Error::Meta { action: "read", source })?;
            Ok(match Key::decode(&key)? {
                Key::Tablet(tablet) => Entry::Tablet(tablet, TabletRecord::decode(&value)?),
                Key::Version(tablet) => Entry::Version(tablet, VersionRecord::decode(&value)?),
                Key::Rowset(tablet, rowset) => Entry::Rowset(tablet, rowset, RowsetRecord::decode(&value)?),
                Key::DeleteVector(tablet, rowset, segment, version) => {
                    Entry::DeleteVector(tablet, rowset, segment, version, value)
                }
            })
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

    /// Forgets the delete vectors of a tablet that no version from `oldest` on needs. `is_there` says whether the tablet
    /// has a rowset still.
    pub(crate) fn drop_delete_vectors(
        &self,
        tablet: TabletId,
        oldest: Version,
        is_there: impl Fn(RowsetId) -> bool,
    ) -> Result<()> {
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
                changes.0.delete(&key);
                continue;
            }
            if since > oldest {
                continue;
            }
            if let Some((r, s, replaced)) = before.replace((rowset, segment, key.to_vec()))
                && (r, s) == (rowset, segment)
            {
                changes.0.delete(replaced);
            }
        }
        self.write(changes)
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
