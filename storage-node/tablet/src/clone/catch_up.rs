//! What a replica that is behind or damaged does, round by round, until it is as far as it was asked to be.

use std::sync::Arc;
use std::time::Duration;

use tarn_proto::Version;
use tarn_proto::storage::CatchUp;
use tokio::time::timeout;

use super::full::Fetched;
use super::offered::Offered;
use super::{Pace, Source, incremental};
use crate::engine::{Engine, blocking};
use crate::tablet::Tablet;
use crate::{Error, Result};

/// A source that does not tell what it has within this time has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The source goes on meanwhile, and so does the replica: each round begins with what there is then. Those that come to
/// nothing are as many as compactions remove what was to be fetched, or publishes overtake what was fetched.
const ROUNDS: usize = 16;
/// So often in a row a copy may fail before another source is better.
const FAILURES: usize = 3;

/// How a round ended.
enum Round {
    /// The replica is as far as the source was, or further.
    Done,
    /// It has to be cloned, for which it has to wait.
    NeedsTurn,
}

impl Engine {
    /// The version that a replica is at, if it is as far as wanted and nothing of it is damaged.
    pub fn caught_up(&self, wanted: &CatchUp) -> Option<Version> {
        let tablet = self.tablet(wanted.tablet).ok()?;
        let version = tablet.state.read().version;
        (version >= wanted.version && tablet.damage().is_none()).then_some(version)
    }

    /// Brings a tablet, which is created if it is not here, to the wanted version or a later one from what `source` has,
    /// and repairs it if that is wanted. Whatever interrupts it leaves the tablet as it was or further; the next call goes
    /// on from there.
    pub async fn catch_up_from(
        self: &Arc<Self>,
        wanted: &CatchUp,
        source: &impl Source,
        pace: &Pace,
    ) -> Result<Version> {
        if self.tablet(wanted.tablet).is_err() {
            let (engine, schema, tablet) = (self.clone(), wanted.schema.clone(), wanted.tablet);
            blocking("a tablet", move || engine.create_tablets(&schema, &[tablet])).await??;
        }
        let tablet = self.tablet(wanted.tablet)?;
        let (mut fetched, mut failures, mut turn) = (Fetched::new(), 0, None);
        for _ in 0..ROUNDS {
            let damaged = wanted.repair && tablet.damage().is_some();
            let ours = tablet.state.read().version;
            if ours >= wanted.version && !damaged {
                return Ok(ours);
            }
            tablet.check_writable()?;
            let offer = self.ask(wanted, source).await?;
            let cloned = turn.is_some().then_some(&mut fetched);
            match self.round(&tablet, wanted, offer, source, pace, cloned).await {
                Ok(Round::Done) => failures = 0,
                // Much may have changed while it waited.
                Ok(Round::NeedsTurn) => turn = Some(pace.turn().await),
                Err(Error::Copy { .. }) if failures + 1 < FAILURES => failures += 1,
                Err(error) => return Err(error),
            }
        }
        let reason = format!("{} goes on faster than it can be copied", source.name());
        Err(Error::Behind { tablet: tablet.id, version: wanted.version, reason })
    }

    async fn ask(&self, wanted: &CatchUp, source: &impl Source) -> Result<Offered> {
        let (tablet, version) = (wanted.tablet, wanted.version);
        let behind = |reason: String| Error::Behind { tablet, version, reason };
        let replica = match timeout(ANSWER_WITHIN, source.replica(tablet)).await {
            Ok(replica) => replica.map_err(|error| behind(format!("{}: {}", source.name(), error.message)))?,
            Err(_) => {
                let seconds = ANSWER_WITHIN.as_secs();
                return Err(behind(format!("{} has not answered within {seconds} s", source.name())));
            }
        };
        let offer = Offered::read(tablet, &source.name(), replica)?;
        if offer.version < version {
            return Err(behind(format!("{} is at {} itself", source.name(), offer.version)));
        }
        Ok(offer)
    }

    async fn round(
        self: &Arc<Self>,
        tablet: &Arc<Tablet>,
        wanted: &CatchUp,
        offer: Offered,
        source: &impl Source,
        pace: &Pace,
        fetched: Option<&mut Fetched>,
    ) -> Result<Round> {
        if wanted.repair {
            self.repair_files(tablet, &offer, source, pace).await?;
        }
        let ours = tablet.state.read().version;
        let damaged = wanted.repair && tablet.damage().is_some();
        if !damaged {
            if ours >= wanted.version {
                return Ok(Round::Done);
            }
            if let Some(missing) = incremental::plan(&offer, ours) {
                match self.catch_up_by_loads(tablet, &offer, missing, source, pace).await {
                    // What cannot be published here may be cloned all the same.
                    Err(error @ (Error::Copy { .. } | Error::Behind { .. } | Error::Published { .. })) => {
                        let reason = tarn_proto::error::chain(&error);
                        tracing::info!(tablet = %tablet.id, reason, "a replica is cloned, as loads that it lacks cannot be fetched");
                    }
                    done => return done.map(|()| Round::Done),
                }
            }
        }
        let Some(fetched) = fetched else { return Ok(Round::NeedsTurn) };
        self.fetch_lacking(tablet, &offer, source, pace, fetched).await?;
        self.take_over(tablet, offer, std::mem::take(fetched), damaged).await?;
        Ok(Round::Done)
    }
}
