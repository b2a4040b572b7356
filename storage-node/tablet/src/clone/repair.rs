//! Damaged files of a rowset, fetched from a replica that has the same one.

use std::sync::Arc;

use tarn_proto::{RowsetId, TableModel};

use super::fetch::fetch;
use super::offered::Offered;
use super::{Pace, Source, same_files};
use crate::engine::{Engine, blocking};
use crate::segment::TemporarySegment;
use crate::tablet::Tablet;
use crate::{Error, Result, metrics};

impl Engine {
    /// Replaces the files of damaged rowsets that the source has, too. Those that it does not have stay damaged.
    pub(super) async fn repair_files(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        offer: &Offered,
        source: &impl Source,
        pace: &Pace,
    ) -> Result<()> {
        let has_keys = tablet.shape().schema.model == TableModel::PrimaryKey;
        let damaged: Vec<RowsetId> = tablet.damaged.lock().keys().copied().collect();
        for rowset in damaged {
            let ours = tablet.state.read().rowsets.get(&rowset).cloned();
            let theirs = offer.rowsets.iter().find(|(id, _)| *id == rowset).map(|(_, record)| record);
            let Some((ours, theirs)) = ours.zip(theirs) else { continue };
            if !same_files(&ours, theirs) {
                continue;
            }
            let segments = match fetch(self, source, pace, tablet.id, rowset, &ours, has_keys).await {
                Ok(segments) => segments,
                // A full clone takes what else the source has.
                Err(Error::Copy { .. }) => continue,
                Err(error) => return Err(error),
            };
            let (engine, tablet) = (self.clone(), tablet.clone());
            blocking("a repair", move || engine.replace_files(&tablet, rowset, segments)).await??;
        }
        Ok(())
    }

    /// Puts whole files in the place of a rowset's damaged ones. They have the same bytes, so that nothing else changes.
    fn replace_files(&self, tablet: &Tablet, rowset: RowsetId, segments: Vec<TemporarySegment>) -> Result<()> {
        let _commit = tablet.commit.lock();
        tablet.check_writable()?;
        if !tablet.state.read().rowsets.contains_key(&rowset) {
            return Ok(());
        }
        self.name_copies(tablet, segments)?;
        self.open.retain(|key| key.tablet != tablet.id || key.rowset != rowset);
        tablet.damaged.lock().remove(&rowset);
        tablet.unmergeable.lock().remove(&rowset);
        self.note_changed(tablet.id);
        metrics::caught_up("repair");
        Ok(())
    }
}
