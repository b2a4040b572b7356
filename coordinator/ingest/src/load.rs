//! One load from its label to its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tarn_catalog::{GENERATED_LABEL, Operation, Response, TransactionState};
use tarn_proto::storage::{LoadSpec, StorePool};
use tarn_proto::task::spawn;
use tarn_proto::{DatabaseId, NodeId, TableId, TxnId};
use tokio::runtime::Handle;

use crate::catalog::ProposeError;
use crate::{CatalogClient, Error, TabletSink, metrics};

/// How often a load that was left is aborted again while the catalog cannot be reached, and how long between: long enough
/// for an operator to bring coordinators back, after which the transaction's own time ends it.
const ABORT_ATTEMPTS: usize = 100;
const ABORT_EVERY: Duration = Duration::from_secs(5);

/// How long a label that was made for a load is remembered: long enough to repeat a load whose error has named it.
pub const GENERATED_LABEL_RETENTION: Duration = Duration::from_secs(15 * 60);

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The transaction.
    pub txn: TxnId,
    /// Its label.
    pub label: String,
    /// `VISIBLE` or `COMMITTED`; for a repeated label, where the first load is.
    pub status: &'static str,
    /// Rows loaded.
    pub rows: u64,
    /// The label had been used before: nothing was loaded now.
    pub repeated: bool,
}

/// What a load is to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The database that the label is unique in.
    pub database: DatabaseId,
    /// The table.
    pub table: TableId,
    /// What the batches hold, with the table's schema as the load was planned, whatever becomes of the table meanwhile.
    pub spec: LoadSpec,
    /// The label; a generated one if `None`.
    pub label: Option<String>,
    /// The coordinator that runs the load, and the start of its process.
    pub owner: (NodeId, String),
    /// Longest time until commit; the leader aborts it later.
    pub timeout: Duration,
}

/// The start of the process that a transaction's owner names; behind it stands which attempt to begin it was.
pub fn process_of(owner: &str) -> &str {
    owner.rsplit_once('/').map_or(owner, |(process, _)| process)
}

/// A begun load: write to its [`Load::sink`], then [`Load::commit`] or [`Load::abort`]. Dropping it aborts it in the
/// background, so that its label is free again.
pub struct Load {
    catalog: Arc<dyn CatalogClient>,
    txn: TxnId,
    label: String,
    generated: bool,
    sink: Arc<TabletSink>,
    /// Whether the catalog knows its outcome.
    ended: AtomicBool,
}

/// How a load begins.
pub enum Begun {
    /// Rows may be written.
    New(Box<Load>),
    /// The label has been used: this is what came of it.
    Repeated(Outcome),
}

/// Where a transaction is after its abort was asked for.
enum End {
    Aborted,
    /// Committed before: it stays, and becomes visible.
    Committed,
    Unknown,
}

impl Load {
    /// Takes the label. A label whose load was aborted may be used again; one whose load still runs is
    /// [`Error::LabelInUse`].
    pub async fn begin(catalog: Arc<dyn CatalogClient>, stores: StorePool, request: Request) -> Result<Begun, Error> {
        // In a task of its own: when the caller goes away meanwhile, what begins all the same is dropped there, and so
        // aborted, instead of holding its label until its time is over.
        let begun = spawn("load-begin", Self::take_label(catalog, stores, request)).await;
        begun.unwrap_or(Err(Error::UnexpectedAnswer("BeginTransaction")))
    }

    async fn take_label(catalog: Arc<dyn CatalogClient>, stores: StorePool, request: Request) -> Result<Begun, Error> {
        let generated = request.label.is_none();
        let label = request.label.unwrap_or_else(|| format!("{GENERATED_LABEL}{}", uuid::Uuid::new_v4()));
        let (node, process) = request.owner;
        let owner = (node, format!("{process}/{}", uuid::Uuid::new_v4()));
        let operation = Operation::BeginTransaction {
            database: request.database,
            label: label.clone(),
            table: request.table,
            owner: owner.clone(),
            timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let answer = catalog.propose(operation.clone()).await.inspect_err(|error| {
            if error.kind.is_retryable() {
                spawn("load-begin-abort", end_unanswered(catalog.clone(), operation, owner));
            }
        });
        match answer? {
            Response::Begun(txn) => {
                let sink = Arc::new(TabletSink::new(catalog.clone(), stores, request.table, request.spec, txn));
                let ended = AtomicBool::new(false);
                Ok(Begun::New(Box::new(Self { catalog, txn, label, generated, sink, ended })))
            }
            // It may still fail, so this is no outcome to answer with.
            Response::LabelUsed { txn, state: TransactionState::Prepare } => Err(Error::LabelInUse { label, txn }),
            Response::LabelUsed { txn, state } => {
                let rows = match &state {
                    TransactionState::Visible { rows, .. } => *rows,
                    TransactionState::Committed { writes, .. } => writes.iter().map(|w| w.rows).sum(),
                    TransactionState::Prepare | TransactionState::Aborted { .. } => 0,
                };
                Ok(Begun::Repeated(Outcome { txn, label, status: state.name(), rows, repeated: true }))
            }
            _ => Err(Error::UnexpectedAnswer("BeginTransaction")),
        }
    }

    /// Its transaction.
    pub const fn txn(&self) -> TxnId {
        self.txn
    }

    /// Where its rows go; shared by the tasks that produce them.
    pub const fn sink(&self) -> &Arc<TabletSink> {
        &self.sink
    }

    /// Commits what was written and waits up to `wait` for it to be visible; what is not by then is `COMMITTED`, and will
    /// be. After an error nothing of the load is or will be visible, except [`Error::Unclear`], when nobody can tell.
    pub async fn commit(self: Box<Self>, wait: Duration) -> Result<Outcome, Error> {
        let written = match self.sink.finish().await {
            Ok(written) => self.sink.complete().await.map(|()| written),
            Err(error) => Err(error),
        };
        let (rows, writes) = match written {
            Ok(written) => written,
            Err(error) => {
                self.abort(&tarn_proto::error::chain(&error)).await;
                return Err(error);
            }
        };
        let mut changes = self.catalog.changes();
        match self.sink.commit(writes).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.settle(error).await?,
            Err(error) => {
                self.abort(&tarn_proto::error::chain(&error)).await;
                return Err(error);
            }
        }
        self.ended.store(true, Ordering::Relaxed);
        let visible = tokio::time::timeout(wait, async {
            let mut seen = false;
            loop {
                let catalog = self.catalog.catalog();
                match catalog.transactions.get(&self.txn).map(|t| &t.state) {
                    Some(TransactionState::Visible { .. }) => return true,
                    // This coordinator's catalog may be behind the leader's, even without the transaction.
                    Some(_) => seen = true,
                    // Finished transactions are forgotten after the label's retention.
                    None if seen => return true,
                    None => {}
                }
                if changes.changed().await.is_err() {
                    return false;
                }
            }
        });
        let (status, counted) = match visible.await {
            Ok(true) => ("VISIBLE", "visible"),
            _ => ("COMMITTED", "committed"),
        };
        metrics::loaded(counted, rows);
        Ok(Outcome { txn: self.txn, label: self.label.clone(), status, rows, repeated: false })
    }

