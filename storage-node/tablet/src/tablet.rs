//! A tablet in memory: what its rows look like and which rowsets it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use parking_lot::{Mutex, RwLock};
use tarn_proto::short_key::ShortKey;
use tarn_proto::{RowsetId, TableSchema, TabletId, Version, segment, wire};
use tracing::error;

use crate::record::RowsetRecord;
use crate::{Error, Result, metrics};

/// A tablet.
pub(crate) struct Tablet {
    pub id: TabletId,
    pub schema: TableSchema,
    /// The arrow schema of its segments.
    pub stored: SchemaRef,
    /// Positions of the sort key's columns.
    pub sort_columns: Vec<usize>,
    pub short_key: ShortKey,
    /// Held by whoever changes the tablet's metadata, from reading it to having it durable. Several are locked in order
    /// of tablet ids.
    pub commit: Mutex<()>,
    pub state: RwLock<State>,
}

/// What changes.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The newest published version.
    pub version: Version,
    /// Pending and published rowsets.
    pub rowsets: BTreeMap<RowsetId, Arc<RowsetRecord>>,
    /// No longer on this node.
    pub dropped: bool,
    /// The first failed write: the tablet takes no more until the node starts anew.
    pub read_only: Option<String>,
}

impl State {
    /// A tablet that nothing has been loaded into.
    pub(crate) const fn new() -> Self {
        Self { version: Version::FIRST, rowsets: BTreeMap::new(), dropped: false, read_only: None }
    }
}

impl Tablet {
    /// A tablet with this state.
    pub(crate) fn new(id: TabletId, schema: TableSchema, state: State) -> Self {
        Self {
            id,
            stored: segment::storage_schema(&schema.columns),
            sort_columns: schema.sort_key.iter().filter_map(|c| schema.index_of(*c)).collect(),
            short_key: ShortKey::of(&schema),
            schema,
            commit: Mutex::new(()),
            state: RwLock::new(state),
        }
    }

    /// Refuses if the tablet is gone or read-only.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let state = self.state.read();
        if state.dropped {
            return Err(Error::UnknownTablet(self.id));
        }
        match &state.read_only {
            Some(reason) => Err(Error::ReadOnly { tablet: self.id, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Makes the tablet read-only if `error` is a failed write. The first reason stays.
    pub(crate) fn note(&self, error: &Error) {
        if !error.is_write_failure() {
            return;
        }
        let mut state = self.state.write();
        if state.read_only.is_none() {
            let reason = tarn_proto::error::chain(error);
            error!(tablet = %self.id, reason, "a write failed: the tablet is read-only until this node restarts");
            metrics::read_only();
            state.read_only = Some(reason);
        }
    }

    /// Published rowsets up to `version`, oldest first.
    pub(crate) fn rowsets_at(&self, version: Version) -> Result<Vec<(RowsetId, Version, Arc<RowsetRecord>)>> {
        let state = self.state.read();
        if version > state.version {
            return Err(Error::FutureVersion { tablet: self.id, current: state.version, version });
        }
        let mut rowsets: Vec<_> = state
            .rowsets
            .iter()
            .filter_map(|(id, record)| match record.version {
                Some(since) if since <= version => Some((*id, since, record.clone())),
                _ => None,
            })
            .collect();
        rowsets.sort_by_key(|(id, since, _)| (*since, *id));
        Ok(rowsets)
    }

    /// What operators see.
    pub(crate) fn report(&self) -> wire::TabletReport {
        let state = self.state.read();
        let published = state.rowsets.values().filter(|r| r.version.is_some());
        let (mut rows, mut bytes, mut rowsets) = (0, 0, 0);
        for rowset in published {
            rows += rowset.rows();
            bytes += rowset.bytes();
            rowsets += 1;
        }
        wire::TabletReport {
            tablet_id: self.id.get(),
            version: state.version.get(),
            rows,
            bytes,
            rowsets,
            read_only_reason: state.read_only.clone().unwrap_or_default(),
        }
    }
}
