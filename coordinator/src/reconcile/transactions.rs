//! Transactions that nobody will finish, tables that they were to fill, and labels past their retention.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::RwLock;
use tarn_catalog::{Catalog, Operation, Relation, Table, Transaction, TransactionState};
use tarn_ingest::CatalogClient;
use tarn_ingest::load::{GENERATED_LABEL_RETENTION, process_of};
use tarn_proto::TxnId;
use tarn_proto::storage::StoreError;
use tracing::{debug, info};

use crate::ddl::hidden_for;
use crate::{Members, ReplicatedCatalog};

/// A coordinator that has been silent for so long is taken for dead, and its loads are ended. Longer than the time after
/// which a node gets no new work: a load that lives should not be ended for a pause.
const OWNER_GRACE: Duration = Duration::from_secs(15);

/// Rows of a load that have been visible for so long and are not published on a replica are left over: it got them from
/// another replica, or will.
const LEFT_OVER_MS: u64 = 10 * 60 * 1000;

/// Younger tables are let alone: their load may not have begun yet.
const HIDDEN_GRACE_MS: u64 = 10 * 60 * 1000;

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
        .filter(|txn| members.is_over(txn.owner.0, process_of(&txn.owner.1), started, OWNER_GRACE, now))
        .map(|txn| txn.id)
        .collect()
}

/// Lets storage nodes forget rows of loads that were aborted when they could not be told, as the node or the load's
/// coordinator was away or a copy came late, and of visible loads that a replica has from another replica.
pub async fn forget_aborted(client: &ReplicatedCatalog) {
    let nodes: Vec<_> = client.catalog().storage_nodes().cloned().collect();
    let forgotten = nodes.into_iter().map(|node| async move {
        let store = client.stores().get(node.id, &node.address)?;
        let pending = store.pending().await?;
        // The catalog after the list: what is pending began before, and a transaction that is over stays so.
        let over = over(&client.catalog(), pending, unix_ms());
        for txn in over {
            info!(%txn, node = %node.id, "forgetting rows of a load that is over");
            store.abort(txn).await?;
        }
        Ok::<(), StoreError>(())
    });
    for error in join_all(forgotten).await.into_iter().filter_map(Result::err) {
        debug!(%error, "rows of aborted loads are looked for later");
    }
}

/// Those of the transactions whose pending rows nobody needs: aborted, visible for long, or forgotten since.
fn over(catalog: &Catalog, mut pending: Vec<TxnId>, now_ms: u64) -> Vec<TxnId> {
    pending.retain(|id| match catalog.transaction(*id).map(|txn| &txn.state) {
        Some(TransactionState::Aborted { .. }) => true,
        Some(TransactionState::Visible { visible_ms, .. }) => visible_ms.saturating_add(LEFT_OVER_MS) < now_ms,
        Some(TransactionState::Prepare | TransactionState::Committed { .. }) => false,
        // A greater one may be known to a newer catalog.
        None => id.get() <= catalog.last_id,
    });
    pending
}

/// Aborts transactions past their time and forgets finished ones past `retention`, when there is one to look at.
pub async fn expire(client: &ReplicatedCatalog, retention: Duration) {
    let now_ms = unix_ms();
    let label_retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let generated_retention_ms = label_retention_ms.min(GENERATED_LABEL_RETENTION.as_secs() * 1000);
    let forgotten = |txn: &Transaction, ended_ms: u64| {
        let retention_ms = if txn.has_generated_label() { generated_retention_ms } else { label_retention_ms };
        ended_ms.saturating_add(retention_ms) < now_ms
    };
    let due = client.catalog().transactions.values().any(|txn| match &txn.state {
        TransactionState::Prepare => txn.expires_ms <= now_ms,
        TransactionState::Committed { .. } => false,
        TransactionState::Visible { visible_ms: ended, .. } | TransactionState::Aborted { aborted_ms: ended, .. } => {
            forgotten(txn, *ended)
        }
    });
    let operation = Operation::ExpireTransactions { label_retention_ms, generated_retention_ms };
    if due && let Err(error) = client.propose(operation).await {
        debug!(%error, "transactions expire later");
    }
}

