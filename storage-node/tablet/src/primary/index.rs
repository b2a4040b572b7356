//! The primary-key index: encoded key to the place of its row, for all tablets of the node.
//!
//! | key | value |
//! |---|---|
//! | `f` | format version of the store (1): 1 |
//! | `k` tablet (8, big endian) encoded key | rowset (8), segment (4), row (4), little endian |
//! | `m` tablet (8, big endian) | marker: rowsets (8 each, little endian), ascending |
//!
//! It is a cache of what rowsets say. A marker names the rowsets whose live rows are all in the index: if a row of one of
//! them lives, its key leads to it. The converse need not hold: an entry may lead to a row that was deleted or to a rowset
//! that is gone, which whoever reads it must check. Writes are not logged: what a crash takes, it takes from the end, the
//! marker with it.

mod bulk;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, Env, IteratorMode,
    Options, ReadOptions, WriteBatch, WriteOptions, properties,
};
use tarn_proto::{RowsetId, TabletId};
use tracing::warn;

use crate::error::IoContext;
use crate::{Error, Result, metrics};

const FORMAT: &[u8] = &[1];
const FORMAT_KEY: &[u8] = b"f";
const LOCATION_BYTES: usize = 16;
/// The only column family.
const FAMILY: &str = "default";
/// Bits a key takes in a bloom filter: one of a hundred absent keys is looked for in vain.
const BLOOM_BITS: f64 = 10.0;
/// Log files of RocksDB itself that are kept.
const KEPT_LOGS: usize = 4;
/// Keys of one call to RocksDB: enough to share blocks between neighbours, few enough to stay in cache.
pub(crate) const LOOKUP_KEYS: usize = 4096;
/// New table files that are merged into the older ones at a time: random keys reach all of these, so that the more are merged
/// the fewer times is everything written anew. A lookup asks the bloom filters of those that have its tablet.
const MERGED_FILES: i32 = 24;
/// A batch of changes is written when it is so long.
const BATCH_BYTES: usize = 4 << 20;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The rowset.
    pub rowset: RowsetId,
    /// The segment in the rowset.
    pub segment: u32,
    /// The row in the segment.
    pub row: u32,
}

impl Location {
    pub(super) fn encode(self) -> [u8; LOCATION_BYTES] {
        let mut out = [0; LOCATION_BYTES];
        out[..8].copy_from_slice(&self.rowset.get().to_le_bytes());
        out[8..12].copy_from_slice(&self.segment.to_le_bytes());
        out[12..].copy_from_slice(&self.row.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (rowset, rest) = bytes.split_first_chunk::<8>()?;
        let (segment, rest) = rest.split_first_chunk::<4>()?;
        let row: [u8; 4] = rest.try_into().ok()?;
        Some(Self {
            rowset: RowsetId(u64::from_le_bytes(*rowset)),
            segment: u32::from_le_bytes(*segment),
            row: u32::from_le_bytes(row),
        })
    }
}

fn encode_marker(rowsets: &BTreeSet<RowsetId>) -> Vec<u8> {
    rowsets.iter().flat_map(|rowset| rowset.get().to_le_bytes()).collect()
}

fn decode_marker(bytes: &[u8]) -> Option<BTreeSet<RowsetId>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|n| RowsetId(u64::from_le_bytes(*n))).collect())
}

fn tablet_key(kind: u8, tablet: TabletId) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&tablet.get().to_be_bytes());
    key
}

/// Memory of the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Blocks, bloom filters and indexes of its table files.
    pub cache_bytes: u64,
    /// Changes that are not in table files yet.
    pub write_buffer_bytes: u64,
}

/// An open store.
pub(crate) struct Store {
    db: DB,
    /// Of its table files.
    options: Options,
    cache: Cache,
    unlogged: WriteOptions,
}

