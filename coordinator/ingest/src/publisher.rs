//! Makes committed transactions visible: tells their storage nodes, then the catalog. Runs on the leader.
//!
//! A reconciler: each step looks at the catalog alone, so that a new leader goes on where the last one stopped, and
//! repeating a step changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tarn_catalog::{Catalog, Operation, Relation, Transaction, TransactionState};
use tarn_proto::error::chain;
use tarn_proto::storage::{PublishTablet, StorePool};
use tarn_proto::{NodeId, TxnId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{CatalogClient, Error, metrics};

/// Time between two looks when nothing changes: retries what a node that was away could not take.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The publisher of one coordinator.
pub struct Publisher {
    catalog: Arc<dyn CatalogClient>,
    stores: StorePool,
}

impl Publisher {
    /// A publisher that does nothing until [`Self::run`].
    pub fn new(catalog: Arc<dyn CatalogClient>, stores: StorePool) -> Self {
        Self { catalog, stores }
    }

    /// Publishes until `cancel`. Call it while this coordinator leads.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut running: JoinSet<TxnId> = JoinSet::new();
        let mut in_flight = HashSet::new();
        let mut tick = tokio::time::interval(RETRY_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let catalog = self.catalog.catalog();
            for txn in ready(&catalog) {
                if in_flight.insert(txn.id) {
                    running.spawn(publish(self.catalog.clone(), self.stores.clone(), txn));
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
        running.shutdown().await;
    }
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

/// What each storage node has to publish for a transaction. Partitions dropped since are left out.
pub fn publish_plan(catalog: &Catalog, txn: &Transaction) -> BTreeMap<NodeId, Vec<PublishTablet>> {
    let mut plan: BTreeMap<NodeId, Vec<PublishTablet>> = BTreeMap::new();
    let TransactionState::Committed { writes, versions, .. } = &txn.state else { return plan };
    let Some(Relation::Table(table)) = catalog.relations.get(&txn.table) else { return plan };
    let written: HashSet<_> = writes.iter().map(|w| w.tablet).collect();
    for (id, version) in versions {
        let Some(partition) = table.partition_by_id(*id) else { continue };
        for tablet in &partition.tablets {
            let publish =
                PublishTablet { tablet: tablet.id, version: *version, has_rowset: written.contains(&tablet.id) };
            for node in &tablet.replicas {
                plan.entry(*node).or_default().push(publish);
            }
        }
    }
    plan
}

async fn publish(catalog: Arc<dyn CatalogClient>, stores: StorePool, txn: Arc<Transaction>) -> TxnId {
    let started = std::time::Instant::now();
    match try_publish(&*catalog, &stores, &txn).await {
        Ok(()) => metrics::published(started.elapsed()),
        Err(error) if error.kind().is_retryable() => {
            debug!(txn = %txn.id, error = chain(&error), "cannot publish yet");
            // The next tick tries again; without a pause every change of the catalog would.
            tokio::time::sleep(RETRY_EVERY).await;
        }
        Err(error) => {
            warn!(txn = %txn.id, error = chain(&error), "cannot publish a committed transaction; trying again");
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }
    txn.id
}

async fn try_publish(client: &dyn CatalogClient, stores: &StorePool, txn: &Transaction) -> Result<(), Error> {
    let catalog = client.catalog();
    let table = || catalog.relations.get(&txn.table).map_or_else(|| txn.table.to_string(), |r| r.name().to_owned());
    let failed = |source| Error::Store { table: table(), source };
    let calls = publish_plan(&catalog, txn).into_iter().map(|(node, tablets)| {
        let address = catalog.nodes.get(&node).map(|n| n.address.clone());
        async move {
            let address = address.ok_or(Error::UnknownNode(node))?;
            let store = stores.get(node, &address).map_err(failed)?;
            store.publish(txn.id, &tablets).await.map_err(failed)
        }
    });
    futures::future::try_join_all(calls).await?;
    client.propose(Operation::MakeVisible { txn: txn.id }).await?;
    Ok(())
}
