//! The engine: all tablets of a node.

pub(crate) mod commit;
mod publish;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tarn_proto::storage::{FileKey, LoadSpec, SegmentKey};
use tarn_proto::volume::VolumePool;
use tarn_proto::{TableSchema, TabletId, TxnId, Version, wire};
use tokio::sync::{Notify, Semaphore};
use tracing::warn;

use crate::budget::Budget;
use crate::budget::shares::Shares;
use crate::clone::Incoming;
use crate::codec::Codec;
use crate::compaction::history::History;
use crate::disk::{Disk, DiskLevel, DiskLimits, DiskMeter, FileSystem};
use crate::layout::DataDir;
use crate::load::{self, Attempt, Load, LoadWriter};
use crate::meta::{Changes, Meta};
use crate::open_segment::OpenSegments;
use crate::primary::Primary;
use crate::primary::index::Memory;
use crate::record::{RowsetRecord, TabletRecord, VersionRecord};
use crate::tablet::{Shape, State, Tablet};
use crate::volume::Volumes;
use crate::{Error, Result, recovery, segment};

pub use publish::PublishTurn;

/// How an engine works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; nobody else's files belong in its folders `meta` and `tablets`.
    pub data: PathBuf,
    /// Whether the directory is known to have been in use: it must hold metadata then. Tablets in it say so, too.
    pub used_before: bool,
    /// Memory for rows that are not yet in segments, over all loads. Writers wait while it is spent.
    pub write_buffer_bytes: u64,
    /// Rows of one tablet become a segment when they take this much memory.
    pub segment_bytes: u64,
    /// Segments that are sorted and compressed at the same time.
    pub flush_threads: usize,
    /// Segment files that stay open for reading.
    pub open_segments: usize,
    /// How long superseded rowsets stay after they were last read.
    pub retention: Duration,
    /// Loads into a tablet with more live rowsets wait for compaction.
    pub crowded_rowsets: usize,
    /// The longest such wait.
    pub crowded_wait: Duration,
    /// Memory for blocks and bloom filters of the primary-key index.
    pub primary_index_cache_bytes: u64,
    /// Memory for changes of the primary-key index that are not in its files yet.
    pub primary_index_buffer_bytes: u64,
    /// How long a load waits for a tablet that is not here yet.
    pub arrival_wait: Duration,
    /// Whether somebody calls [`Engine::compact`].
    pub compacts: bool,
    /// Tables with more columns are compacted by groups of columns.
    pub vertical_columns: usize,
    /// Memory for the rows that one compaction has read and not written yet. What the segment that is written buffers,
    /// [`Options::segment_bytes`] at most, comes on top.
    pub compaction_memory_bytes: u64,
    /// How full the disk may become.
    pub disk: DiskLimits,
    /// The clients of storage volumes.
    pub volumes: VolumePool,
    /// Memory for publishes that look up keys, complete rows or evaluate predicates, all together.
    pub publish_memory_bytes: u64,
    /// What files of tablets on storage volumes may take of the disk. They are fetched again when they are needed.
    pub volume_cache_bytes: u64,
    /// Time between two looks for what nobody needs in a tablet's volume.
    pub volume_collect: Duration,
    /// Objects that nothing names so long after they were written never will be.
    pub volume_grace: Duration,
    /// The longest load into a volume; well below [`Options::volume_grace`].
    pub volume_load: Duration,
    /// What measures the disk; the file system of the data directory if there is none.
    pub disk_meter: Option<Arc<dyn DiskMeter>>,
}

