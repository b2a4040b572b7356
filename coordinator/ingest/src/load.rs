//! One load from its label to its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tarn_catalog::{Operation, Response, TransactionState};
use tarn_proto::storage::StorePool;
use tarn_proto::task::spawn;
use tarn_proto::{DatabaseId, NodeId, TableId, TxnId};
use tokio::runtime::Handle;

use crate::{CatalogClient, Error, TabletSink, metrics};

/// How often a load that was left is aborted again while the catalog cannot be reached, and how long between: long enough
/// for an operator to bring coordinators back, after which the transaction's own time ends it.
const ABORT_ATTEMPTS: usize = 100;
const ABORT_EVERY: Duration = Duration::from_secs(5);

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The transaction.
    pub txn: TxnId,
    /// Its label.
    pub label: String,
    /// `VISIBLE` or `COMMITTED`; for a repeated label, where the first load is.
    pub status: &'static str,
    /// Rows loaded; 0 for a repeated label whose load is not visible.
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
    /// The label; a generated one if `None`.
    pub label: Option<String>,
    /// The coordinator that runs the load, and the start of its process.
    pub owner: (NodeId, String),
    /// Longest time until commit; the leader aborts it later.
    pub timeout: Duration,
}

/// A begun load: write to its [`Load::sink`], then [`Load::commit`] or [`Load::abort`]. Dropping it aborts it in the
/// background, so that its label is free again.
pub struct Load {
    catalog: Arc<dyn CatalogClient>,
    txn: TxnId,
    label: String,
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

impl Load {
    /// Takes the label. A label whose load was aborted may be used again; one whose load still runs is
    /// [`Error::LabelInUse`].
    pub async fn begin(catalog: Arc<dyn CatalogClient>, stores: StorePool, request: Request) -> Result<Begun, Error> {
        let label = request.label.unwrap_or_else(|| format!("insert_{}", uuid::Uuid::new_v4()));
        let operation = Operation::BeginTransaction {
            database: request.database,
            label: label.clone(),
            table: request.table,
            owner: request.owner,
            timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        match catalog.propose(operation).await? {
            Response::Begun(txn) => {
                let sink = Arc::new(TabletSink::new(catalog.clone(), stores, request.table, txn));
                Ok(Begun::New(Box::new(Self { catalog, txn, label, sink, ended: AtomicBool::new(false) })))
            }
            // It may still fail, so this is no outcome to answer with.
            Response::LabelUsed { txn, state: TransactionState::Prepare } => Err(Error::LabelInUse { label, txn }),
            Response::LabelUsed { txn, state } => {
                let rows = if let TransactionState::Visible { rows, .. } = state { rows } else { 0 };
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

    /// Commits what was written and waits up to `wait` for it to be visible. After an error nothing of the load is or
    /// will be visible, except [`Error::NotVisibleYet`], which says so. When the commit's own outcome cannot be learnt
    /// (the leader went away), the label tells it: repeat the load under the same label.
    pub async fn commit(self: Box<Self>, wait: Duration) -> Result<Outcome, Error> {
        let (rows, writes) = match self.sink.finish().await {
            Ok(finished) => finished,
            Err(error) => {
                self.abort(&tarn_proto::error::chain(&error)).await;
                return Err(error);
            }
        };
        let mut changes = self.catalog.changes();
        if let Err(error) = self.catalog.propose(Operation::CommitTransaction { txn: self.txn, writes }).await {
            // A refusal is final. After a lost answer the commit may have gone through: what was written must stay until
            // the catalog, asked again when this is dropped, has said which.
            if !error.kind.is_retryable() {
                self.abort(&error.to_string()).await;
            }
            return Err(error.into());
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
        match visible.await {
            Ok(true) => {
                metrics::loaded("visible", rows);
                Ok(Outcome { txn: self.txn, label: self.label.clone(), status: "VISIBLE", rows, repeated: false })
            }
            _ => {
                metrics::loaded("committed", rows);
                Err(Error::NotVisibleYet { txn: self.txn })
            }
        }
    }

    /// Gives the load up; nothing of it stays. While the catalog cannot be reached this is tried again in the background.
    pub async fn abort(&self, reason: &str) {
        metrics::loaded("aborted", 0);
        let operation = Operation::AbortTransaction { txn: self.txn, reason: reason.to_owned() };
        match self.catalog.propose(operation).await {
            Err(error) if error.kind.is_retryable() => {
                tracing::warn!(txn = %self.txn, %error, "cannot abort now; the transaction is aborted later");
            }
            _ => self.ended.store(true, Ordering::Relaxed),
        }
        self.sink.abort().await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Without a runtime the process is stopping: its loads are orphans then, which the leader ends.
        if !self.ended.load(Ordering::Relaxed) && Handle::try_current().is_ok() {
            spawn("load-abort", abort_later(self.catalog.clone(), self.txn));
        }
    }
}

/// Aborts a transaction as soon as the catalog can be reached.
async fn abort_later(catalog: Arc<dyn CatalogClient>, txn: TxnId) {
    for _ in 0..ABORT_ATTEMPTS {
        let reason = "its client or the catalog's leader went away".to_owned();
        match catalog.propose(Operation::AbortTransaction { txn, reason }).await {
            Err(error) if error.kind.is_retryable() => tokio::time::sleep(ABORT_EVERY).await,
            // Refused if it was committed after all.
            _ => return,
        }
    }
    tracing::warn!(%txn, "cannot abort a load that was left; it ends when its time is over");
}
