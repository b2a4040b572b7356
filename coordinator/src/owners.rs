//! Statements outlive the owners of tablets on storage volumes: what failed for want of one is tried again until another
//! storage node has taken over, or for so long that none is to be expected.

use std::time::{Duration, Instant};

use tarn_catalog::Relation;
use tarn_gateway::engine::{EngineError, Result};

use crate::session::SessionContext;

/// From the death of an owner until the next one has its tablets open: the time until it is missed, a round of the leader's
/// and requests to the volume, twice over.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts at first, then twice as long each time,
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// up to this.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// How long a statement has waited for owners.
#[derive(Default)]
pub(crate) struct Takeover {
    /// When the first attempt failed.
    since: Option<Instant>,
    last: Duration,
}

impl Takeover {
    /// Waits for a moment; false if owners have been waited for long enough. Fails if the statement has to end.
    pub async fn wait(&mut self, context: &SessionContext) -> Result<bool> {
        if self.since.get_or_insert_with(Instant::now).elapsed() >= TAKEN_OVER_WITHIN {
            return Ok(false);
        }
        self.last = (self.last * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        tokio::select! {
            biased;
            error = context.interrupted() => Err(error),
            () = tokio::time::sleep(self.last) => Ok(true),
        }
    }

    /// The error after the last attempt.
    pub fn told(&self, error: EngineError) -> EngineError {
        match self.since {
            None => error,
            Some(since) => {
                let waited = since.elapsed().as_secs();
                let message = format!("{} (tried for {waited} s; see SHOW STORAGE NODES)", error.message);
                EngineError { message, ..error }
            }
        }
    }
}

/// Repeats of a load that failed and left nothing: one at once, and where tables are on volumes more until they have owners.
#[derive(Default)]
pub(crate) struct Repeats {
    repeated: bool,
    takeover: Takeover,
}

impl Repeats {
    /// Whether the load is to be tried again, now. Fails if the statement has to end.
    pub async fn again(&mut self, context: &SessionContext) -> Result<bool> {
        if !std::mem::replace(&mut self.repeated, true) {
            return Ok(true);
        }
        let is_on_volume = |relation: &Relation| matches!(relation, Relation::Table(table) if table.volume.is_some());
        match context.catalog.relations.values().any(is_on_volume) {
            true => self.takeover.wait(context).await,
            false => Ok(false),
        }
    }

    /// The error after the last attempt.
    pub fn told(&self, error: EngineError) -> EngineError {
        self.takeover.told(error)
    }
}