impl Options {
    /// A gigabyte of buffers, segments of 128 MiB before compression, one flush per processor, 4096 open files, 512 and
    /// 128 MiB for the primary-key index; superseded rowsets stay for ten minutes, loads wait a minute at most for tablets
    /// of more than 500 rowsets, and three seconds for those that are not here. 32 GiB of what is on storage volumes are
    /// cached, and orphans there go after a week.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            used_before: false,
            write_buffer_bytes: 1 << 30,
            segment_bytes: 128 << 20,
            flush_threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            open_segments: 4096,
            retention: Duration::from_secs(600),
            crowded_rowsets: 500,
            crowded_wait: Duration::from_secs(60),
            primary_index_cache_bytes: 512 << 20,
            primary_index_buffer_bytes: 128 << 20,
            arrival_wait: Duration::from_secs(3),
            compacts: true,
            vertical_columns: 32,
            compaction_memory_bytes: 256 << 20,
            publish_memory_bytes: 1 << 30,
            disk: DiskLimits::default(),
            disk_meter: None,
            volumes: VolumePool::default(),
            volume_cache_bytes: 32 << 30,
            volume_collect: Duration::from_secs(300),
            volume_grace: Duration::from_secs(7 * 86_400),
            volume_load: Duration::from_secs(7 * 43_200),
        }
    }
}

/// What an engine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tablets.
    pub tablets: u64,
    /// Bytes of segment files, published and pending.
    pub bytes: u64,
    /// Tablets that are read-only because a write failed.
    pub read_only: u64,
    /// Transactions that are being written.
    pub loads: u64,
}

/// All tablets of a node. Methods that are not `async` block on the disk: call them on threads made for it.
pub struct Engine {
    pub(crate) options: Options,
    pub(crate) dir: DataDir,
    pub(crate) codec: Codec,
    pub(crate) budget: Arc<Budget>,
    pub(crate) flushes: Arc<Semaphore>,
    /// For publishes: see `engine::publish` for who takes it when.
    pub(crate) publish_memory: Shares,
    /// Publishes that may block a thread.
    publishes: Arc<Semaphore>,
    pub(crate) meta: Meta,
    pub(crate) primary: Primary,
    tablets: RwLock<HashMap<TabletId, Arc<Tablet>>>,
    /// Told when there are more of them.
    arrived: Notify,
    /// Tablets with a pending rowset, by transaction.
    pub(crate) pending: Mutex<BTreeMap<TxnId, BTreeSet<TabletId>>>,
    /// The newest attempt to write each transaction.
    attempts: Mutex<HashMap<TxnId, Arc<Attempt>>>,
    pub(crate) next_attempt: AtomicU64,
    /// Copies of other replicas' rowsets that are on their way.
    pub(crate) incoming: Incoming,
    loads: Mutex<Vec<Weak<Load>>>,
    pub(crate) open: OpenSegments,
    /// Tablets whose rowsets changed since compaction asked.
    pub(crate) changed: Mutex<BTreeSet<TabletId>>,
    /// Told when there is one.
    pub(crate) wake: Notify,
    pub(crate) volumes: Volumes,
    pub(crate) disk: Disk,
    pub(crate) history: History,
}

/// Files of dropped tablets. They are removed by [`Garbage::remove`] or, failing that, at the next start.
#[must_use = "the files stay until the next start unless they are removed"]
pub struct Garbage(Vec<PathBuf>);

impl Garbage {
    /// Removes the files. Blocks.
    pub fn remove(self) {
        for dir in self.0 {
            if let Err(error) = fs::remove_dir_all(&dir)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(directory = %dir.display(), %error, "cannot remove a dropped tablet's files before the next start");
            }
        }
    }
}

impl Engine {
    /// Opens the data directory, recovers what is there and removes what no metadata names. Refuses a directory that has
    /// lost its metadata. Blocks.
    pub fn open(options: Options) -> Result<Arc<Self>> {
        crate::metrics::describe();
        let dir = DataDir::create(options.data.clone())?;
        if !Meta::exists(&dir.meta())? && (options.used_before || dir.has_tablets()?) {
            return Err(Error::MissingMeta { meta: dir.meta(), data: dir.root().to_owned() });
        }
        let meta = Meta::open(&dir.meta())?;
        let recovered = recovery::recover(&dir, &meta)?;
        let memory = Memory {
            cache_bytes: options.primary_index_cache_bytes,
            write_buffer_bytes: options.primary_index_buffer_bytes,
        };
        let meter = options.disk_meter.clone().unwrap_or_else(|| Arc::new(FileSystem(dir.root().to_owned())));
        Ok(Arc::new(Self {
            codec: Codec::new(),
            budget: Arc::new(Budget::new(options.write_buffer_bytes)),
            flushes: Arc::new(Semaphore::new(options.flush_threads.max(1))),
            publish_memory: Shares::new(options.publish_memory_bytes),
            publishes: Arc::new(Semaphore::new(publish::AT_ONCE)),
            changed: Mutex::new(recovered.tablets.keys().copied().collect()),
            wake: Notify::new(),
            tablets: RwLock::new(recovered.tablets),
            arrived: Notify::new(),
            pending: Mutex::new(recovered.pending),
            attempts: Mutex::default(),
            next_attempt: AtomicU64::new(1),
            incoming: Incoming::default(),
            loads: Mutex::default(),
            open: OpenSegments::new(options.open_segments.max(1)),
            volumes: Volumes::new(options.volumes.clone()),
            primary: Primary::new(dir.primary(), memory),
            disk: Disk::new(dir.root().to_owned(), options.disk, meter),
            history: History::default(),
            dir,
            meta,
            options,
        }))
    }

