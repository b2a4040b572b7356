//! Transactions that nobody will finish, and labels past their retention.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tarn_catalog::{Catalog, Operation, TransactionState};
use tarn_ingest::CatalogClient;
use tarn_proto::TxnId;
use tracing::{debug, info};

use crate::{Members, ReplicatedCatalog};

/// A coordinator that has been silent for so long is taken for dead, and its loads are ended. Longer than the time after
/// which a node gets no new work: a load that lives should not be ended for a pause.
const OWNER_GRACE: Duration = Duration::from_secs(15);

/// Aborts loads whose coordinator has died or started again. `started` is when this coordinator began to lead.
pub async fn end_orphans(client: &ReplicatedCatalog, members: &RwLock<Members>, started: Instant) {
    let orphans = orphans(&client.catalog(), &members.read(), started, Instant::now());
    for txn in orphans {
        info!(%txn, "aborting a load whose coordinator is gone");
        let reason = "the coordinator that ran the load is gone".to_owned();
        if let Err(error) = client.propose(Operation::AbortTransaction { txn, reason }).await {
            debug!(%txn, %error, "the load is aborted later");
        }
    }
}

/// Loads in preparation whose owner's process is over.
fn orphans(catalog: &Catalog, members: &Members, started: Instant, now: Instant) -> Vec<TxnId> {
    catalog
        .transactions
        .values()
        .filter(|txn| matches!(txn.state, TransactionState::Prepare))
        .filter(|txn| members.is_over(txn.owner.0, &txn.owner.1, started, OWNER_GRACE, now))
        .map(|txn| txn.id)
        .collect()
}

/// Aborts transactions past their time and forgets finished ones past `retention`, when there is one to look at.
pub async fn expire(client: &ReplicatedCatalog, retention: Duration) {
    let now_ms = unix_ms();
    let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let due = client.catalog().transactions.values().any(|txn| match &txn.state {
        TransactionState::Prepare => txn.expires_ms <= now_ms,
        TransactionState::Committed { .. } => false,
        TransactionState::Visible { visible_ms: ended, .. } | TransactionState::Aborted { aborted_ms: ended, .. } => {
            ended.saturating_add(retention_ms) < now_ms
        }
    });
    if due && let Err(error) = client.propose(Operation::ExpireTransactions { label_retention_ms: retention_ms }).await
    {
        debug!(%error, "transactions expire later");
    }
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