/// Drops tables that were to replace others and never will, as their coordinator died. One whose load is committed stays as
/// long as its label: repeating the statement under it puts the table in its place.
pub async fn drop_abandoned(client: &ReplicatedCatalog) {
    let abandoned = abandoned(&client.catalog(), unix_ms());
    for table in abandoned {
        info!(table = table.name, "dropping a table whose replacement was never finished");
        let (database, name) = (table.database, table.name.clone());
        let operation = Operation::DropTable { database, name, if_exists: true, only: Some(table.id) };
        if let Err(error) = client.propose(operation).await {
            debug!(table = table.name, %error, "the table is dropped later");
        }
    }
}

/// Hidden tables that nothing is loaded into, nor has been for as long as anybody knows.
pub fn abandoned(catalog: &Catalog, now_ms: u64) -> Vec<Arc<Table>> {
    let old = |table: &Table| table.created_ms.saturating_add(HIDDEN_GRACE_MS) < now_ms;
    let hidden = catalog.relations.values().filter_map(|relation| match relation {
        Relation::Table(table) if hidden_for(&table.name).is_some() && old(table) => Some(table.clone()),
        Relation::Table(_) | Relation::View(_) => None,
    });
    let loads = |txn: &Transaction, table: &Table| {
        txn.table == table.id && !matches!(txn.state, TransactionState::Aborted { .. })
    };
    hidden.filter(|table| !catalog.transactions.values().any(|txn| loads(txn, table))).collect()
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tarn_proto::wire::HeartbeatRequest;
    use tarn_proto::{DatabaseId, NodeId, TableId};

    use super::*;

    fn transaction(id: u64, state: TransactionState) -> Arc<Transaction> {
        Arc::new(Transaction {
            id: TxnId(id),
            database: DatabaseId(1),
            label: format!("l{id}"),
            table: TableId(2),
            owner: (NodeId(1), "start/attempt".to_owned()),
            began_ms: 0,
            expires_ms: 0,
            overwrite: None,
            state,
        })
    }

    #[test]
    fn rows_are_forgotten_of_loads_that_are_surely_over() {
        let mut catalog = Catalog { last_id: 50, ..Catalog::default() };
        let aborted = TransactionState::Aborted { reason: "left".to_owned(), aborted_ms: 1 };
        let committed = TransactionState::Committed { writes: vec![], versions: BTreeMap::new(), committed_ms: 1 };
        for (id, state) in [(10, TransactionState::Prepare), (20, aborted), (30, committed)] {
            catalog.transactions.insert(TxnId(id), transaction(id, state));
        }
        let visible = TransactionState::Visible { rows: 1, versions: BTreeMap::new(), visible_ms: 1000 };
        catalog.transactions.insert(TxnId(45), transaction(45, visible));
        let pending = [10, 20, 30, 40, 45, 60].map(TxnId).to_vec();
        let soon = over(&catalog, pending.clone(), 1000 + LEFT_OVER_MS);
        assert_eq!(soon, [TxnId(20), TxnId(40)], "40 was forgotten, 60 is not known yet");
        let later = over(&catalog, pending, 1001 + LEFT_OVER_MS);
        assert_eq!(later, [TxnId(20), TxnId(40), TxnId(45)], "a replica has 45 from another one");
    }

    #[test]
    fn a_load_is_an_orphan_when_the_process_that_began_it_is_over() {
        let (mut catalog, started) = (Catalog::default(), Instant::now());
        catalog.transactions.insert(TxnId(10), transaction(10, TransactionState::Prepare));
        let mut members = Members::default();
        let mut after_hearing = |incarnation: &str| {
            let incarnation = incarnation.to_owned();
            members.heard(HeartbeatRequest { node_id: 1, incarnation, ..HeartbeatRequest::default() }, started);
            orphans(&catalog, &members, started, started)
        };
        assert!(after_hearing("start").is_empty());
        assert_eq!(after_hearing("another start"), [TxnId(10)]);
    }
}
