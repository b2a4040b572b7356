//! A tablet in memory: what its rows look like and which rowsets it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::SchemaRef;
use parking_lot::{Mutex, RwLock};
use tarn_proto::short_key::ShortKey;
use tarn_proto::storage::Unpublished;
use tarn_proto::{RowsetId, TableSchema, TabletId, TxnId, Version, segment, wire};
use tokio::sync::Notify;
use tracing::error;

use crate::compaction::request::Request;
use crate::engine::commit::{resolved_of, rowset_of};
use crate::garbage::Superseded;
use crate::primary::DeleteVector;
use crate::record::{Lifetime, RowsetRecord, VersionRecord};
use crate::volume::Owned;
use crate::{Error, Result, compaction, index, metrics};

/// What rows look like under one schema.
pub(crate) struct Shape {
    pub schema: TableSchema,
    /// The arrow schema of segments.
    pub stored: SchemaRef,
    /// Positions of the sort key's columns.
    pub sort_columns: Vec<usize>,
    pub short_key: ShortKey,
}

impl Shape {
    /// What rows look like under `schema`.
    pub(crate) fn new(schema: TableSchema) -> Self {
        Self {
            stored: segment::storage_schema(&schema.columns),
            sort_columns: schema.sort_key.iter().filter_map(|c| schema.index_of(*c)).collect(),
            short_key: ShortKey::of(&schema),
            schema,
        }
    }
}

/// A tablet.
pub(crate) struct Tablet {
    pub id: TabletId,
    /// Of the newest schema that the tablet has seen. Changes under the commit lock.
    shape: RwLock<Arc<Shape>>,
    /// Held by whoever changes the tablet's metadata, from reading it to having it durable. Several are locked in order
    /// of tablet ids.
    pub commit: Mutex<()>,
    /// Held by whoever prepares a publish of the tablet, which takes long, before the commit lock. Several in order of
    /// tablet ids.
    pub preparing: Mutex<()>,
    pub state: RwLock<State>,
    /// Its place in a storage volume, if it is on one.
    pub owned: Option<Owned>,
    /// Whether a compaction runs: there is one at a time.
    pub compacting: AtomicBool,
    /// Told when the tablet has fewer rowsets or is gone.
    pub relieved: Notify,
    /// Rowsets that newer versions do without, until their files go.
    pub superseded: Mutex<Superseded>,
    /// What somebody asked it to become, until it is.
    pub requested: Mutex<Option<Request>>,
    /// Rowsets that a compaction could not read: left out until the node starts anew.
    pub unmergeable: Mutex<BTreeSet<RowsetId>>,
    /// Rowsets with files that are not what was written, and what was found first, until they are repaired.
    pub damaged: Mutex<BTreeMap<RowsetId, String>>,
}

/// What changes.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The newest published version.
    pub version: Version,
    /// The oldest version whose rowsets are all there.
    pub oldest: Version,
    /// How often a clone of another replica has taken the place of its rowsets, since the node started.
    pub clones: u64,
    /// Pending, published and superseded rowsets.
    pub rowsets: BTreeMap<RowsetId, Arc<RowsetRecord>>,
    /// The newest delete vector of each segment that has one.
    pub delete_vectors: BTreeMap<(RowsetId, u32), DeleteVector>,
    /// No longer on this node.
    pub dropped: bool,
    /// The first failed write: the tablet takes no more until the node starts anew.
    pub read_only: Option<String>,
    /// Whether the metadata store refused a write of it, and may hold that write all the same.
    pub unsure: bool,
}

impl State {
    /// A tablet that nothing has been loaded into.
    pub(crate) const fn new() -> Self {
        Self {
            version: Version::FIRST,
            oldest: Version::FIRST,
            clones: 0,
            rowsets: BTreeMap::new(),
            delete_vectors: BTreeMap::new(),
            dropped: false,
            read_only: None,
            unsure: false,
        }
    }