impl Store {
    /// Opens the store in `path`, or makes one. One that cannot be read is thrown away. Blocks.
    pub(crate) fn open(path: &Path, memory: Memory) -> Result<Self> {
        let reason = match Self::try_open(path, memory) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => "it has another format".to_owned(),
            Err(error) => tarn_proto::error::chain(&error),
        };
        warn!(path = %path.display(), reason, "the primary-key index is built anew");
        Self::recreate(path, memory)
    }

    /// Throws away what is in `path` and makes an empty store. Blocks.
    pub(crate) fn recreate(path: &Path, memory: Memory) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(path).doing("remove", path)?;
        }
        metrics::primary_index_made();
        let unreadable = || Error::Index { action: "make", path: PathBuf::from(path), source: None };
        Self::try_open(path, memory)?.ok_or_else(unreadable)
    }

    fn try_open(path: &Path, memory: Memory) -> Result<Option<Self>> {
        let failed = |source| Error::Index { action: "open", path: PathBuf::from(path), source: Some(source) };
        let cache = Cache::new_lru_cache(memory.cache_bytes as usize);
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&cache);
        tables.set_bloom_filter(BLOOM_BITS, false);
        tables.set_whole_key_filtering(true);
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_cache_index_and_filter_blocks_with_high_priority(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        // In pieces: a file's whole filter takes megabytes, and two of them in one shard of the cache would drive each
        // other out at every lookup.
        tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        tables.set_partition_filters(true);
        tables.set_pin_top_level_index_and_filter(true);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_block_based_table_factory(&tables);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_keep_log_file_num(KEPT_LOGS);
        let buffers = (memory.write_buffer_bytes as usize).max(1 << 20);
        options.set_db_write_buffer_size(buffers);
        options.set_write_buffer_size(buffers / 2);
        options.set_max_background_jobs(2);
        // As the node's own compactions: loads and queries go first, unless far too many files wait.
        let mut env = Env::new().map_err(failed)?;
        env.lower_thread_pool_cpu_priority();
        options.set_env(&env);
        options.set_level_zero_file_num_compaction_trigger(MERGED_FILES);
        options.set_level_zero_slowdown_writes_trigger(4 * MERGED_FILES);
        options.set_level_zero_stop_writes_trigger(6 * MERGED_FILES);
        let new = !path.join("CURRENT").exists();
        let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        let db = DB::open_cf_descriptors(&options, path, [family]).map_err(failed)?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        if new {
            db.put_opt(FORMAT_KEY, FORMAT, &unlogged).map_err(failed)?;
            db.flush().map_err(failed)?;
        } else if db.get(FORMAT_KEY).map_err(failed)?.as_deref() != Some(FORMAT) {
            return Ok(None);
        }
        let store = Self { db, options, cache, unlogged };
        store.remove_bulk_files()?;
        Ok(Some(store))
    }

    fn failed(&self, action: &'static str, source: rocksdb::Error) -> Error {
        Error::Index { action, path: self.db.path().to_owned(), source: Some(source) }
    }

    /// The rowsets that are all in the index; none if nothing is known of the tablet. Blocks.
    pub(crate) fn marker(&self, tablet: TabletId) -> Result<Option<BTreeSet<RowsetId>>> {
        let value = self.db.get(tablet_key(b'm', tablet)).map_err(|e| self.failed("read", e))?;
        Ok(value.and_then(|bytes| decode_marker(&bytes)))
    }

    /// Where the index has each key of `keys`, which are sorted; `found` is replaced. Blocks.
    pub(crate) fn lookup(
        &self,
        tablet: TabletId,
        keys: &super::key::Keys,
        found: &mut Vec<Option<Location>>,
    ) -> Result<()> {
        found.clear();
        let family = self.db.cf_handle(FAMILY).expect("opened with it");
        let prefix = tablet_key(b'k', tablet);
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(LOOKUP_KEYS));
        for start in (0..keys.len()).step_by(LOOKUP_KEYS) {
            bytes.clear();
            ends.clear();
            for i in start..keys.len().min(start + LOOKUP_KEYS) {
                bytes.extend_from_slice(&prefix);
                bytes.extend_from_slice(keys.get(i));
                ends.push(bytes.len());
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let slices = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]);
            for value in self.db.batched_multi_get_cf_opt(family, slices, true, &options) {
                let value = value.map_err(|e| self.failed("read", e))?;
                // What is no location is no entry that this build wrote: as good as lost, and the store with it.
                found.push(match value {
                    None => None,
                    Some(value) => Some(Location::decode(&value).ok_or_else(|| self.damaged())?),
                });
            }
        }
        metrics::primary_keys_looked_up(found.len());
        Ok(())
    }

    /// The error for an entry that cannot be.
    pub(crate) fn damaged(&self) -> Error {
        Error::Index { action: "read", path: self.db.path().to_owned(), source: None }
    }

    /// Forgets a tablet. Blocks.
    pub(crate) fn clear(&self, tablet: TabletId) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete(tablet_key(b'm', tablet));
        batch.delete_range(tablet_key(b'k', tablet), tablet_key(b'k', TabletId(tablet.get() + 1)));
        self.db.write_opt(batch, &self.unlogged).map_err(|e| self.failed("write", e))
    }

    /// The tablets that it has a marker of. Blocks.
    pub(crate) fn tablets(&self) -> Result<Vec<TabletId>> {
        let start = tablet_key(b'm', TabletId(0));
        let markers = self.db.iterator(IteratorMode::From(&start, rocksdb::Direction::Forward));
        let keys = markers.map(|entry| entry.map(|(key, _)| key).map_err(|e| self.failed("read", e)));
        let keys = keys.take_while(|key| key.as_ref().map_or(true, |key| key.first() == Some(&b'm')));
        keys.filter_map(|key| match key {
            Ok(key) => key.get(1..9)?.try_into().ok().map(|id| Ok(TabletId(u64::from_be_bytes(id)))),
            Err(error) => Some(Err(error)),
        })
        .collect()
    }

    /// Changes of a tablet's entries.
    pub(crate) fn changes(&self, tablet: TabletId) -> IndexChanges<'_> {
        let key = tablet_key(b'k', tablet).to_vec();
        IndexChanges { store: self, tablet, batch: WriteBatch::default(), key }
    }

    /// Bytes in memory: cached blocks and changes that are in no table file yet.
    pub(crate) fn memory(&self) -> u64 {
        let buffers =
            self.db.property_int_value(properties::CUR_SIZE_ALL_MEM_TABLES).ok().flatten().unwrap_or_default();
        self.cache.get_usage() as u64 + buffers
    }
}

