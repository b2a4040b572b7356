//! The log that consensus reads and writes.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::time::Instant;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogIdOptionExt, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use rocksdb::{Direction, IteratorMode, ReadOptions};
use tokio::sync::oneshot;

use super::window::Window;
use super::writer::{Request, WriterThread, stopped};
use super::{COMMITTED, Database, LOG, META, PURGED, VOTE, blocking, disk, family};
use crate::record;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Replication sends at most about this many bytes of commands in one message (and always one entry).
const READ_BYTES: usize = 1 << 20;

/// The writing side; consensus holds exactly one. Dropping it ends the writer and blocks until its last writes are done.
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    writer: WriterThread,
    /// Number of the last append.
    writes: u64,
}

/// The reading side. It does not keep the writer alive.
#[derive(Clone)]
pub(crate) struct LogReader(Arc<Shared>);

struct Shared {
    db: Arc<Database>,
    window: Arc<Mutex<Window>>,
    vote: Mutex<Option<Vote>>,
}

impl LogStore {
    /// Reads the log's bounds and starts the writer. Blocks on the disk.
    pub fn open(db: Arc<Database>) -> io::Result<Self> {
        let meta = family(&db, META);
        let purged = match db.get_cf(meta, PURGED).map_err(disk)? {
            Some(bytes) => record::decode_position(&bytes)?,
            None => None,
        };
        let vote = db.get_cf(meta, VOTE).map_err(disk)?.map(|bytes| record::decode_vote(&bytes)).transpose()?;
        let newest = db.iterator_cf(family(&db, LOG), IteratorMode::End).next().transpose().map_err(disk)?;
        let last = newest.map(|(_, bytes)| record::decode_entry(&bytes)).transpose()?.map(|entry| entry.log_id);
        let window = Arc::new(Mutex::new(Window::new(purged, last.max(purged))));
        let writer = WriterThread::start(db.clone(), window.clone())?;
        Ok(Self { shared: Arc::new(Shared { db, window, vote: Mutex::new(vote) }), writer, writes: 0 })
    }

    async fn durably(&self, request: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Request + Send) -> io::Result<()> {
        let (done, flushed) = oneshot::channel();
        self.writer.send(request(done)).await?;
        flushed.await.map_err(|_| stopped())?
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        Ok(self.shared.window.lock().state())
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader(self.shared.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let record = record::encode_vote(vote);
        self.durably(|done| Request::Vote { record, done }).await?;
        *self.shared.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.writer.send(Request::Committed { record: record::encode_position(committed) }).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let shared = self.shared.clone();
        let stored = blocking(move || shared.db.get_cf(family(&shared.db, META), COMMITTED).map_err(disk)).await?;
        let committed = stored.map(|bytes| record::decode_position(&bytes)).transpose()?.flatten();
        // It is a hint, and one beyond the log's end would be useless.
        let last = self.shared.window.lock().state().last_log_id;
        Ok(committed.filter(|c| Some(*c) <= last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let since = Instant::now();
        self.writes += 1;
        let encoded = {
            let mut window = self.shared.window.lock();
            let mut encoded = Vec::new();
            for entry in entries {
                let (index, next) = (entry.log_id.index, window.next());
                // A log that never held an entry may begin anywhere.
                if index != next && window.state().last_log_id.is_some() {
                    return Err(io::Error::other(format!("log entry {index} appended where {next} is due")));
                }
                let bytes = record::encode_entry(&entry);
                window.append(entry, bytes.len(), self.writes);
                encoded.push((index, bytes));
            }
            encoded
        };
        self.writer.send(Request::Append { write: self.writes, entries: encoded, since, done: callback }).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let from = {
            let mut window = self.shared.window.lock();
            window.truncate_after(last_log_id);
            window.next()
        };
        self.durably(|done| Request::Truncate { from, done }).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let purged = {
            let mut window = self.shared.window.lock();
            window.purge(log_id);
            window.state().last_purged_log_id
        };
        let record = record::encode_position(purged);
        self.durably(|done| Request::Purge { before: purged.next_index(), record, done }).await
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(half_open(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(*self.0.vote.lock())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES).await
    }
}

impl LogReader {
    /// The entries of `range`, or the first of them up to about `limit` bytes.
    async fn read(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        {
            let window = self.0.window.lock();
            let (on_disk, held) = window.read(range.clone());
            if on_disk.is_empty() {
                return Ok(limited(held.cloned(), limit));
            }
        }
        let shared = self.0.clone();
        blocking(move || shared.read_disk(range, limit)).await
    }
}

impl Shared {
    fn read_disk(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        // Bounds, memory and disk are seen at one moment, because entries enter and leave them under this lock.
        let (on_disk, held, snapshot) = {
            let window = self.window.lock();
            let (on_disk, held) = window.read(range);
            let held: Vec<Entry> = held.cloned().collect();
            (on_disk, held, self.db.snapshot())
        };
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(on_disk.end.to_be_bytes());
        let from = on_disk.start.to_be_bytes();
        let mut entries = Vec::new();
        let (mut next, mut bytes) = (on_disk.start, 0);
        let stored =
            snapshot.iterator_cf_opt(family(&self.db, LOG), options, IteratorMode::From(&from, Direction::Forward));
        for item in stored {
            let (_, value) = item.map_err(disk)?;
            let entry = record::decode_entry(&value)?;
            if entry.log_id.index != next {
                break;
            }
            next += 1;
            bytes += value.len();
            entries.push(entry);
            if bytes >= limit {
                return Ok(entries);
            }
        }
        if next != on_disk.end {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the consensus log has lost entry {next}: restore this coordinator from the others"),
            ));
        }
        entries.extend(limited(held.into_iter(), limit - bytes));
        Ok(entries)
    }
}

/// The first entries up to about `limit` bytes, at least one.
fn limited(entries: impl Iterator<Item = Entry>, limit: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for entry in entries {
        bytes += match &entry.payload {
            EntryPayload::Normal(proposal) => proposal.command.0.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        };
        taken.push(entry);
        if bytes >= limit {
            break;
        }
    }
    taken
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(i) => *i,
        Bound::Excluded(i) => i.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(i) => i.saturating_add(1),
        Bound::Excluded(i) => *i,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
