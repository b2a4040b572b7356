//! Start: the metadata store tells what there is, everything else in the data directory goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tarn_proto::storage::SegmentKey;
use tarn_proto::{RowsetId, TableModel, TableSchema, TabletId, TxnId, Version};
use tracing::{info, warn};

use crate::Result;
use crate::error::IoContext;
use crate::layout::{DataDir, sync_dir};
use crate::meta::{Entry, Meta, decode_vector};
use crate::record::{RowsetRecord, VersionRecord};
use crate::tablet::{State, Tablet};

/// What was there before.
pub(crate) struct Recovered {
    pub tablets: HashMap<TabletId, Arc<Tablet>>,
    /// Tablets with a pending rowset, by transaction.
    pub pending: BTreeMap<TxnId, BTreeSet<TabletId>>,
}

/// A stored delete vector and the version that it is from.
type Stored = (Version, Box<[u8]>);

/// Reads the store and removes orphans. Blocks.
pub(crate) fn recover(dir: &DataDir, meta: &Meta) -> Result<Recovered> {
    let mut schemas: HashMap<TabletId, TableSchema> = HashMap::new();
    let mut versions: HashMap<TabletId, VersionRecord> = HashMap::new();
    let mut rowsets: HashMap<TabletId, BTreeMap<RowsetId, Arc<RowsetRecord>>> = HashMap::new();
    let mut pending: BTreeMap<TxnId, BTreeSet<TabletId>> = BTreeMap::new();
    let mut vectors: HashMap<TabletId, BTreeMap<(RowsetId, u32), Stored>> = HashMap::new();
    for entry in meta.entries() {
        match entry? {
            Entry::Tablet(tablet, record) => drop(schemas.insert(tablet, record.schema)),
            Entry::Version(tablet, version) => drop(versions.insert(tablet, version)),
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
    let tablets: HashMap<TabletId, Arc<Tablet>> = schemas
        .into_iter()
        .map(|(id, schema)| {
            let mut state = State::new();
            let versions = versions.get(&id).copied().unwrap_or(VersionRecord::FIRST);
            state.version = versions.version;
            state.oldest = versions.oldest;
            state.compactions = versions.compactions;
            state.rowsets = rowsets.remove(&id).unwrap_or_default();
            for ((rowset, segment), (since, bytes)) in vectors.remove(&id).unwrap_or_default() {
                if state.rowsets.contains_key(&rowset) {
                    state.delete_vectors.insert((rowset, segment), decode_vector(id, rowset, segment, since, &bytes)?);
                }
            }
            Ok((id, Arc::new(Tablet::new(id, schema, state))))
        })
        .collect::<Result<_>>()?;
    remove_orphans(dir, &tablets)?;
    info!(tablets = tablets.len(), pending_transactions = pending.len(), "tablets recovered");
    Ok(Recovered { tablets, pending })
}

fn remove_orphans(dir: &DataDir, tablets: &HashMap<TabletId, Arc<Tablet>>) -> Result<()> {
    for (name, path) in list(&dir.tablets())? {
        let tablet = name.to_str().and_then(|n| n.parse().ok()).and_then(|id| tablets.get(&TabletId(id)));
        let Some(tablet) = tablet else {
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
    for (rowset, record) in &tablet.state.read().rowsets {
        for number in 0..record.segments.len() as u32 {
            let files = dir.segment(SegmentKey { tablet: tablet.id, rowset: *rowset, segment: number });
            for file in [files.segment, files.sidecar].into_iter().chain(has_keys.then_some(files.keys)) {
                expected.extend(file.file_name().map(OsString::from));
            }
        }
    }
    let mut removed = false;
    for (name, file) in list(path)? {
        if !expected.remove(&name) {
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
