//! Loads that began before their table was altered in a way that wrote all rows anew: what they wrote is converted before it
//! is committed.
//!
//! Such a load has written to tablets that are none of the table's any more. Their nodes write its rows once more, for the
//! tablets that have taken their places, and these are what is committed. A row that the table cannot take any more fails
//! the load, as it would fail one that begins now. While a change is about to end, commits wait.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tarn_catalog::{Catalog, Operation, Table, TabletWrite};
use tarn_proto::storage::{Conversion, ConvertTablet, Converted, Progress, StoreError, StorePool, Wanted};
use tarn_proto::{ErrorKind, NodeId, TableId, TabletId, TxnId};
use tokio::time::Instant;

use crate::catalog::ProposeError;
use crate::{CatalogClient, Error};

/// Longest wait for a change to end or to be put off: it freezes a table for seconds.
const FROZEN_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the rows of a load to be written once more.
const CONVERT_WAIT: Duration = Duration::from_secs(600);
/// Between two questions whether they are.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Commits a transaction with what it wrote, in the tablets that the table has when it goes through. The error is the
/// proposal's, whose outcome may be open, or one after which nothing was proposed.
pub(crate) async fn commit(
    catalog: &dyn CatalogClient,
    stores: &StorePool,
    table: TableId,
    txn: TxnId,
    mut writes: Vec<TabletWrite>,
) -> Result<Result<(), ProposeError>, Error> {
    let until = Instant::now() + FROZEN_WAIT;
    loop {
        wait_while_frozen(catalog, table, until).await;
        writes = in_present_tablets(catalog, stores, table, txn, writes).await?;
        match catalog.propose(Operation::CommitTransaction { txn, writes: writes.clone() }).await {
            Ok(_) => return Ok(Ok(())),
            Err(error) if Instant::now() < until && is_altered(&catalog.catalog(), table, txn, &error) => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Whether a commit was refused as the table is being altered, and will go through later.
fn is_altered(catalog: &Catalog, table: TableId, txn: TxnId, error: &ProposeError) -> bool {
    let Some(table) = catalog.table_by_id(table).map(|table| table.name.clone()) else { return false };
    let refusals = [
        tarn_catalog::Error::TableFrozen { table: table.clone(), txn },
        tarn_catalog::Error::TabletsSwapped { table, txn },
    ];
    refusals.iter().any(|refusal| error.message == refusal.to_string())
}

async fn wait_while_frozen(catalog: &dyn CatalogClient, table: TableId, until: Instant) {
    let mut changes = catalog.changes();
    let thawed = async {
        while catalog.catalog().table_by_id(table).is_some_and(|table| table.is_frozen()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Who is too late is refused, and told why.
    let _ = tokio::time::timeout_at(until, thawed).await;
}

/// The writes in the tablets that the table has now.
async fn in_present_tablets(
    catalog: &dyn CatalogClient,
    stores: &StorePool,
    table: TableId,
    txn: TxnId,
    writes: Vec<TabletWrite>,
) -> Result<Vec<TabletWrite>, Error> {
    let now = catalog.catalog();
    let Some(table) = now.table_by_id(table) else { return Ok(writes) };
    let Some(swapped) = &table.swapped else { return Ok(writes) };
    let (old, mut present): (Vec<_>, Vec<_>) =
        writes.into_iter().partition(|write| swapped.place(write.tablet).is_some());
    let mut nodes: BTreeMap<NodeId, Vec<ConvertTablet>> = BTreeMap::new();
    for write in &old {
        let target = table.successor(write.tablet).ok_or_else(|| Error::PartitionGone { table: table.name.clone() })?;
        let tablet = ConvertTablet { base: write.tablet, target: target.id, wanted: Wanted::Load(txn) };
        // Others would make a tablet that nobody knows.
        for holder in write.holders.iter().filter(|holder| target.replica(**holder).is_some()) {
            nodes.entry(*holder).or_default().push(tablet);
        }
    }
    let calls = nodes.into_iter().map(|(node, tablets)| {
        let conversion = Conversion { from: swapped.from.clone(), to: table.schema.clone(), tablets };
        let address = now.nodes.get(&node).map(|node| node.address.clone()).unwrap_or_default();
        async move { (node, convert(stores, node, &address, &conversion).await) }
    });
    let answers = join_all(calls).await;
    for write in old {
        present.push(taken_over(table, &write, &answers)?);
    }
    present.sort_by_key(|write| write.tablet);
    Ok(present)
}

/// What a node made of the tablets of a load.
type Answer = (NodeId, Result<Vec<Converted>, StoreError>);

/// Has a node convert what it holds of a load, and waits for it.
async fn convert(
    stores: &StorePool,
    node: NodeId,
    address: &str,
    conversion: &Conversion,
) -> Result<Vec<Converted>, StoreError> {
    let store = stores.get(node, address)?;
    let until = Instant::now() + CONVERT_WAIT;
    loop {
        let converted = store.convert(conversion).await?;
        if Instant::now() >= until || !converted.iter().any(|c| c.progress == Progress::Running) {
            return Ok(converted);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// A write as it is in the tablet that has taken the place of its own, with the nodes that hold it there.
fn taken_over(table: &Table, write: &TabletWrite, answers: &[Answer]) -> Result<TabletWrite, Error> {
    let name = || table.name.clone();
    let target = table.successor(write.tablet).ok_or_else(|| Error::PartitionGone { table: name() })?;
    let mut holders = Vec::new();
    let mut size = None;
    let mut reason = None;
    for (node, answer) in answers.iter().filter(|(node, _)| write.holders.contains(node)) {
        match answer {
            Ok(converted) => match progress(converted, target.id) {
                Some(Progress::Done { rows, bytes }) => {
                    holders.push(*node);
                    size = Some((*rows, *bytes));
                }
                Some(Progress::Failed { kind, message }) => {
                    let failed = StoreError { kind: *kind, address: node.to_string(), message: message.clone() };
                    // A value does not fit: so it is on every node.
                    if *kind == ErrorKind::Invalid {
                        return Err(Error::Store { table: name(), source: failed });
                    }
                    reason = Some(failed);
                }
                Some(Progress::Running) | None => {}
            },
            Err(error) => reason = Some(error.clone()),
        }
    }
    let held = target.members().filter(|member| holders.contains(&member.node)).count();
    match size {
        Some((rows, bytes)) if held >= target.quorum() => {
            Ok(TabletWrite { tablet: target.id, rows, bytes, holders, ..write.clone() })
        }
        _ => Err(Error::Store {
            table: name(),
            source: reason.unwrap_or_else(|| StoreError {
                kind: ErrorKind::Unavailable,
                address: "its storage nodes".to_owned(),
                message: format!(
                    "the table was altered while it was loaded, and the rows in {} have not been converted in time: load again",
                    write.tablet
                ),
            }),
        }),
    }
}

fn progress(converted: &[Converted], target: TabletId) -> Option<&Progress> {
    converted.iter().find(|converted| converted.target == target).map(|converted| &converted.progress)
}
