//! Rowsets that arrive from other replicas and become pending here, as if they had been sealed.
//!
//! Who aborts a transaction must find what it left, also what is on its way: each copy is entered under its transaction
//! before its first byte is fetched, and is made a pending rowset only while the entry is open. Aborts that came first are
//! remembered for a while; what comes later still is listed as pending, and the coordinators abort it then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tarn_proto::{RowsetId, TableModel, TableSchema, TabletId, TxnId};

use super::fetch::fetch;
use super::{Pace, Source, same_files};
use crate::engine::{Engine, blocking};
use crate::layout::sync_dir;
use crate::meta::Changes;
use crate::record::{Record, RowsetRecord, RowsetState, TabletRecord};
use crate::segment::TemporarySegment;
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result, metrics};

/// So many aborted transactions are remembered: more than begin while a copy is on its way.
const REMEMBERED: usize = 4096;

/// Whether copies of a transaction's rowsets are wanted still. Held while one becomes pending.
type Open = Arc<Mutex<bool>>;

/// Copies that are on their way, and transactions that none may arrive of any more.
#[derive(Default)]
pub(crate) struct Incoming(Mutex<Transactions>);

#[derive(Default)]
struct Transactions {
    open: HashMap<TxnId, Open>,
    aborted: VecDeque<TxnId>,
}

impl Incoming {
    /// Enters a copy; none if the transaction was aborted.
    fn enter(&self, txn: TxnId) -> Option<Open> {
        let mut transactions = self.0.lock();
        if transactions.aborted.contains(&txn) {
            return None;
        }
        Some(transactions.open.entry(txn).or_insert_with(|| Arc::new(Mutex::new(true))).clone())
    }

    /// Ends a copy.
    fn leave(&self, txn: TxnId, open: Open) {
        let mut transactions = self.0.lock();
        drop(open);
        // The map's own is left.
        if transactions.open.get(&txn).is_some_and(|open| Arc::strong_count(open) == 1) {
            transactions.open.remove(&txn);
        }
    }

    /// Lets no copy of the transaction become pending from now on; one that just does is pending when this returns. Blocks.
    pub(crate) fn abort(&self, txn: TxnId) {
        let open = {
            let mut transactions = self.0.lock();
            if !transactions.aborted.contains(&txn) {
                transactions.aborted.push_back(txn);
            }
            if transactions.aborted.len() > REMEMBERED {
                transactions.aborted.pop_front();
            }
            transactions.open.remove(&txn)
        };
        if let Some(open) = open {
            *open.lock() = false;
        }
    }
}

impl Engine {
    /// Fetches a rowset that a load has written on `source`, and keeps it, durably, until the transaction is published or
    /// aborted. Does nothing if it is here; refuses if another one of the transaction is.
    pub async fn replicate(
        self: &Arc<Self>,
        txn: TxnId,
        tablet: TabletId,
        record: &[u8],
        schema: &TableSchema,
        source: &impl Source,
    ) -> Result<()> {
        let record = RowsetRecord { state: RowsetState::Pending, ..RowsetRecord::decode(record)? }.without_indexes();
        let aborted = || Error::Replaced { txn, load_id: format!("of {}", source.name()) };
        let Some(open) = self.incoming.enter(txn) else { return Err(aborted()) };
        let done = self.fetch_pending(txn, tablet, record, schema, source, open.clone()).await;
        self.incoming.leave(txn, open);
        done
    }

    async fn fetch_pending(
        self: &Arc<Self>,
        txn: TxnId,
        tablet: TabletId,
        record: RowsetRecord,
        schema: &TableSchema,
        source: &impl Source,
        open: Open,
    ) -> Result<()> {
        let rowset = crate::engine::commit::rowset_of(txn);
        let tablet = self.tablet(tablet)?;
        tablet.check_writable()?;
        if is_here(&tablet, rowset, &record)? {
            return Ok(());
        }
        let has_keys = schema.model == TableModel::PrimaryKey;
        let segments = fetch(self, source, &Pace::unlimited(), tablet.id, rowset, &record, has_keys).await?;
        let (engine, shape) = (self.clone(), Arc::new(Shape::new(schema.clone())));
        let replaced = Error::Replaced { txn, load_id: format!("of {}", source.name()) };
        blocking("a copy of a rowset", move || {
            let wanted = open.lock();
            if !*wanted {
                return Err(replaced);
            }
            let _commit = tablet.commit.lock();
            tablet.check_writable()?;
            if is_here(&tablet, rowset, &record)? {
                return Ok(());
            }
            engine.enter_copy(&tablet, rowset, record, segments, &shape)
        })
        .await?
    }

    /// Makes fetched segments a pending rowset, durably. The tablet takes the schema if it is newer than its own. The
    /// caller holds the commit lock and has checked that the tablet is writable and has no such rowset. Blocks.
    pub(super) fn enter_copy(
        &self,
        tablet: &Arc<Tablet>,
        rowset: RowsetId,
        record: RowsetRecord,
        segments: Vec<TemporarySegment>,
        shape: &Arc<Shape>,
    ) -> Result<()> {
        self.name_copies(tablet, segments)?;
        let mut changes = Changes::default();
        changes.put_rowset(tablet.id, rowset, &record);
        let newer = tablet.is_behind(&shape.schema);
        if newer {
            changes.put_tablet(tablet.id, &TabletRecord { schema: shape.schema.clone() });
        }
        self.write(changes).inspect_err(|error| tablet.note(error))?;
        if newer {
            tablet.adopt(shape.clone());
        }
        let txn = record.txn;
        tablet.state.write().rowsets.insert(rowset, Arc::new(record));
        self.pending.lock().entry(txn).or_default().insert(tablet.id);
        metrics::rowsets("copied", 1);
        Ok(())
    }

    /// Gives fetched segments their names, durably. What has one already when this fails is an orphan, which goes at the
    /// next start.
    pub(super) fn name_copies(&self, tablet: &Tablet, segments: Vec<TemporarySegment>) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let named = segments.into_iter().try_for_each(|segment| segment.keep(&self.dir).map(drop));
        named.and_then(|()| sync_dir(&self.dir.tablet(tablet.id))).inspect_err(|error| tablet.note(error))
    }
}

/// Whether a tablet has the rowset already. Refuses if it has another one in its place.
fn is_here(tablet: &Tablet, rowset: RowsetId, wanted: &RowsetRecord) -> Result<bool> {
    let state = tablet.state.read();
    match state.rowsets.get(&rowset) {
        // An update is published as another rowset.
        None => Ok(state.rowset_of_txn(wanted.txn).is_some_and(|(_, ours)| !ours.is_pending())),
        Some(record) if same_files(record, wanted) => Ok(true),
        Some(_) => Err(Error::Published { tablet: tablet.id, txn: wanted.txn }),
    }
}
