//! Changes of columns that take time: the leader has storage nodes fill the tablets of each job, and ends it.
//!
//! ```text
//!  round  for each table with a job: tablets that it lacks are made (Prepare), every node is asked to fill its own up to what
//!         is visible (TabletStore::convert), and tells how far it is
//!         a value that does not fit cancels the job
//!  end    when a quorum of each is there: Finish. On a table that is loaded all the time something is committed by then;
//!         commits are stopped (Freeze) until what is committed is visible and filled, for seconds at most, else later again
//! ```
//!
//! It keeps nothing but when to try again: a new leader goes on with what the catalog and the nodes say.

mod ask;
mod finish;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;
use tarn_catalog::command::JobStep;
use tarn_catalog::{Catalog, Operation, Relation, SchemaJob, SchemaWork, Table, TransactionState};
use tarn_ingest::CatalogClient;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::TableId;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::ReplicatedCatalog;
use ask::ask;

/// Time between two rounds.
const EVERY: Duration = Duration::from_millis(500);
/// Between two notes of how far a job is.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// What the leader remembers of a job between rounds.
struct Remembered {
    /// When its progress was noted last.
    noted: Option<Instant>,
    /// When its end may be tried again, and how long to wait after that fails.
    next: Instant,
    pause: Duration,
}

/// Works on all jobs until `cancel`.
pub async fn run(client: ReplicatedCatalog, cancel: CancellationToken) {
    let remembered: Mutex<HashMap<u64, Remembered>> = Mutex::default();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(tick.tick()).await.is_some() {
        let catalog = client.catalog();
        let tables: Vec<TableId> = tables(&catalog).map(|table| table.id).collect();
        let jobs: Vec<u64> = self::tables(&catalog).filter_map(|table| Some(table.job.as_ref()?.id)).collect();
        remembered.lock().retain(|job, _| jobs.contains(job));
        let round = join_all(tables.into_iter().map(|table| step(&client, table, &remembered)));
        if cancel.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

/// Tables with a job, or with what one has left.
fn tables(catalog: &Catalog) -> impl Iterator<Item = &Table> {
    catalog.relations.values().filter_map(|relation| match relation {
        Relation::Table(table) if table.job.is_some() || table.swapped.is_some() => Some(&**table),
        Relation::Table(_) | Relation::View(_) => None,
    })
}

async fn step(client: &ReplicatedCatalog, table: TableId, remembered: &Mutex<HashMap<u64, Remembered>>) {
    let catalog = client.catalog();
    if can_release(&catalog, table)
        && let Err(error) = client.propose(Operation::ReleaseSwapped { table }).await
    {
        debug!(%table, %error, "replaced tablets are dropped later");
    }
    let Some(job) = catalog.table_by_id(table).and_then(|table| table.job.clone()) else { return };
    let stepped = match &job.work {
        _ if job.expires_ms <= unix_ms() => cancel_job(client, table, &job, &timed_out(&job)).await,
        SchemaWork::Build { .. } => build(client, table, &job, remembered).await,
        SchemaWork::Rewrite(_) => rewrite(client, table, &job, remembered).await,
    };
    if let Err(error) = stepped {
        debug!(%table, job = job.id, %error, "a change of columns goes on later");
    }
}

/// Why a job is given up whose time is over.
fn timed_out(job: &SchemaJob) -> String {
    let seconds = job.expires_ms.saturating_sub(job.created_ms) / 1000;
    format!(
        "timeout: it has not ended within {seconds} s; give it more by ALTER TABLE .. PROPERTIES (\"timeout\" = \"seconds\")"
    )
}

/// Whether no transaction is open any more that may name the tablets that the last job of a table has replaced.
fn can_release(catalog: &Catalog, table: TableId) -> bool {
    let Some(swapped) = catalog.table_by_id(table).and_then(|table| table.swapped.clone()) else { return false };
    let mut earlier = catalog.transactions.values().take_while(|txn| txn.id < swapped.at);
    !earlier.any(|txn| txn.table == table && txn.state == TransactionState::Prepare)
}

/// Has nodes build what a change asks of files that are there, and ends it when all have.
async fn build(
    client: &ReplicatedCatalog,
    table: TableId,
    job: &SchemaJob,
    remembered: &Mutex<HashMap<u64, Remembered>>,
) -> Result<(), ProposeError> {
    let catalog = client.catalog();
    let Some(now) = catalog.table_by_id(table) else { return Ok(()) };
    let (done, all) = ask::built(client, &catalog, now).await;
    if done == all {
        info!(table = now.name, job = job.id, "a change of indexes has ended");
        return take(client, table, job, JobStep::Finish { filled: Vec::new() }).await;
    }
    note(client, table, job, (done, all), remembered).await
}

async fn rewrite(
    client: &ReplicatedCatalog,
    table: TableId,
    job: &SchemaJob,
    remembered: &Mutex<HashMap<u64, Remembered>>,
) -> Result<(), ProposeError> {
    if client.catalog().table_by_id(table).is_some_and(|table| table.lacks_shadows()) {
        take(client, table, job, JobStep::Prepare).await?;
    }
    let catalog = client.catalog();
    let Some(now) = catalog.table_by_id(table) else { return Ok(()) };
    let answers = ask(client, &catalog, now).await;
    if let Some(reason) = answers.refusal() {
        return cancel_job(client, table, job, reason).await;
    }
    note(client, table, job, answers.progress(), remembered).await?;
    if !answers.all_done() || now.swapped.is_some() {
        // By a leader that did not come to the end.
        return if now.is_frozen() { take(client, table, job, JobStep::Thaw).await } else { Ok(()) };
    }
    let due = remembered.lock().get(&job.id).is_none_or(|job| job.next <= Instant::now());
    if !due && !now.is_frozen() {
        return Ok(());
    }
    if finish::finish(client, table, job, answers).await? {
        return Ok(());
    }
    let mut remembered = remembered.lock();
    if let Some(job) = remembered.get_mut(&job.id) {
        job.next = Instant::now() + job.pause;
        job.pause = (job.pause * 2).min(finish::LONGEST_PAUSE);
    }
    Ok(())
}

/// Notes how far a job is, now and then.
async fn note(
    client: &ReplicatedCatalog,
    table: TableId,
    job: &SchemaJob,
    (done, all): (u32, u32),
    remembered: &Mutex<HashMap<u64, Remembered>>,
) -> Result<(), ProposeError> {
    let due = {
        let (mut remembered, now) = (remembered.lock(), Instant::now());
        let new = || Remembered { noted: None, next: now, pause: finish::FIRST_PAUSE };
        let kept = remembered.entry(job.id).or_insert_with(new);
        let due = done == all || kept.noted.is_none_or(|noted| now.duration_since(noted) >= NOTE_EVERY);
        if due {
            kept.noted = Some(now);
        }
        due
    };
    if !due || job.progress == Some((done, all)) {
        return Ok(());
    }
    take(client, table, job, JobStep::Progress { done, all }).await
}

async fn cancel_job(
    client: &ReplicatedCatalog,
    table: TableId,
    job: &SchemaJob,
    reason: &str,
) -> Result<(), ProposeError> {
    warn!(%table, job = job.id, reason, "a change of columns is given up; the table stays as it is");
    take(client, table, job, JobStep::Cancel { reason: reason.to_owned() }).await
}

async fn take(client: &ReplicatedCatalog, table: TableId, job: &SchemaJob, step: JobStep) -> Result<(), ProposeError> {
    client.propose(Operation::StepSchemaJob { table, job: job.id, step }).await.map(drop)
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