/// Changes of one tablet, written now and then; all of them once [`IndexChanges::finish`] is done.
pub(crate) struct IndexChanges<'a> {
    store: &'a Store,
    tablet: TabletId,
    batch: WriteBatch,
    /// The prefix of the tablet's keys, then room for the rest.
    key: Vec<u8>,
}

impl IndexChanges<'_> {
    fn set_key(&mut self, key: &[u8]) {
        self.key.truncate(9);
        self.key.extend_from_slice(key);
    }

    /// A key leads to a row from now on. May block.
    pub(crate) fn put(&mut self, key: &[u8], location: Location) -> Result<()> {
        self.set_key(key);
        self.batch.put(&self.key, location.encode());
        self.write_if_long()
    }

    /// A key leads nowhere from now on. May block.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.set_key(key);
        self.batch.delete(&self.key);
        self.write_if_long()
    }

    fn write_if_long(&mut self) -> Result<()> {
        if self.batch.size_in_bytes() < BATCH_BYTES {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.store.db.write_opt(batch, &self.store.unlogged).map_err(|e| self.store.failed("write", e))
    }

    /// Writes what is left. Blocks.
    pub(crate) fn write(self) -> Result<()> {
        self.store.db.write_opt(self.batch, &self.store.unlogged).map_err(|e| self.store.failed("write", e))
    }

    /// Writes what is left, with the rowsets that are all in the index then. Blocks.
    pub(crate) fn finish(mut self, rowsets: &BTreeSet<RowsetId>) -> Result<()> {
        self.batch.put(tablet_key(b'm', self.tablet), encode_marker(rowsets));
        self.store.db.write_opt(self.batch, &self.store.unlogged).map_err(|e| self.store.failed("write", e))?;
        metrics::primary_index_memory(self.store.memory());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::Keys;
    use super::*;

    const MEMORY: Memory = Memory { cache_bytes: 1 << 20, write_buffer_bytes: 1 << 20 };

    fn keys(keys: &[&[u8]]) -> Keys {
        let mut all = Keys::new();
        keys.iter().for_each(|key| all.push(key));
        all
    }

    fn at(rowset: u64, segment: u32, row: u32) -> Location {
        Location { rowset: RowsetId(rowset), segment, row }
    }

    #[test]
    fn frozen_bytes() {
        let place = at(0x0102, 3, 4);
        let bytes = [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
        assert_eq!(place.encode(), bytes);
        assert_eq!(Location::decode(&bytes), Some(place));
        assert_eq!(tablet_key(b'k', TabletId(258)), *b"k\0\0\0\0\0\0\x01\x02");
        let rowsets = BTreeSet::from([RowsetId(1), RowsetId(1 << 63)]);
        let marker = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert_eq!(encode_marker(&rowsets), marker);
        assert_eq!(decode_marker(&marker), Some(rowsets));
    }

    #[test]
    fn tablets_are_apart_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("primary");
        let store = Store::open(&path, MEMORY).unwrap();
        let (one, two) = (TabletId(255), TabletId(256));
        for (tablet, rowset) in [(one, 1), (two, 2)] {
            let mut changes = store.changes(tablet);
            changes.put(b"a", at(rowset, 0, 1)).unwrap();
            changes.put(b"b", at(rowset, 0, 2)).unwrap();
            changes.finish(&BTreeSet::from([RowsetId(rowset)])).unwrap();
        }
        drop(store);
        let store = Store::open(&path, MEMORY).unwrap();
        assert_eq!(store.tablets().unwrap(), [one, two]);
        let mut found = Vec::new();
        store.lookup(two, &keys(&[b"", b"a", b"aa", b"b"]), &mut found).unwrap();
        assert_eq!(found, [None, Some(at(2, 0, 1)), None, Some(at(2, 0, 2))]);
        store.clear(one).unwrap();
        assert_eq!(store.marker(one).unwrap(), None);
        assert_eq!(store.marker(two).unwrap(), Some(BTreeSet::from([RowsetId(2)])));
        store.lookup(one, &keys(&[b"a"]), &mut found).unwrap();
        assert_eq!(found, [None]);
    }

    #[test]
    fn a_store_of_another_format_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("primary");
        let store = Store::open(&path, MEMORY).unwrap();
        store.changes(TabletId(1)).finish(&BTreeSet::new()).unwrap();
        store.db.put(FORMAT_KEY, [99]).unwrap();
        drop(store);
        assert_eq!(Store::open(&path, MEMORY).unwrap().tablets().unwrap(), []);
    }

    #[test]
    fn a_damaged_store_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("primary");
        let store = Store::open(&path, MEMORY).unwrap();
        store.changes(TabletId(1)).finish(&BTreeSet::new()).unwrap();
        drop(store);
        fs::write(path.join("CURRENT"), "nothing").unwrap();
        assert_eq!(Store::open(&path, MEMORY).unwrap().tablets().unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Location::decode(&bytes).is_some(), bytes.len() == LOCATION_BYTES);
            prop_assert_eq!(decode_marker(&bytes).is_some(), bytes.len() % 8 == 0);
        }
    }
}