    /// What became of a commit that was answered with `error`: nothing more is said if it went through. A lost answer
    /// leaves that open, and the abort finds out: it is refused after a commit, and after it no commit goes through.
    async fn settle(&self, error: ProposeError) -> Result<(), Error> {
        match self.end(&error.message).await {
            End::Committed => Ok(()),
            End::Aborted => {
                metrics::loaded("aborted", 0);
                tracing::warn!(txn = %self.txn, %error, "a load was not committed");
                // Refused, or not arrived.
                Err(if error.kind.is_retryable() { Error::NotCommitted { txn: self.txn } } else { error.into() })
            }
            End::Unknown => {
                tracing::warn!(txn = %self.txn, %error, "whether a load is committed is not known");
                Err(Error::Unclear { label: self.label.clone(), generated: self.generated })
            }
        }
    }

    /// Gives the load up; nothing of it stays. While the catalog cannot be reached this is tried again in the background.
    pub async fn abort(&self, reason: &str) {
        metrics::loaded("aborted", 0);
        self.sink.stop().await;
        self.end(reason).await;
    }

    /// Aborts the transaction, and forgets its rows once the catalog says that it is.
    async fn end(&self, reason: &str) -> End {
        let operation = Operation::AbortTransaction { txn: self.txn, reason: reason.to_owned() };
        let answer = self.catalog.propose(operation).await;
        let end = match (&answer, self.catalog.catalog().transactions.get(&self.txn).map(|t| &t.state)) {
            (Ok(_), _) | (Err(_), Some(TransactionState::Aborted { .. })) => End::Aborted,
            (Err(_), Some(TransactionState::Committed { .. } | TransactionState::Visible { .. })) => End::Committed,
            (Err(_), Some(TransactionState::Prepare) | None) => End::Unknown,
        };
        match answer {
            Err(error) if error.kind.is_retryable() && matches!(end, End::Unknown) => {
                tracing::warn!(txn = %self.txn, %error, "cannot abort now; the transaction is aborted later");
            }
            _ => self.ended.store(true, Ordering::Relaxed),
        }
        if matches!(end, End::Aborted) {
            self.sink.forget().await;
        }
        end
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Without a runtime the process is stopping: its loads are orphans then, which the leader ends.
        if !self.ended.load(Ordering::Relaxed) && Handle::try_current().is_ok() {
            spawn("load-abort", abort_later(self.catalog.clone(), self.txn, Some(self.sink.clone())));
        }
    }
}

/// Aborts a transaction as soon as the catalog can be reached.
async fn abort_later(catalog: Arc<dyn CatalogClient>, txn: TxnId, sink: Option<Arc<TabletSink>>) {
    if let Some(sink) = &sink {
        sink.stop().await;
    }
    for _ in 0..ABORT_ATTEMPTS {
        let reason = "its client or the catalog's leader went away".to_owned();
        match catalog.propose(Operation::AbortTransaction { txn, reason }).await {
            Err(error) if error.kind.is_retryable() => tokio::time::sleep(ABORT_EVERY).await,
            // Refused if it was committed after all: then its rows stay.
            Err(_) => return,
            Ok(_) => {
                if let Some(sink) = sink {
                    sink.forget().await;
                }
                return;
            }
        }
    }
    tracing::warn!(%txn, "cannot abort a load that was left; it ends when its time is over");
}

/// Aborts the transaction that `begin` has left if only its answer was lost. Asking again tells: the label is free, or its
/// transaction is of `owner`, which no other attempt has.
async fn end_unanswered(catalog: Arc<dyn CatalogClient>, begin: Operation, owner: (NodeId, String)) {
    for _ in 0..ABORT_ATTEMPTS {
        match catalog.propose(begin.clone()).await {
            Err(error) if error.kind.is_retryable() => tokio::time::sleep(ABORT_EVERY).await,
            Ok(Response::Begun(txn)) => return abort_later(catalog, txn, None).await,
            Ok(Response::LabelUsed { txn, state: TransactionState::Prepare }) => {
                let begun = catalog.catalog().transactions.get(&txn).cloned();
                if begun.is_some_and(|begun| begun.owner == owner) {
                    abort_later(catalog, txn, None).await;
                }
                return;
            }
            _ => return,
        }
    }
}