    /// Creates tablets that do not exist yet, at [`Version::FIRST`]. Blocks.
    pub fn create_tablets(&self, schema: &TableSchema, ids: &[TabletId]) -> Result<()> {
        if let Some(first) = ids.first() {
            segment::check_schema(schema).map_err(|source| Error::Rows { tablet: *first, source })?;
        }
        // Creating and dropping are rare: one at a time.
        let mut tablets = self.tablets.write();
        let mut changes = Changes::default();
        let new: BTreeSet<TabletId> = ids.iter().copied().filter(|id| !tablets.contains_key(id)).collect();
        for id in &new {
            changes.put_tablet(*id, &TabletRecord { schema: schema.clone() });
            changes.put_version(*id, VersionRecord::FIRST);
        }
        self.meta.write(changes)?;
        for id in new {
            tablets.insert(id, Arc::new(Tablet::new(id, schema.clone(), State::new())));
        }
        drop(tablets);
        self.arrived.notify_waiters();
        Ok(())
    }

    /// Forgets tablets; those that are not here are skipped. Blocks.
    pub fn drop_tablets(&self, ids: &[TabletId]) -> Result<Garbage> {
        let ids: BTreeSet<TabletId> = ids.iter().copied().collect();
        let dropped: Vec<Arc<Tablet>> = ids.iter().filter_map(|id| self.tablet(*id).ok()).collect();
        let _commits: Vec<_> = dropped.iter().map(|t| t.commit.lock()).collect();
        let mut changes = Changes::default();
        // What is left of tablets on storage volumes that this node owned.
        let left = |id: &&TabletId| !dropped.iter().any(|tablet| tablet.id == **id) && self.dir.tablet(**id).is_dir();
        let left: Vec<TabletId> = ids.iter().filter(left).copied().collect();
        left.iter().for_each(|id| changes.clear(*id));
        for tablet in &dropped {
            if tablet.owned.is_some() {
                changes.clear(tablet.id);
                continue;
            }
            changes.delete_tablet(tablet.id);
            for rowset in tablet.state.read().rowsets.keys() {
                changes.delete_rowset(tablet.id, *rowset);
            }
        }
        self.meta.write(changes)?;
        let mut tablets = self.tablets.write();
        for tablet in &dropped {
            tablet.state.write().dropped = true;
            tablet.relieved.notify_waiters();
            tablets.remove(&tablet.id);
            self.open.close_tablet(tablet.id);
        }
        // A replica that comes back to this node has a directory of its own.
        let number = || self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let gone = dropped.iter().map(|tablet| tablet.id).chain(left);
        let garbage = gone.filter_map(|id| self.dir.put_aside(id, number())).collect();
        drop(tablets);
        self.volumes.forget(&ids);
        dropped.iter().for_each(|tablet| self.primary.forget(tablet.id));
        let mut pending = self.pending.lock();
        for waiting in pending.values_mut() {
            waiting.retain(|id| !ids.contains(id));
        }
        pending.retain(|_, waiting| !waiting.is_empty());
        Ok(Garbage(garbage))
    }

