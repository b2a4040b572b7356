//! What the leader does without being asked: idempotent loops that bring the cluster to what the catalog says.

pub mod partitions;
pub mod placement;
pub mod repair;
pub mod schema_jobs;
pub mod tablets;
pub mod transactions;
pub mod volumes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tarn_ingest::{CatalogClient, Publisher};
use tarn_planner::Planner;
use tarn_proto::Term;
use tarn_raft::{CatalogRaft, Leadership};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Members, ReplicatedCatalog};

/// Time between two rounds when nothing wakes the loops.
const EVERY: Duration = Duration::from_secs(1);
/// Rounds between two looks for what may wait: rows that storage nodes should have forgotten only take space, and
/// conditions that say which partitions live change with the hour at most.
const SWEEP_ROUNDS: u64 = 30;

/// Runs the leader's loops whenever this coordinator leads, until `cancel`.
pub async fn while_leading(
    raft: CatalogRaft,
    catalog: ReplicatedCatalog,
    members: Arc<RwLock<Members>>,
    planner: Arc<Planner>,
    label_retention: Duration,
    settings: repair::Settings,
    cancel: CancellationToken,
) {
    let mut leadership = raft.leadership();
    loop {
        let Some(Some(number)) = cancel.run_until_cancelled(leads(&mut leadership)).await else { return };
        info!(term = number.get(), "leading: reconcilers start");
        let term = cancel.child_token();
        // Storage nodes refuse what this coordinator asks for if it is stopped in this term and goes on in a later one.
        let catalog = catalog.led_in(number);
        let publisher = Publisher::new(Arc::new(catalog.clone()), catalog.stores().clone());
        let repair = repair::run(&catalog, catalog.stores(), &members, settings, term.clone());
        let volumes = volumes::run(&catalog, &members, term.clone());
        let rounds = rounds(&catalog, &members, &planner, label_retention, term.clone());
        let schema_jobs = schema_jobs::run(catalog.clone(), term.clone());
        let lost = async {
            let over = leadership.wait_for(|now| !now.is_self || now.term != number.get());
            let _ = cancel.run_until_cancelled(over).await;
            term.cancel();
        };
        tokio::join!(publisher.run(term.clone()), rounds, repair, schema_jobs, volumes, lost);
        info!("not leading any more: reconcilers stopped");
    }
}

/// Waits until this coordinator leads, and tells the term. `None` when consensus has stopped.
async fn leads(leadership: &mut watch::Receiver<Leadership>) -> Option<Term> {
    leadership.wait_for(|now| now.is_self).await.ok().map(|now| Term(now.term))
}

async fn rounds(
    catalog: &ReplicatedCatalog,
    members: &RwLock<Members>,
    planner: &Arc<Planner>,
    label_retention: Duration,
    cancel: CancellationToken,
) {
    let started = Instant::now();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0u64;
    let mut dropped = tablets::Dropped::default();
    while cancel.run_until_cancelled(tick.tick()).await.is_some() {
        number += 1;
        let round = async {
            let now = catalog.catalog();
            if let Err(error) = tablets::create_missing(&now, catalog.stores(), None).await {
                warn!(%error, "tablets are missing on a storage node");
            }
            tablets::drop_superfluous(catalog, &mut dropped).await;
            transactions::end_orphans(catalog, members, started).await;
            transactions::expire(catalog, label_retention).await;
            transactions::drop_abandoned(catalog).await;
            partitions::follow_all(catalog, planner, number.is_multiple_of(SWEEP_ROUNDS)).await;
            if number.is_multiple_of(SWEEP_ROUNDS) {
                transactions::forget_aborted(catalog).await;
            }
        };
        if cancel.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}
