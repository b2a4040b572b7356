//! A replica that misses some versions: each one's load is fetched, and published as if it had come in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use tarn_proto::storage::PublishTablet;
use tarn_proto::{RowsetId, TableModel, TxnId, Version};

use super::fetch::fetch;
use super::offered::Offered;
use super::{Named, Pace, Source, same_files};
use crate::engine::commit::is_load;
use crate::engine::{Engine, blocking};
use crate::record::{RowsetRecord, RowsetState};
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result, metrics};

/// With more versions to go a full clone is cheaper: each one costs some synced writes.
const MOST_VERSIONS: u64 = 1000;

/// The loads that make the versions after ours, up to the source's; those without rows are versions all the same. None if
/// the source lacks some by now, or a full clone is better.
pub(super) fn plan(offer: &Offered, ours: Version) -> Option<BTreeMap<Version, Option<Named>>> {
    // A load's rowset that is gone was superseded at its own version or a later one, and `oldest` with it. A tablet that
    // has nothing loses nothing by a full clone.
    if offer.oldest > ours || ours == Version::FIRST || offer.version.get() - ours.get() > MOST_VERSIONS {
        return None;
    }
    let versions = (ours.get() + 1..=offer.version.get()).map(|version| (Version(version), None));
    let mut missing: BTreeMap<Version, Option<Named>> = versions.collect();
    for (rowset, record) in &offer.rowsets {
        let Some(lifetime) = record.published().filter(|_| is_load(*rowset)) else { continue };
        if lifetime.since == lifetime.version
            && let Some(load) = missing.get_mut(&lifetime.version)
        {
            *load = Some((*rowset, record.clone()));
        }
    }
    Some(missing)
}

impl Engine {
    /// Publishes the missing versions in their order.
    pub(super) async fn catch_up_by_loads(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        offer: &Offered,
        missing: BTreeMap<Version, Option<Named>>,
        source: &impl Source,
        pace: &Pace,
    ) -> Result<()> {
        let shape = Arc::new(Shape::new(offer.schema.clone()));
        for (version, load) in missing {
            let txn = load.as_ref().map_or(TxnId(0), |(_, record)| record.txn);
            if let Some((rowset, record)) = &load
                && !has_pending(tablet, *rowset, record)?
            {
                self.fetch_load(tablet, *rowset, record, &shape, source, pace).await?;
            }
            let request = PublishTablet { tablet: tablet.id, version, has_rowset: load.is_some() };
            let (engine, turn) = (self.clone(), self.publish_turn().await);
            let publish = move || {
                let _turn = turn;
                engine.publish(txn, &[request])
            };
            let unpublished = blocking("a publish", publish).await??;
            if let Some(reason) = unpublished.into_iter().find(|unpublished| !unpublished.damaged) {
                return Err(Error::Behind { tablet: tablet.id, version, reason: reason.reason });
            }
            metrics::caught_up("rowset");
        }
        Ok(())
    }

    async fn fetch_load(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        rowset: RowsetId,
        record: &RowsetRecord,
        shape: &Arc<Shape>,
        source: &impl Source,
        pace: &Pace,
    ) -> Result<()> {
        let has_keys = shape.schema.model == TableModel::PrimaryKey;
        let segments = fetch(self, source, pace, tablet.id, rowset, record, has_keys).await?;
        let (engine, tablet, shape, record) = (self.clone(), tablet.clone(), shape.clone(), record.clone());
        let record = RowsetRecord { state: RowsetState::Pending, ..record }.without_indexes();
        blocking("a copy of a rowset", move || {
            let _commit = tablet.commit.lock();
            tablet.check_writable()?;
            if tablet.state.read().rowsets.contains_key(&rowset) {
                // Shipped or published meanwhile.
                return Ok(());
            }
            engine.enter_copy(&tablet, rowset, record, segments, &shape)
        })
        .await?
    }
}

/// Whether the transaction's rowset is here, or what publishing makes it of: it was shipped in time, and its version was
/// missed for another reason. Refuses one that is not the source's, which a full clone replaces.
fn has_pending(tablet: &Tablet, rowset: RowsetId, theirs: &RowsetRecord) -> Result<bool> {
    let state = tablet.state.read();
    match state.rowsets.get(&rowset) {
        Some(ours) if same_files(ours, theirs) => Ok(true),
        Some(_) => Err(Error::Published { tablet: tablet.id, txn: theirs.txn }),
        None => Ok(state.rowsets.values().any(|ours| ours.is_pending() && ours.txn == theirs.txn)),
    }
}
