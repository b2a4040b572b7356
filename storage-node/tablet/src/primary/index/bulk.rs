//! Many keys of a tablet, as table files beside the store that it then takes as its own: no memory and no sorting, and no
//! compaction if the tablet had none before.

use std::fs;
use std::path::PathBuf;

use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use tarn_proto::TabletId;

use super::{Location, Store, tablet_key};
use crate::Result;
use crate::error::IoContext;

/// A file ends when it is so long.
const FILE_BYTES: u64 = 64 << 20;
/// How the names of files begin that are not the store's yet.
const PREFIX: &str = "bulk_";

/// Entries of one tablet on their way into the store.
pub(crate) struct Bulk<'a> {
    store: &'a Store,
    tablet: TabletId,
    writer: Option<SstFileWriter<'a>>,
    files: Vec<PathBuf>,
    /// The prefix of the tablet's keys, then room for the rest.
    key: Vec<u8>,
}

impl Store {
    /// Entries to be added in order of their keys, in the place of those that are there. No two of a tablet at a time.
    pub(crate) fn bulk(&self, tablet: TabletId) -> Bulk<'_> {
        Bulk { store: self, tablet, writer: None, files: Vec::new(), key: tablet_key(b'k', tablet).to_vec() }
    }

    /// Removes files that a process left which ended in the middle. Blocks.
    pub(super) fn remove_bulk_files(&self) -> Result<()> {
        let folder = self.db.path();
        for entry in fs::read_dir(folder).doing("list", folder)? {
            let path = entry.doing("list", folder)?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX)) {
                fs::remove_file(&path).doing("remove", &path)?;
            }
        }
        Ok(())
    }
}

impl Bulk<'_> {
    /// A key leads to a row, once the store has it. The key is greater than those before. Blocks now and then.
    pub(crate) fn put(&mut self, key: &[u8], location: Location) -> Result<()> {
        self.add(key, |writer, key| writer.put(key, location.encode()))
    }

    /// A key leads nowhere, once the store has it. The key is greater than those before. Blocks now and then.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.add(key, |writer, key| writer.delete(key))
    }

    fn add(
        &mut self,
        key: &[u8],
        entry: impl FnOnce(&mut SstFileWriter<'_>, &[u8]) -> std::result::Result<(), rocksdb::Error>,
    ) -> Result<()> {
        let failed = |store: &Store, source| store.failed("write", source);
        if self.writer.is_none() {
            let path = self.store.db.path().join(format!("{PREFIX}{}_{}", self.tablet.get(), self.files.len()));
            let writer = SstFileWriter::create(&self.store.options);
            writer.open(&path).map_err(|e| failed(self.store, e))?;
            self.files.push(path);
            self.writer = Some(writer);
        }
        self.key.truncate(9);
        self.key.extend_from_slice(key);
        let Some(writer) = &mut self.writer else { return Ok(()) };
        entry(writer, &self.key).map_err(|e| failed(self.store, e))?;
        if writer.file_size() >= FILE_BYTES {
            self.end_file()?;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        match self.writer.take() {
            Some(mut writer) => writer.finish().map_err(|e| self.store.failed("write", e)),
            None => Ok(()),
        }
    }

    /// Hands the entries to the store. Blocks.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end_file()?;
        if self.files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let files = std::mem::take(&mut self.files);
        self.store.db.ingest_external_file_opts(&options, files).map_err(|e| self.store.failed("write", e))
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        drop(self.writer.take());
        for file in &self.files {
            // What stays goes when the store is opened.
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tarn_proto::RowsetId;

    use super::super::super::key::Keys;
    use super::super::Memory;
    use super::*;

    const MEMORY: Memory = Memory { cache_bytes: 1 << 20, write_buffer_bytes: 1 << 20 };

    #[test]
    fn entries_that_come_as_files_are_found_and_take_the_place_of_older_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("primary");
        let store = Store::open(&path, MEMORY).unwrap();
        let tablet = TabletId(7);
        let at = |rowset: u64, row: u32| Location { rowset: RowsetId(rowset), segment: 0, row };
        let mut changes = store.changes(tablet);
        changes.put(&5u32.to_be_bytes(), at(1, 5)).unwrap();
        changes.finish(&BTreeSet::from([RowsetId(1)])).unwrap();
        let mut bulk = store.bulk(tablet);
        for number in 0..10_000u32 {
            bulk.put(&number.to_be_bytes(), at(2, number)).unwrap();
        }
        bulk.finish().unwrap();
        let mut dropped = store.bulk(TabletId(8));
        dropped.put(b"k", at(3, 0)).unwrap();
        drop(dropped);
        store.bulk(tablet).finish().unwrap();
        let mut keys = Keys::new();
        for number in [0u32, 5, 9999, 10_000] {
            keys.push(&number.to_be_bytes());
        }
        let mut found = Vec::new();
        store.lookup(tablet, &keys, &mut found).unwrap();
        assert_eq!(found, [Some(at(2, 0)), Some(at(2, 5)), Some(at(2, 9999)), None]);
        drop(store);
        fs::write(path.join("bulk_9_0"), "left behind").unwrap();
        let store = Store::open(&path, MEMORY).unwrap();
        store.lookup(tablet, &keys, &mut found).unwrap();
        assert_eq!(found[2], Some(at(2, 9999)));
        let left = fs::read_dir(&path)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(PREFIX));
        assert_eq!(left.count(), 0);
    }
}
