//! Makes committed transactions visible: tells the nodes of all their replicas, then the catalog, once a quorum of the
//! members of every tablet has the version. Runs on the leader.
//!
//! A reconciler: each step looks at the catalog alone, so that a new leader goes on where the last one stopped, and
//! repeating a step changes nothing. Every transaction has a task of its own, and every call to a node its time; whoever is
//! slow is left behind. ADR 0023 tells why no acknowledged row is lost by that, and none is missing where queries read.
//!
//! ```text
//!  plan    every replica of every tablet of the transaction's partitions
//!  lanes   calls to nodes, few at a time for each
//!  tally   answers: is there a quorum? who is current then, who has to catch up from whom?
//! ```

mod lanes;
mod plan;
mod tally;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tarn_catalog::{Catalog, Operation, Relation, Transaction, TransactionState};
use tarn_proto::error::chain;
use tarn_proto::storage::{CatchUp, StoreError, StorePool, TabletStore, Unpublished};
use tarn_proto::{ErrorKind, NodeId, TxnId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{CatalogClient, Error, metrics};
use lanes::Lanes;
pub use plan::{Plan, Planned};
pub use tally::Tally;

/// How patient a publisher is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two looks when nothing changes, and between two attempts to publish a transaction.
    pub retry: Duration,
    /// How long a replica that is read is waited for when a quorum has the version: what is left behind has to catch up
    /// before it is read again. At least as long as the quorum took: publishing costs what was loaded.
    pub for_current: Duration,
    /// How long others are, so that one that has caught up gets in step.
    pub for_laggards: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(500),
            for_current: Duration::from_secs(1),
            for_laggards: Duration::from_millis(50),
        }
    }
}

/// Attempts to publish a transaction between two warnings that it is not visible.
const ATTEMPTS_PER_WARNING: u64 = 20;

/// The publisher of one coordinator.
#[derive(Clone)]
pub struct Publisher {
    catalog: Arc<dyn CatalogClient>,
    stores: StorePool,
    pace: Pace,
    lanes: Lanes,
}

impl Publisher {
    /// A publisher that does nothing until [`Self::run`].
    pub fn new(catalog: Arc<dyn CatalogClient>, stores: StorePool) -> Self {
        Self { catalog, stores, pace: Pace::default(), lanes: Lanes::default() }
    }