    /// What the store keeps of it beside the rowsets.
    pub(crate) const fn versions(&self) -> VersionRecord {
        VersionRecord { version: self.version, oldest: self.oldest }
    }

    /// What a transaction wrote, as it is now: the rowset that was loaded, or the one that it was published as.
    pub(crate) fn rowset_of_txn(&self, txn: TxnId) -> Option<(RowsetId, Arc<RowsetRecord>)> {
        let mut ids = [resolved_of(txn), rowset_of(txn)].into_iter();
        ids.find_map(|id| Some((id, self.rowsets.get(&id)?.clone())))
    }

    fn check_kept(&self, tablet: TabletId, version: Version) -> Result<()> {
        let oldest = self.oldest;
        if version < oldest { Err(Error::Superseded { tablet, oldest, version }) } else { Ok(()) }
    }

    /// Whether the newest version lists a rowset.
    pub(crate) fn lists(&self, rowset: RowsetId) -> bool {
        self.rowsets.get(&rowset).is_some_and(|record| record.is_live())
    }

    /// The rowsets of the newest version, in merge order.
    pub(crate) fn live(&self) -> Vec<(RowsetId, Version, Arc<RowsetRecord>)> {
        self.listed(|lifetime| lifetime.until.is_none())
    }

    /// Published rowsets that `chosen` chooses, in merge order.
    fn listed(&self, chosen: impl Fn(&Lifetime) -> bool) -> Vec<(RowsetId, Version, Arc<RowsetRecord>)> {
        let published = self.rowsets.iter().filter_map(|(id, record)| Some((*id, record.published()?, record)));
        let mut rowsets: Vec<_> = published
            .filter(|(_, lifetime, _)| chosen(lifetime))
            .map(|(id, lifetime, record)| (id, lifetime.version, record.clone()))
            .collect();
        rowsets.sort_by_key(|(id, version, _)| (*version, *id));
        rowsets
    }
}

impl Tablet {
    /// A tablet with this state.
    pub(crate) fn new(id: TabletId, schema: TableSchema, state: State) -> Self {
        Self {
            id,
            shape: RwLock::new(Arc::new(Shape::new(schema))),
            commit: Mutex::new(()),
            preparing: Mutex::new(()),
            superseded: Mutex::new(Superseded::of(&state)),
            requested: Mutex::default(),
            unmergeable: Mutex::default(),
            damaged: Mutex::default(),
            state: RwLock::new(state),
            owned: None,
            compacting: AtomicBool::new(false),
            relieved: Notify::new(),
        }
    }

    /// The same tablet, on a storage volume.
    pub(crate) fn on_volume(self, owned: Owned) -> Self {
        Self { owned: Some(owned), ..self }
    }

    /// Why the tablet is not on this node any more.
    pub(crate) fn gone(&self) -> Error {
        let closed = self.owned.as_ref().and_then(|owned| owned.closed(self.id));
        closed.unwrap_or(Error::UnknownTablet(self.id))
    }

