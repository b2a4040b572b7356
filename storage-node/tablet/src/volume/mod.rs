//! Tablets on a storage volume: what they are stands in the object store, the node's disk is a cache of it.
//!
//! ```text
//!  <tablet>/manifest/<sequence>          what the metadata store has of the tablet, see `manifest`; written if absent
//!  <tablet>/values/<sequence>_<writer>   large values (delete vectors) of the manifest of that sequence
//!  <tablet>/pending/<txn>_<CRC32C>       the record of a rowset that a load has finished and nobody published yet
//!  <tablet>/<rowset>_<n>_<CRC32C>.*      segments, sidecars, key files, indexes
//!
//!  flush    segment and its files ──► objects (`files`), before anybody is told of them
//!  seal     the rowset's record ──► pending (`pending`); only then the load is acknowledged
//!  write    changes of the metadata store ──► next manifest, if absent (`log`) ──► the store, then memory
//!  open     newest manifest ──► the next one as a claim (`open`) ──► pending rowsets, the store, memory
//!  collect  manifests before the newest, files that nothing names (`collect`)
//! ```
//!
//! **Nobody diverges.** A manifest is written only if none of its sequence is there, by who wrote the one before or, as its
//! claim, has read it: manifests are one chain of states. Whoever opens a tablet claims it by the next manifest of the
//! chain, so that the next manifest of the owner before is taken, also when the owner is a process that is long gone and
//! whose request is still under way. Claims are never removed: however late an owner comes, and whatever is collected
//! meanwhile, it finds its place taken. It then *closes* the tablet: forgets it, and refuses what is asked of it. A write
//! whose outcome is not known closes it, too; opening it again tells.
//!
//! **No acknowledged load is lost.** A load is acknowledged when its files and its record are in the store, under names that
//! no other rowset has. Publishing looks for the record there if the node does not know the rowset, so it matters to nobody
//! which owner has written it, or when. Files go when a manifest that does not name them has taken the place of one that
//! did, or when they are older than [`Options::volume_grace`](crate::Options) and neither the newest manifest nor a pending record names them: what
//! is written is named within less than that, or given up.

mod collect;
mod files;
mod log;
pub(crate) mod manifest;
mod open;
mod pending;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use tarn_proto::volume::{VolumePool, VolumeStore};
use tarn_proto::{TabletId, VolumeId};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::{Error, Result};
use manifest::Records;

/// Threads that talk to object stores: the work is theirs, not ours.
const THREADS: usize = 2;
/// Files that are stored or fetched at the same time. Each takes the memory of a part of it.
const PARALLEL_FILES: usize = 8;

/// What an engine has of storage volumes.
pub(crate) struct Volumes {
    pub pool: VolumePool,
    runtime: OnceLock<Own>,
    transfers: Arc<Semaphore>,
    /// Tablets that are being opened.
    opening: Mutex<BTreeSet<TabletId>>,
    /// Why tablets are not open any more, for who asks for them.
    closed: Mutex<HashMap<TabletId, Closed>>,
}

/// A runtime that may be dropped anywhere.
struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Why a tablet was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Somebody else owns it.
    Fenced {
        /// Under which epoch it was owned here.
        epoch: u64,
        /// The owner's.
        by: u64,
    },
    /// What the volume holds is not known for sure.
    Unsure(String),
}

impl Closed {
    pub(crate) fn error(&self, tablet: TabletId) -> Error {
        match self {
            Self::Fenced { epoch, by } => Error::Fenced { tablet, epoch: *epoch, by: *by },
            Self::Unsure(reason) => Error::Closed { tablet, reason: reason.clone() },
        }
    }
}

/// A tablet's place in a volume, for as long as this node owns it.
pub(crate) struct Owned {
    pub volume: VolumeId,
    pub store: Arc<VolumeStore>,
    /// Counts the tablet's owners.
    pub epoch: u64,
    /// Tells this opening of the tablet from others.
    writer: u128,
    /// Changes under the tablet's commit lock.
    log: Mutex<Log>,
    closed: OnceLock<Closed>,
    /// Objects of files that were stored here and that no manifest names yet.
    stored: Mutex<BTreeSet<String>>,
    /// When it was opened, or its objects were last looked through.
    looked: Mutex<Instant>,
}

/// The chain's newest manifest, as its writer knows it.
struct Log {
    sequence: u64,
    claims: Vec<u64>,
    records: Records,
}

impl Owned {
    /// Why the tablet is closed, if it is.
    pub(crate) fn closed(&self, tablet: TabletId) -> Option<Error> {
        self.closed.get().map(|closed| closed.error(tablet))
    }
}

impl Volumes {
    /// No tablets yet.
    pub(crate) fn new(pool: VolumePool) -> Self {
        Self {
            pool,
            runtime: OnceLock::new(),
            transfers: Arc::new(Semaphore::new(PARALLEL_FILES)),
            opening: Mutex::default(),
            closed: Mutex::default(),
        }
    }

    /// The runtime of requests to volumes, started when it is first needed. Clients' connections live on it.
    fn runtime(&self) -> Result<Handle> {
        if let Some(Own(Some(runtime))) = self.runtime.get() {
            return Ok(runtime.handle().clone());
        }
        let built = Builder::new_multi_thread().worker_threads(THREADS).thread_name("tarn-volume").enable_all().build();
        let built = Own(Some(built.map_err(|_| Error::Background("a request to a storage volume"))?));
        match &self.runtime.get_or_init(|| built).0 {
            Some(runtime) => Ok(runtime.handle().clone()),
            None => Err(Error::Background("a request to a storage volume")),
        }
    }

    /// Starts requests on the runtime of volumes, for who waits on another.
    fn task<T: Send + 'static>(&self, requests: impl Future<Output = T> + Send + 'static) -> Result<JoinHandle<T>> {
        let runtime = self.runtime()?;
        let _context = runtime.enter();
        Ok(tarn_proto::task::spawn("volume-requests", requests))
    }

    /// Waits for requests. Blocks: not to be called on a thread that runs tasks.
    fn wait<T: Send + 'static>(&self, requests: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        drop(self.task(async move {
            // Who waits has gone only with the process.
            let _ = sender.send(requests.await);
        })?);
        receiver.recv().map_err(|_| Error::Background("a request to a storage volume"))
    }

    /// Starts requests that nobody waits for, and whose failure only leaves something behind.
    fn start(&self, requests: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = self.runtime() {
            let _context = runtime.enter();
            drop(tarn_proto::task::spawn("volume-removal", requests));
        }
    }

    /// Forgets why tablets are not here: nobody asks for them any more.
    pub(crate) fn forget(&self, tablets: &BTreeSet<TabletId>) {
        self.closed.lock().retain(|tablet, _| !tablets.contains(tablet));
    }

    /// Why a tablet is not here.
    pub(crate) fn missing(&self, tablet: TabletId) -> Error {
        self.closed.lock().get(&tablet).map_or(Error::UnknownTablet(tablet), |closed| closed.error(tablet))
    }
}
