//! What consensus keeps on disk: one RocksDB with three column families.
//!
//! | family | key | value |
//! |---|---|---|
//! | `log` | index, 8 bytes big endian | log entry |
//! | `meta` | `vote` `committed` `purged` `owner` | see [`record`](crate::record) |
//! | `snapshot` | `current`, then `p` generation piece | description; at most 1 MiB of the catalog each |
//!
//! ```text
//!  log        LogStore, LogReader: openraft's log, answered from the window and the disk
//!  window     the newest entries in memory, and the log's bounds (pure)
//!  writer     one thread that makes log writes durable, many with one fsync
//!  machine    StateMachine: applies entries to the catalog
//!  snapshots  SnapshotStore: the one current snapshot
//! ```

mod log;
mod machine;
mod snapshots;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Options};
use tarn_proto::NodeId;
use tokio::sync::oneshot;

pub(crate) use log::LogStore;
pub(crate) use machine::StateMachine;
pub(crate) use snapshots::PIECE_BYTES;

use crate::view::View;
use crate::{Error, record};
use snapshots::SnapshotStore;

const LOG: &str = "log";
const META: &str = "meta";
const SNAPSHOT: &str = "snapshot";

const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const OWNER: &[u8] = b"owner";

/// RocksDB's memory for unflushed log entries, in bytes.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Above this, RocksDB flushes the family that keeps old write-ahead logs alive.
const MAX_WAL_BYTES: u64 = 64 << 20;

/// An opened data directory.
pub(crate) struct Storage {
    pub log: LogStore,
    pub machine: StateMachine,
    /// Resolves (to an error, nothing is sent) once both are dropped and the directory can be opened again.
    pub closed: oneshot::Receiver<()>,
}

/// The database, which tells when it has been closed.
pub(crate) struct Database {
    db: DB,
    /// After `db`: fields are dropped in order.
    _closed: oneshot::Sender<()>,
}

impl Deref for Database {
    type Target = DB;

    fn deref(&self) -> &DB {
        &self.db
    }
}

/// Opens (or creates) the directory. Blocks on the disk.
pub(crate) fn open(dir: &Path, owner: NodeId, view: Arc<View>) -> Result<Storage, Error> {
    std::fs::create_dir_all(dir).map_err(|source| Error::Directory { dir: dir.to_owned(), source })?;
    let (db, closed) = open_db(dir, &options()).map_err(|source| Error::Open { dir: dir.to_owned(), source })?;
    claim(&db, owner)?;
    let machine = StateMachine::new(SnapshotStore::new(db.clone()), view);
    Ok(Storage { log: LogStore::open(db)?, machine, closed })
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(MAX_WAL_BYTES);
    options.set_keep_log_file_num(4);
    // A torn tail is what a crash leaves behind and was never acknowledged; damage before it is refused, not skipped.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

fn open_db(dir: &Path, options: &Options) -> Result<(Arc<Database>, oneshot::Receiver<()>), rocksdb::Error> {
    let families = [LOG, META, SNAPSHOT].map(|name| {
        let mut options = Options::default();
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        ColumnFamilyDescriptor::new(name, options)
    });
    let db = DB::open_cf_descriptors(options, dir, families)?;
    let (sender, closed) = oneshot::channel();
    Ok((Arc::new(Database { db, _closed: sender }), closed))
}

/// A directory belongs to the node that created it: two nodes with one log's past would break the quorum.
fn claim(db: &DB, owner: NodeId) -> Result<(), Error> {
    let meta = family(db, META);
    match db.get_cf(meta, OWNER).map_err(disk)? {
        Some(bytes) => match record::decode_owner(&bytes)? {
            found if found == owner => Ok(()),
            found => Err(Error::WrongNode { found, expected: owner }),
        },
        None => Ok(db.put_cf(meta, OWNER, record::encode_owner(owner)).map_err(disk)?),
    }
}

fn family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("every column family is opened with the database")
}

fn disk(error: rocksdb::Error) -> io::Error {
    io::Error::other(error)
}

/// Runs `work`, which blocks on the disk, off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