    /// What its rows look like under the newest schema that it has seen. Loads write under the schema that they were
    /// planned with instead.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        self.shape.read().clone()
    }

    /// Whether a schema is newer than the tablet's own.
    pub(crate) fn is_behind(&self, schema: &TableSchema) -> bool {
        self.shape.read().schema.version < schema.version
    }

    /// Refuses a newer schema under which the rows that are here would have to be written anew.
    pub(crate) fn check_form(&self, schema: &TableSchema) -> Result<()> {
        if segment::same_form(&self.shape.read().schema, schema) {
            return Ok(());
        }
        let what = format!("version {} of the schema has other keys, types or another order", schema.version);
        Err(Error::Rows { tablet: self.id, source: arrow::error::ArrowError::SchemaError(what) })
    }

    /// Takes a newer schema, which the metadata store has.
    pub(crate) fn adopt(&self, shape: Arc<Shape>) {
        *self.shape.write() = shape;
    }

    /// Refuses if the tablet is gone or read-only.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let state = self.state.read();
        if state.dropped {
            return Err(self.gone());
        }
        match &state.read_only {
            Some(reason) => Err(Error::ReadOnly { tablet: self.id, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Why a load cannot write here: `error`, unless the tablet went meanwhile, and its folder with it.
    pub(crate) fn unless_gone(&self, error: Error) -> Error {
        if self.state.read().dropped { self.gone() } else { error }
    }

    /// Makes the tablet read-only if `error` is a failed write. The first reason stays.
    pub(crate) fn note(&self, error: &Error) {
        if !error.is_write_failure() {
            return;
        }
        let mut state = self.state.write();
        state.unsure |= matches!(error, Error::Meta { .. });
        if state.read_only.is_none() {
            let reason = tarn_proto::error::chain(error);
            error!(tablet = %self.id, reason, "a write failed: the tablet is read-only until this node restarts");
            metrics::read_only();
            state.read_only = Some(reason);
        }
    }

    /// Remembers that files of a rowset are not what was written, if `error` says so: the replica has to be repaired from
    /// another one.
    pub(crate) fn note_damage(&self, error: &Error) -> bool {
        let Some(rowset) = error.damaged_rowset() else { return false };
        let state = self.state.read();
        // Whoever has read what is gone by now has not found damage; nor is it that of a tablet on a storage volume whose
        // copy here is not right: it is fetched again.
        if state.rowsets.contains_key(&rowset) && self.owned.is_none() {
            self.damaged.lock().entry(rowset).or_insert_with(|| {
                metrics::rowset_damaged();
                tarn_proto::error::chain(error)
            });
        }
        true
    }

    /// What is damaged of the newest version, for who would make it readable.
    pub(crate) fn damage(&self) -> Option<Unpublished> {
        let state = self.state.read();
        let reason = self.damaged.lock().iter().find(|(rowset, _)| state.lists(**rowset))?.1.clone();
        Some(Unpublished { tablet: self.id, damaged: true, reason })
    }

    /// The rowsets that make up `version`, in merge order: oldest first.
    pub(crate) fn rowsets_at(&self, version: Version) -> Result<Vec<(RowsetId, Version, Arc<RowsetRecord>)>> {
        let state = self.state.read();
        if version > state.version {
            return Err(Error::FutureVersion { tablet: self.id, current: state.version, version });
        }
        state.check_kept(self.id, version)?;
        Ok(state.listed(|lifetime| lifetime.covers(version)))
    }

    /// Refuses a version that needs what is gone.
    pub(crate) fn check_kept(&self, version: Version) -> Result<()> {
        self.state.read().check_kept(self.id, version)
    }

    /// What operators see.
    pub(crate) fn report(&self) -> wire::TabletReport {
        let state = self.state.read();
        let (mut rows, mut bytes, mut rowsets) = (0, 0, 0);
        for rowset in state.rowsets.values().filter(|r| r.is_live()) {
            rows += rowset.rows();
            bytes += rowset.bytes();
            rowsets += 1;
        }
        for ((rowset, _), vector) in &state.delete_vectors {
            if state.rowsets.get(rowset).is_some_and(|record| record.is_live()) {
                rows -= vector.rows;
            }
        }
        let live = state.live();
        wire::TabletReport {
            compaction_score: compaction::score(&live) as u64,
            epoch: self.owned.as_ref().map_or(0, |owned| owned.epoch),
            volume_id: self.owned.as_ref().map_or(0, |owned| owned.volume.get()),
            indexes_missing: index::segments_without(&self.shape().schema, &state),
            tablet_id: self.id.get(),
            version: state.version.get(),
            rows,
            bytes,
            rowsets,
            read_only_reason: state.read_only.clone().unwrap_or_default(),
            damaged_rowsets: self.damaged.lock().keys().filter(|rowset| state.lists(**rowset)).count() as u64,
        }
    }
}
