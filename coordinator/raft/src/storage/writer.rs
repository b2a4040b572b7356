//! Group commit: one thread takes all waiting log writes, in order, writes them as one batch with one fsync, and only
//! then answers them.
//!
//! After the first failed write it answers everything with that failure: the disk's state is unknown, so nothing is
//! acknowledged until the process has been started again and has read it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use rocksdb::{WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::window::Window;
use super::{COMMITTED, Database, LOG, META, PURGED, VOTE, disk, family};
use crate::metrics;
use crate::types::TypeConfig;

/// Log writes that may wait for the disk. Appends arrive in batches of up to 4096 entries, so this is ample; a full
/// queue slows consensus down to the disk's pace.
const QUEUE: usize = 256;
/// A batch is closed when it has this many bytes, so that one slow fsync does not hold up too many answers.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// A write to the log's storage.
pub(super) enum Request {
    /// Adds encoded entries, numbered as write `write`.
    Append { write: u64, entries: Vec<(u64, Vec<u8>)>, since: Instant, done: IOFlushed<TypeConfig> },
    /// Saves the vote.
    Vote { record: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    /// Removes entries from this index on.
    Truncate { from: u64, done: oneshot::Sender<io::Result<()>> },
    /// Removes entries before this index and saves the last one's place.
    Purge { before: u64, record: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    /// Saves how far the log is committed. A hint that makes restarts faster: nobody waits for it, and alone it is not
    /// worth an fsync.
    Committed { record: Vec<u8> },
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(|(_, bytes)| bytes.len() + 8).sum(),
            Self::Vote { record, .. } | Self::Purge { record, .. } | Self::Committed { record } => record.len(),
            Self::Truncate { .. } => 0,
        }
    }
}

/// The running thread. Dropping this waits until the thread has written what is queued and let go of the database: one
/// that outlives `main` would close the database while the process ends, and be aborted.
pub(super) struct WriterThread {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    pub fn start(db: Arc<Database>, window: Arc<Mutex<Window>>) -> io::Result<Self> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer { db, window, queue, failed: None };
        let thread = std::thread::Builder::new().name("raft-log-writer".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue: Some(sender), thread: Some(thread) })
    }

    /// Queues a write, after all that were queued before it.
    pub async fn send(&self, request: Request) -> io::Result<()> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(request).await.map_err(|_| stopped())
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the writer of the consensus log panicked");
        }
    }
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the log's writer has stopped")
}

struct Writer {
    db: Arc<Database>,
    window: Arc<Mutex<Window>>,
    queue: mpsc::Receiver<Request>,
    /// The first failure.
    failed: Option<String>,
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut bytes = first.bytes();
            let mut requests = vec![first];
            while bytes < MAX_BATCH_BYTES
                && let Ok(next) = self.queue.try_recv()
            {
                bytes += next.bytes();
                requests.push(next);
            }
            if self.failed.is_none()
                && let Err(reason) = self.flush(&requests)
            {
                error!(%reason, "the consensus log cannot be written; this coordinator stops taking part");
                self.failed = Some(reason.to_string());
            }
            for request in requests {
                self.answer(request);
            }
        }
        if let Err(reason) = self.db.flush_wal(true) {
            error!(%reason, "the consensus log's last writes may not be on disk; none of them was acknowledged");
        }
    }

    fn flush(&self, requests: &[Request]) -> io::Result<()> {
        let (log, meta) = (family(&self.db, LOG), family(&self.db, META));
        let mut batch = WriteBatch::new();
        let mut sync = false;
        for request in requests {
            match request {
                Request::Append { entries, .. } => {
                    for (index, entry) in entries {
                        batch.put_cf(log, index.to_be_bytes(), entry);
                    }
                }
                Request::Vote { record, .. } => batch.put_cf(meta, VOTE, record),
                Request::Truncate { from, .. } => {
                    batch.delete_range_cf(log, from.to_be_bytes(), u64::MAX.to_be_bytes());
                }
                Request::Purge { before, record, .. } => {
                    batch.put_cf(meta, PURGED, record);
                    batch.delete_range_cf(log, 0u64.to_be_bytes(), before.to_be_bytes());
                }
                Request::Committed { record } => batch.put_cf(meta, COMMITTED, record),
            }
            sync |= !matches!(request, Request::Committed { .. });
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let started = Instant::now();
        self.db.write_opt(batch, &options).map_err(disk)?;
        metrics::flushed(requests.len(), started.elapsed());
        let last = requests.iter().rev().find_map(|r| match r {
            Request::Append { write, .. } => Some(*write),
            _ => None,
        });
        if let Some(write) = last {
            self.window.lock().durable(write);
        }
        Ok(())
    }

    fn answer(&self, request: Request) {
        let outcome = match &self.failed {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(reason.clone())),
        };
        match request {
            Request::Append { since, done, .. } => {
                metrics::appended(since.elapsed());
                done.io_completed(outcome);
            }
            Request::Vote { done, .. } | Request::Truncate { done, .. } | Request::Purge { done, .. } => {
                // The caller may have been cancelled; the write stands.
                let _ = done.send(outcome);
            }
            Request::Committed { .. } => {}
        }
    }
}
