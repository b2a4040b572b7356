//! Start: the metadata store tells what there is, everything else in the data directory goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TableModel, TableSchema, TabletId, TxnId, Version};
use tracing::{info, warn};

use crate::error::IoContext;
use crate::layout::{DataDir, sync_dir};
use crate::meta::{Entry, Meta, decode_vector};
use crate::record::{RowsetRecord, VersionRecord};
use crate::tablet::{State, Tablet};
use crate::{Error, Result};

/// What was there before.
pub(crate) struct Recovered {
    pub tablets: HashMap<TabletId, Arc<Tablet>>,
    /// Tablets with a pending rowset, by transaction.
    pub pending: BTreeMap<TxnId, BTreeSet<TabletId>>,
}

/// A stored delete vector and the version that it is from.
type Stored = (Version, Box<[u8]>);

/// Reads the store and removes orphans. Tablets on storage volumes are not opened by it, and what their folders hold stays:
/// it is of use if this node owns them again. Blocks.
pub(crate) fn recover(dir: &DataDir, meta: &Meta) -> Result<Recovered> {
    let Found { mut tablets, mut pending, on_volumes } = read(meta.entries())?;
    tablets.retain(|id, _| !on_volumes.contains(id));
    pending.values_mut().for_each(|waiting| waiting.retain(|id| !on_volumes.contains(id)));
    pending.retain(|_, waiting| !waiting.is_empty());
    let tablets = tablets.into_iter().map(|(id, tablet)| (id, Arc::new(tablet))).collect();
    remove_orphans(dir, &tablets, &on_volumes)?;
    info!(tablets = tablets.len(), pending_transactions = pending.len(), "tablets recovered");
    Ok(Recovered { tablets, pending })
}

/// A tablet from what the store has, or shall have, of it.
pub(crate) fn assemble(id: TabletId, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<Tablet> {
    let entries = entries.iter().map(|(key, value)| Entry::decode(key, value));
    read(entries)?.tablets.remove(&id).ok_or(Error::UnknownTablet(id))
}

/// What entries of the store tell.
struct Found {
    tablets: HashMap<TabletId, Tablet>,
    pending: BTreeMap<TxnId, BTreeSet<TabletId>>,
    on_volumes: BTreeSet<TabletId>,
}

fn read(entries: impl Iterator<Item = Result<Entry>>) -> Result<Found> {
    let mut schemas: HashMap<TabletId, TableSchema> = HashMap::new();
    let mut versions: HashMap<TabletId, VersionRecord> = HashMap::new();
    let mut rowsets: HashMap<TabletId, BTreeMap<RowsetId, Arc<RowsetRecord>>> = HashMap::new();
    let mut pending: BTreeMap<TxnId, BTreeSet<TabletId>> = BTreeMap::new();
    let mut vectors: HashMap<TabletId, BTreeMap<(RowsetId, u32), Stored>> = HashMap::new();
    let mut on_volumes: BTreeSet<TabletId> = BTreeSet::new();
    for entry in entries {
        match entry? {
            Entry::Tablet(tablet, record) => drop(schemas.insert(tablet, record.schema)),
            Entry::Version(tablet, version) => drop(versions.insert(tablet, version)),
            Entry::Volume(tablet) => {
                on_volumes.insert(tablet);
            }
            Entry::Rowset(tablet, rowset, record) => {
                if record.is_pending() {
                    pending.entry(record.txn).or_default().insert(tablet);
                }
                rowsets.entry(tablet).or_default().insert(rowset, Arc::new(record));
            }
            Entry::DeleteVector(tablet, rowset, segment, version, bytes) => {
                // The newest comes last.
                vectors.entry(tablet).or_default().insert((rowset, segment), (version, bytes));
            }
        }
    }
    let tablets: HashMap<TabletId, Tablet> = schemas
        .into_iter()
        .map(|(id, schema)| {
            let mut state = State::new();
            let versions = versions.get(&id).copied().unwrap_or(VersionRecord::FIRST);
            state.version = versions.version;
            state.oldest = versions.oldest;
            state.rowsets = rowsets.remove(&id).unwrap_or_default();
            for ((rowset, segment), (since, bytes)) in vectors.remove(&id).unwrap_or_default() {
                if state.rowsets.contains_key(&rowset) {
                    state.delete_vectors.insert((rowset, segment), decode_vector(id, rowset, segment, since, &bytes)?);
                }
            }
            Ok((id, Tablet::new(id, schema, state)))
        })
        .collect::<Result<_>>()?;
    Ok(Found { tablets, pending, on_volumes })
}

fn remove_orphans(
    dir: &DataDir,
    tablets: &HashMap<TabletId, Arc<Tablet>>,
    on_volumes: &BTreeSet<TabletId>,
) -> Result<()> {
    for (name, path) in list(&dir.tablets())? {
        let id = name.to_str().and_then(|n| n.parse().ok()).map(TabletId);
        if id.is_some_and(|id| on_volumes.contains(&id)) {
            continue;
        }
        let Some(tablet) = id.and_then(|id| tablets.get(&id)) else {
            info!(directory = %path.display(), "removing the directory of a tablet that is gone");
            if path.is_dir() {
                fs::remove_dir_all(&path).doing("remove", &path)?;
            } else {
                fs::remove_file(&path).doing("remove", &path)?;
            }
            continue;
        };
        remove_orphan_files(dir, tablet, &path)?;
    }
    Ok(())
}

fn remove_orphan_files(dir: &DataDir, tablet: &Tablet, path: &Path) -> Result<()> {
    let mut expected: HashSet<OsString> = HashSet::new();
    let has_keys = tablet.shape().schema.model == TableModel::PrimaryKey;
    // What is lost of them is made anew.
    let mut indexes: HashSet<OsString> = HashSet::new();
    for (rowset, record) in &tablet.state.read().rowsets {
        for (number, segment) in (0..).zip(&record.segments) {
            let files = dir.segment(SegmentKey { tablet: tablet.id, rowset: *rowset, segment: number });
            for (index, _) in segment.index_files() {
                indexes.extend(files.index(index).file_name().map(OsString::from));
            }
            for file in [files.segment, files.sidecar].into_iter().chain(has_keys.then_some(files.keys)) {
                expected.extend(file.file_name().map(OsString::from));
            }
        }
    }
    let mut removed = false;
    for (name, file) in list(path)? {
        if !expected.remove(&name) && !indexes.contains(&name) {
            info!(file = %file.display(), "removing a file that no rowset names");
            fs::remove_file(&file).doing("remove", &file)?;
            removed = true;
        }
    }
    for missing in expected {
        warn!(tablet = %tablet.id, file = %missing.display(), "a file of a rowset is missing: reads of it will fail");
    }
    if removed { sync_dir(path) } else { Ok(()) }
}

fn list(dir: &Path) -> Result<Vec<(OsString, std::path::PathBuf)>> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| (e.file_name(), e.path()))).collect())
        .doing("list", dir)
}
