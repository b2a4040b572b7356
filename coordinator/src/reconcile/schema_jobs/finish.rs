//! The end of a job: its tablets take the place of the table's.

use std::time::Duration;

use tarn_catalog::command::JobStep;
use tarn_catalog::{Catalog, SchemaJob, Table};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::TableId;
use tokio::time::Instant;
use tracing::info;

use super::ask::{Answers, ask};
use super::{cancel_job, take, unix_ms};
use crate::ReplicatedCatalog;

/// How long loads of a table may wait to be committed: as long as StarRocks waits to publish a version, and less than any
/// client does.
const FROZEN: Duration = Duration::from_secs(10);
/// After a failed end the next is tried this much later at first, then each time twice as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// And at most this much later.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks while commits wait.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Ends a job whose tablets were all there just now, and says whether it has ended. Stops commits if it has to.
pub(super) async fn finish(
    client: &ReplicatedCatalog,
    table: TableId,
    job: &SchemaJob,
    answers: Answers,
) -> Result<bool, ProposeError> {
    let frozen = client.catalog().table_by_id(table).is_some_and(|table| table.is_frozen());
    if !frozen {
        // Where nothing is loaded just now, nobody has to wait.
        let filled = answers.into_filled();
        match take(client, table, job, JobStep::Finish { filled }).await {
            Ok(()) => return Ok(ended(table, job)),
            Err(error) if error.kind.is_retryable() => {}
            Err(error) => return Err(error),
        }
        take(client, table, job, JobStep::Freeze).await?;
    }
    let done = while_frozen(client, table, job).await;
    match done {
        Ok(true) => Ok(true),
        // Also when something is wrong with the end: loads must go on.
        not_ended => {
            take(client, table, job, JobStep::Thaw).await?;
            not_ended
        }
    }
}

fn ended(table: TableId, job: &SchemaJob) -> bool {
    info!(%table, job = job.id, "a change of columns has ended");
    true
}

async fn while_frozen(client: &ReplicatedCatalog, table: TableId, job: &SchemaJob) -> Result<bool, ProposeError> {
    let until = Instant::now() + left(&client.catalog(), table);
    while Instant::now() < until {
        let catalog = client.catalog();
        let Some(now) = catalog.table_by_id(table) else { return Ok(false) };
        if now.lacks_shadows() {
            take(client, table, job, JobStep::Prepare).await?;
            continue;
        }
        if waits(&catalog, now) {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        let Ok(answers) = tokio::time::timeout_at(until, ask(client, &catalog, now)).await else { return Ok(false) };
        if let Some(reason) = answers.refusal() {
            cancel_job(client, table, job, reason).await?;
            // There is nothing left to be thawed.
            return Ok(true);
        }
        if !answers.all_done() {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        let filled = answers.into_filled();
        match take(client, table, job, JobStep::Finish { filled }).await {
            Ok(()) => return Ok(ended(table, job)),
            Err(error) if error.kind.is_retryable() => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether something is committed that is not visible yet.
fn waits(catalog: &Catalog, table: &Table) -> bool {
    catalog.committed_transactions().any(|txn| txn.table == table.id)
}

/// How much longer commits may wait. Another leader may have stopped them.
fn left(catalog: &Catalog, table: TableId) -> Duration {
    let job = catalog.table_by_id(table).and_then(|table| table.job.clone());
    let since = job.as_ref().and_then(|job| job.rewrite()?.frozen_ms);
    let gone = since.map_or(0, |since| unix_ms().saturating_sub(since));
    FROZEN.saturating_sub(Duration::from_millis(gone))
}
