//! The rows of a tablet at a version, as a compaction of all its rowsets would write them.

use std::sync::Arc;

use tarn_proto::Version;

use super::merge::Rows;
use super::{Job, Stop};
use crate::Result;
use crate::engine::Engine;
use crate::engine::commit::new_compaction;
use crate::tablet::{Shape, Tablet};

impl Engine {
    /// The live rows of a tablet at a version, in the order of the sort key and combined where the model says so, laid out
    /// as the newest schema does. Ends with an error when it is told to stop. Blocks.
    pub(crate) fn rows_at(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        version: Version,
        stop: &Stop,
    ) -> Result<(Arc<Shape>, Rows)> {
        let inputs = tablet.rowsets_at(version)?;
        if inputs.iter().any(|(_, _, record)| record.is_superseded()) {
            tablet.superseded.lock().note_read();
        }
        let shape = tablet.shape();
        let job = Job {
            tablet: tablet.clone(),
            shape: shape.clone(),
            bytes: inputs.iter().map(|(_, _, record)| record.bytes()).sum(),
            inputs,
            at: version,
            clones: tablet.state.read().clones,
            // Nothing is written under it.
            output: new_compaction(),
            manual: false,
            column_groups: 0,
            usage: Arc::default(),
        };
        let runs = self.runs(&job)?;
        // Delete vectors go after the versions that need them.
        tablet.check_kept(version)?;
        Ok((shape, self.rows(&job, runs, None, stop)?))
    }
}
