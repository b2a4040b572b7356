//! The current snapshot on disk. A new one is written beside the old one in pieces and replaces it in one step. All
//! calls block on the disk.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rocksdb::{WriteBatch, WriteOptions};

use super::{Database, SNAPSHOT, disk, family};
use crate::record::{self, SnapshotRecord};
use crate::types::{Snapshot, SnapshotMeta};

/// Longest piece of a snapshot, on disk and on the wire, in bytes.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

const CURRENT: &[u8] = b"current";

/// The one snapshot.
pub(crate) struct SnapshotStore {
    db: Arc<Database>,
    /// One snapshot is written at a time.
    writing: Mutex<()>,
}

impl SnapshotStore {
    pub fn new(db: Arc<Database>) -> Self {
        Self { db, writing: Mutex::new(()) }
    }

    /// Makes this the current snapshot, durably, unless the current one is as new.
    pub fn save(&self, meta: &SnapshotMeta, data: &Bytes) -> io::Result<()> {
        let _alone = self.writing.lock();
        let current = self.current()?;
        if current.as_ref().is_some_and(|c| c.last() >= meta.last_log_id) {
            return Ok(());
        }
        let generation = current.map_or(0, |c| c.generation + 1);
        let family = family(&self.db, SNAPSHOT);

        let mut pieces = 0u32;
        for piece in data.chunks(PIECE_BYTES) {
            self.db.put_cf(family, key(generation, pieces), piece).map_err(disk)?;
            pieces += 1;
        }
        let mut batch = WriteBatch::new();
        batch.delete_range_cf(family, key(0, 0), key(generation, 0));
        let record = SnapshotRecord::new(meta, generation, pieces, data.len() as u64);
        batch.put_cf(family, CURRENT, record::encode_snapshot(&record));
        let mut options = WriteOptions::default();
        // The pieces are before it in the same write-ahead log: what is synced includes them.
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(disk)
    }

    /// The current snapshot.
    pub fn load(&self) -> io::Result<Option<Snapshot>> {
        let _alone = self.writing.lock();
        let Some(record) = self.current()? else { return Ok(None) };
        let length = usize::try_from(record.bytes).map_err(record::damaged)?;
        let mut data = BytesMut::with_capacity(length);
        for piece in 0..record.pieces {
            let stored = self.db.get_pinned_cf(family(&self.db, SNAPSHOT), key(record.generation, piece));
            match stored.map_err(disk)? {
                Some(bytes) => data.extend_from_slice(&bytes),
                None => return Err(incomplete()),
            }
        }
        if data.len() != length {
            return Err(incomplete());
        }
        Ok(Some(Snapshot { meta: record.meta()?, snapshot: data.freeze() }))
    }

    fn current(&self) -> io::Result<Option<SnapshotRecord>> {
        let stored = self.db.get_cf(family(&self.db, SNAPSHOT), CURRENT).map_err(disk)?;
        stored.map(|bytes| record::decode_snapshot(&bytes)).transpose()
    }
}

/// `p`, generation, piece: sorts after [`CURRENT`], by generation, then piece.
fn key(generation: u64, piece: u32) -> [u8; 13] {
    let mut key = [b'p'; 13];
    key[1..9].copy_from_slice(&generation.to_be_bytes());
    key[9..].copy_from_slice(&piece.to_be_bytes());
    key
}

fn incomplete() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the stored catalog snapshot is incomplete: restore this coordinator from the others",
    )
}