    /// Starts to write a transaction. An earlier attempt to write it, finished or not, is forgotten.
    pub async fn begin(self: &Arc<Self>, txn: TxnId, load_id: &str, spec: &LoadSpec) -> Result<LoadWriter> {
        let change = load::change(txn, spec)?;
        let number = self.next_attempt.fetch_add(1, Ordering::Relaxed);
        let attempt = Arc::new(Attempt::new(txn, load_id.to_owned(), number));
        let (engine, newest) = (self.clone(), attempt.clone());
        blocking("the start of a load", move || engine.replace_attempt(txn, Some(newest))).await??;
        let load = Arc::new(Load::new(self.clone(), attempt, Arc::new(Shape::new(spec.schema.clone())), change));
        let mut loads = self.loads.lock();
        loads.retain(|load| load.strong_count() > 0);
        loads.push(Arc::downgrade(&load));
        drop(loads);
        Ok(LoadWriter::new(load))
    }

    /// Starts to flush the largest memtable of all loads, if it has at least `least` bytes.
    pub(crate) fn flush_largest(&self, least: u64) {
        let loads: Vec<Arc<Load>> = self.loads.lock().iter().filter_map(Weak::upgrade).collect();
        let largest = loads.iter().filter_map(|load| load.largest().map(|(bytes, tablet)| (bytes, tablet, load)));
        if let Some((bytes, tablet, load)) = largest.max_by_key(|(bytes, ..)| *bytes)
            && bytes >= least
        {
            load.start_flush(tablet);
        }
    }

    /// The rowsets of each tablet at a version. Blocks.
    pub fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<wire::Manifest>> {
        tablets.iter().map(|(id, version)| self.manifest(*id, *version)).collect()
    }

    fn manifest(&self, id: TabletId, version: Version) -> Result<wire::Manifest> {
        let tablet = self.tablet(id)?;
        let mut rowsets = Vec::new();
        for (rowset, since, record) in tablet.rowsets_at(version)? {
            if record.is_superseded() {
                tablet.superseded.lock().note_read();
            }
            let mut segments = Vec::with_capacity(record.segments.len());
            // A load that only deletes keys leaves segments without rows.
            for (number, segment) in (0..).zip(&record.segments).filter(|(_, segment)| segment.rows > 0) {
                let key = SegmentKey { tablet: id, rowset, segment: number };
                let vector = self.delete_vector_at(&tablet, rowset, number, version)?;
                let index = self.short_key_index(key, segment);
                let index = index.map_err(|error| unless_gone(&tablet, key, segment.checksum, error))?;
                segments.push(wire::Segment {
                    number,
                    bytes: segment.bytes,
                    rows: segment.rows,
                    checksum: segment.checksum,
                    delete_vector: vector.map(|vector| vector.portable).unwrap_or_default(),
                    short_key_index: index,
                    indexes: segment.index_files().map(|(index, file)| file.to_wire(index)).collect(),
                });
            }
            rowsets.push(wire::Rowset {
                id: rowset.get(),
                version: since.get(),
                schema_version: record.schema_version.get(),
                segments,
            });
        }
        // Delete vectors that nobody needs go after the versions that did: what was read above was all there.
        tablet.check_kept(version)?;
        let volume_id = tablet.owned.as_ref().map_or(0, |owned| owned.volume.get());
        Ok(wire::Manifest { tablet_id: id.get(), version: version.get(), rowsets, volume_id })
    }

    /// Verified byte ranges of a segment, in their order. Blocks.
    pub fn read_ranges(&self, file: FileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let FileKey { segment: key, checksum } = file;
        let tablet = self.tablet(key.tablet)?;
        let record = rowset_with(&tablet, file)?;
        if record.is_superseded() {
            tablet.superseded.lock().note_read();
        }
        let read = self.open_segment(key, &record.segments[key.segment as usize]).and_then(|open| open.read(ranges));
        read.map_err(|error| unless_gone(&tablet, key, checksum, error))
    }

    /// All tablets, by id.
    pub fn reports(&self) -> Vec<wire::TabletReport> {
        let mut reports: Vec<_> = self.tablets.read().values().map(|t| t.report()).collect();
        reports.sort_by_key(|r| r.tablet_id);
        reports
    }