    /// The same with another patience.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Publishes until `cancel`. Call it while this coordinator leads.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut running: JoinSet<TxnId> = JoinSet::new();
        let mut in_flight = HashSet::new();
        let mut tick = tokio::time::interval(self.pace.retry);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let catalog = self.catalog.catalog();
            metrics::waiting(catalog.committed.len());
            for txn in ready(&catalog) {
                if in_flight.insert(txn.id) {
                    running.spawn(self.clone().publish(txn));
                }
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(done) = running.join_next() => match done {
                    Ok(txn) => {
                        in_flight.remove(&txn);
                    }
                    // A panic does not tell which one: look at all of them again.
                    Err(_) => in_flight.clear(),
                },
                changed = changes.changed() => if changed.is_err() {
                    break;
                },
                _ = tick.tick() => {}
            }
        }
        metrics::waiting(0);
        running.shutdown().await;
    }

    /// Publishes a transaction, trying again until it is visible.
    async fn publish(self, txn: Arc<Transaction>) -> TxnId {
        let started = Instant::now();
        for attempt in 1.. {
            let outcome = self.attempt(&txn).await;
            metrics::attempted(outcome.is_ok());
            match outcome {
                Ok(()) => {
                    metrics::published(started.elapsed());
                    break;
                }
                Err(error) if error.kind().is_retryable() && attempt % ATTEMPTS_PER_WARNING != 0 => {
                    debug!(txn = %txn.id, error = chain(&error), "cannot publish yet");
                }
                Err(error) => {
                    warn!(txn = %txn.id, error = chain(&error), "a committed transaction is not visible; trying again");
                }
            }
            tokio::time::sleep(self.pace.retry).await;
            if !self.catalog.catalog().transactions.get(&txn.id).is_some_and(|now| is_committed(now)) {
                break;
            }
        }
        txn.id
    }

    async fn attempt(&self, txn: &Transaction) -> Result<(), Error> {
        let catalog = self.catalog.catalog();
        let plan = Plan::of(&catalog, txn);
        let tally = self.ask(txn.id, &plan).await;
        if let Some((tablet, planned, have)) = tally.short() {
            self.bring_up(&plan, tally.laggards()).await;
            let kind = tally.failures().map(|error| error.kind).find(|kind| !kind.is_retryable());
            return Err(Error::Unpublished {
                table: plan.table.clone(),
                tablet,
                version: planned.version,
                have,
                needed: planned.quorum,
                told: tally.told(tablet),
                kind: kind.unwrap_or(ErrorKind::Unavailable),
            });
        }
        let changed = tally.changed();
        let behind = changed.iter().filter(|(.., current)| !current).count();
        self.catalog.propose(Operation::MakeVisible { txn: txn.id, changed }).await?;
        metrics::left_behind(behind);
        for (node, replicas) in tally.laggards() {
            self.tell(&plan, node, replicas);
        }
        Ok(())
    }

    /// Tells every replica to publish, and returns when a quorum has and the others had their time, or when nobody is left
    /// to answer.
    async fn ask<'a>(&self, txn: TxnId, plan: &'a Plan) -> Tally<'a> {
        let started = Instant::now();
        let mut tally = Tally::new(plan);
        let (sender, mut answers) = mpsc::channel(plan.nodes.len().max(1));
        let mut waiting: HashSet<NodeId> = HashSet::new();
        for node in plan.asked(|node| self.catalog.is_alive(node)) {
            match self.call(txn, plan, node, &sender) {
                Ok(()) => {
                    waiting.insert(node);
                }
                Err(error) => tally.take(node, Err(error)),
            }
        }
        drop(sender);
        let mut quorum: Option<Instant> = None;
        loop {
            if quorum.is_none() && tally.short().is_none() {
                quorum = Some(Instant::now());
            }
            let until = match quorum {
                Some(quorum) => {
                    let patience = waiting.iter().map(|node| self.patience(plan, *node, quorum - started)).max();
                    Some(quorum + patience.unwrap_or_default())
                }
                // Those that have answered may make a quorum once they have caught up.
                None if tally.has_laggards() => Some(started + self.pace.for_current),
                None => None,
            };
            let end = tokio::time::Instant::from_std(until.unwrap_or(started));
            tokio::select! {
                biased;
                answer = answers.recv() => match answer {
                    Some((node, answer)) => {
                        waiting.remove(&node);
                        tally.take(node, answer);
                    }
                    None => return tally,
                },
                () = tokio::time::sleep_until(end), if until.is_some() => return tally,
            }
        }
    }

    /// How long after the quorum a node is waited for.
    fn patience(&self, plan: &Plan, node: NodeId, quorum_took: Duration) -> Duration {
        if !self.catalog.is_alive(node) {
            return Duration::ZERO;
        }
        match plan.is_read(node) && !self.lanes.is_late(node, Instant::now()) {
            true => self.pace.for_current.max(quorum_took),
            false => self.pace.for_laggards,
        }
    }

    fn call(&self, txn: TxnId, plan: &Plan, node: NodeId, answers: &mpsc::Sender<Answer>) -> Result<(), StoreError> {
        let store = self.store(plan, node)?;
        let tablets = plan.nodes.get(&node).cloned().unwrap_or_default();
        let answers = answers.clone();
        let started = self.lanes.start(node, async move {
            let answer = store.publish(txn, &tablets).await;
            // Who has waited long enough is not there any more.
            let _ = answers.send((node, answer)).await;
        });
        if started { Ok(()) } else { Err(busy(plan, node)) }
    }

    /// Brings replicas up, as long as there is no quorum without them.
    async fn bring_up(&self, plan: &Plan, laggards: BTreeMap<NodeId, Vec<CatchUp>>) {
        let calls = laggards.into_iter().map(|(node, replicas)| async move {
            match self.store(plan, node) {
                Ok(store) => store.catch_up(&replicas).await.map(|_| ()),
                Err(error) => Err(error),
            }
        });
        for error in futures::future::join_all(calls).await.into_iter().filter_map(Result::err) {
            debug!(%error, "a replica does not catch up yet");
        }
    }

    /// Tells a node which of its replicas have to catch up, without waiting for it.
    fn tell(&self, plan: &Plan, node: NodeId, replicas: Vec<CatchUp>) {
        let Ok(store) = self.store(plan, node) else { return };
        if self.lanes.may_tell(node, Instant::now()) {
            self.lanes.start(node, async move {
                if let Err(error) = store.catch_up(&replicas).await {
                    debug!(%node, %error, "replicas catch up later");
                }
            });
        }
    }

    fn store(&self, plan: &Plan, node: NodeId) -> Result<Arc<dyn TabletStore>, StoreError> {
        self.stores.get(node, plan.peers.get(&node).map_or("", |peer| peer.address.as_str()))
    }
}

/// What a node answered.
type Answer = (NodeId, Result<Vec<Unpublished>, StoreError>);

fn busy(plan: &Plan, node: NodeId) -> StoreError {
    let address = plan.peers.get(&node).map_or_else(|| node.to_string(), |peer| peer.address.clone());
    let message = "it owes too many answers: look at its disk and its load, see SHOW STORAGE NODES".to_owned();
    StoreError { kind: ErrorKind::Unavailable, address, message }
}

/// Committed transactions whose partitions are all at the version before theirs, in commit order. Costs what waits, not
/// what is remembered: it is asked at each change of the catalog.
pub fn ready(catalog: &Catalog) -> Vec<Arc<Transaction>> {
    catalog.committed_transactions().filter(|txn| is_ready(catalog, txn)).cloned().collect()
}

fn is_ready(catalog: &Catalog, txn: &Transaction) -> bool {
    let TransactionState::Committed { versions, .. } = &txn.state else { return false };
    let Some(Relation::Table(table)) = catalog.relations.get(&txn.table) else { return true };
    versions.iter().all(|(id, version)| {
        table.partition_by_id(*id).is_none_or(|partition| partition.visible_version.next() == *version)
    })
}

const fn is_committed(txn: &Transaction) -> bool {
    matches!(txn.state, TransactionState::Committed { .. })
}