    /// Sums over all tablets.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { loads: self.attempts.lock().len() as u64, ..Usage::default() };
        for tablet in self.tablets.read().values() {
            let state = tablet.state.read();
            usage.tablets += 1;
            usage.bytes += state.rowsets.values().map(|r| r.bytes()).sum::<u64>();
            usage.read_only += u64::from(state.read_only.is_some());
        }
        usage
    }

    /// How full the disk is now. Tells operators when that has changed: to be called from time to time.
    pub fn disk_level(&self) -> DiskLevel {
        self.disk.level()
    }

    /// How many tablets there are.
    pub fn tablet_count(&self) -> usize {
        self.tablets.read().len()
    }

    /// All tablets, in any order.
    pub(crate) fn all_tablets(&self) -> Vec<Arc<Tablet>> {
        self.tablets.read().values().cloned().collect()
    }

    pub(crate) fn tablet(&self, id: TabletId) -> Result<Arc<Tablet>> {
        let tablet = self.tablets.read().get(&id).cloned();
        tablet.ok_or_else(|| self.volumes.missing(id))
    }

    /// A tablet that may be about to come: the catalog names a tablet's node before that node has opened it.
    pub(crate) async fn tablet_soon(&self, id: TabletId) -> Result<Arc<Tablet>> {
        let deadline = tokio::time::Instant::now() + self.options.arrival_wait;
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            // What comes from here on is told of.
            arrived.as_mut().enable();
            match self.tablet(id) {
                Ok(tablet) => return Ok(tablet),
                Err(missing) if tokio::time::timeout_at(deadline, arrived).await.is_err() => return Err(missing),
                Err(_) => {}
            }
        }
    }

    /// Adds a tablet that was opened.
    pub(crate) fn insert_tablet(&self, tablet: Arc<Tablet>) {
        let id = tablet.id;
        self.tablets.write().insert(id, tablet);
        self.arrived.notify_waiters();
        self.note_changed(id);
    }

    /// Forgets a tablet that was closed. What is on the disk stays.
    pub(crate) fn forget_tablet(&self, tablet: &Arc<Tablet>) {
        tablet.state.write().dropped = true;
        tablet.relieved.notify_waiters();
        let mut tablets = self.tablets.write();
        if tablets.get(&tablet.id).is_some_and(|known| Arc::ptr_eq(known, tablet)) {
            tablets.remove(&tablet.id);
        }
        drop(tablets);
        self.open.close_tablet(tablet.id);
        self.primary.forget(tablet.id);
        let mut pending = self.pending.lock();
        for waiting in pending.values_mut() {
            waiting.remove(&tablet.id);
        }
        pending.retain(|_, waiting| !waiting.is_empty());
    }

    /// Notes that a tablet has a pending rowset.
    pub(crate) fn note_pending(&self, txn: TxnId, tablet: TabletId) {
        self.pending.lock().entry(txn).or_default().insert(tablet);
    }
}

const fn unknown(key: SegmentKey) -> Error {
    Error::UnknownSegment { tablet: key.tablet, rowset: key.rowset, segment: key.segment }
}

/// The rowset of a segment file that is read. Refuses if the tablet has none, or another file in its place.
pub(crate) fn rowset_with(tablet: &Tablet, file: FileKey) -> Result<Arc<RowsetRecord>> {
    let SegmentKey { tablet: id, rowset, segment } = file.segment;
    let record = tablet.state.read().rowsets.get(&rowset).cloned().ok_or(unknown(file.segment))?;
    match record.segments.get(segment as usize) {
        None => Err(unknown(file.segment)),
        Some(held) if held.checksum != file.checksum => Err(Error::OtherFile { tablet: id, rowset, segment }),
        Some(_) => Ok(record),
    }
}

/// Why a segment file cannot be read, unless its rowset or tablet has gone meanwhile and its files with it, or a clone has
/// put others in their place.
fn unless_gone(tablet: &Tablet, key: SegmentKey, checksum: u32, error: Error) -> Error {
    let dropped = tablet.state.read().dropped;
    match rowset_with(tablet, FileKey { segment: key, checksum }) {
        Err(gone) => gone,
        Ok(_) if dropped => unknown(key),
        Ok(_) => {
            tablet.note_damage(&error);
            error
        }
    }
}

/// Runs work that blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Background(what))
}
