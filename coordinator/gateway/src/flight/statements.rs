//! What the server keeps for clients between calls: prepared statements, tickets not yet redeemed, results that run.
//! Handles are random, so that one client cannot guess another's; they are checked against the user all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::Error;
use super::registry::{Registry, SPARED};
use super::sessions::{Busy, ClientSession};
use crate::engine::Prepared;
use crate::metrics;

/// A prepared statement that is not used for this long is forgotten.
const PREPARED_IDLE: Duration = Duration::from_secs(8 * 60 * 60);
/// A ticket must be redeemed within this time.
const TICKET_LIFE: Duration = Duration::from_secs(10 * 60);

/// A statement a client prepared. It runs in the session it was prepared in.
pub(crate) struct PreparedStatement {
    pub(crate) session: Arc<ClientSession>,
    pub(crate) sql: String,
    pub(crate) prepared: Prepared,
    /// Bound by the last `DoPut`, one row for each execution.
    pub(crate) bound: Mutex<Option<RecordBatch>>,
}

/// A planned query that waits for its `DoGet`.
pub(crate) struct PendingQuery {
    pub(crate) session: Arc<ClientSession>,
    pub(crate) sql: String,
    /// As advertised to the client.
    pub(crate) schema: SchemaRef,
    pub(crate) bound: Option<RecordBatch>,
}

/// A result that is being sent.
struct RunningResult {
    user: String,
    cancel: CancellationToken,
}

/// All statements of this coordinator's Flight clients.
pub(crate) struct Statements {
    capacity: usize,
    prepared: Mutex<Registry<Arc<PreparedStatement>>>,
    pending: Mutex<Registry<PendingQuery>>,
    running: Mutex<HashMap<String, RunningResult>>,
}

/// Registers a result as running until dropped.
pub(crate) struct Running {
    statements: Arc<Statements>,
    handle: String,
    pub(crate) cancel: CancellationToken,
    _busy: Busy,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.statements.running.lock().remove(&self.handle);
    }
}

impl Statements {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            prepared: Mutex::new(Registry::new(capacity)),
            pending: Mutex::new(Registry::new(capacity)),
            running: Mutex::default(),
        }
    }

    /// Keeps a prepared statement and names it.
    pub(crate) fn keep(&self, statement: PreparedStatement) -> Result<Bytes, Error> {
        let handle = new_handle();
        let now = Instant::now();
        let mut prepared = self.prepared.lock();
        let forgotten = if prepared.is_full() { prepared.expire(now, |_| Some(SPARED)) } else { Vec::new() };
        let kept = prepared.insert(handle.clone(), Arc::new(statement), now);
        metrics::prepared_statements(prepared.len());
        drop(prepared);
        drop(forgotten);
        kept.map_err(|_| Error::TooManyStatements(self.capacity))?;
        Ok(handle.into())
    }

    /// The prepared statement with this handle.
    pub(crate) fn prepared(&self, handle: &[u8], user: &str) -> Result<Arc<PreparedStatement>, Error> {
        let handle = std::str::from_utf8(handle).map_err(|_| Error::UnknownStatement)?;
        let statement = self.prepared.lock().get(handle, Instant::now()).cloned();
        statement.filter(|s| s.session.user == user).ok_or(Error::UnknownStatement)
    }

    /// Forgets a prepared statement. Closing twice is no error.
    pub(crate) fn close(&self, handle: &[u8], user: &str) {
        let Ok(statement) = self.prepared(handle, user) else { return };
        let mut prepared = self.prepared.lock();
        let closed = std::str::from_utf8(handle).ok().and_then(|handle| prepared.remove(handle));
        metrics::prepared_statements(prepared.len());
        drop(prepared);
        drop((closed, statement));
    }

    /// Forgets what belongs to a closed session.
    pub(crate) fn close_session(&self, session: &ClientSession) {
        let of_session = |s: &Arc<ClientSession>| (s.token() == session.token()).then_some(Duration::ZERO);
        let now = Instant::now();
        let prepared = self.prepared.lock().expire(now, |s| of_session(&s.session));
        let pending = self.pending.lock().expire(now, |q| of_session(&q.session));
        drop((prepared, pending));
        metrics::prepared_statements(self.prepared.lock().len());
    }

    /// Keeps a planned query for its `DoGet` and names it.
    pub(crate) fn issue(&self, query: PendingQuery) -> Result<String, Error> {
        let handle = new_handle();
        self.pending
            .lock()
            .insert(handle.clone(), query, Instant::now())
            .map_err(|_| Error::TooManyStatements(self.capacity))?;
        Ok(handle)
    }

    /// Takes the query of a ticket and registers it as running. A ticket is good once.
    pub(crate) fn redeem(self: &Arc<Self>, handle: &[u8], user: &str) -> Result<(PendingQuery, Running), Error> {
        let handle = std::str::from_utf8(handle).map_err(|_| Error::UnknownTicket)?;
        let query = {
            let mut pending = self.pending.lock();
            match pending.get(handle, Instant::now()) {
                Some(query) if query.session.user == user => pending.remove(handle),
                _ => None,
            }
        };
        let query = query.ok_or(Error::UnknownTicket)?;
        let running = self.run(handle.to_owned(), &query.session);
        Ok((query, running))
    }

    /// Registers a result as running.
    pub(crate) fn run(self: &Arc<Self>, handle: String, session: &Arc<ClientSession>) -> Running {
        let cancel = CancellationToken::new();
        let result = RunningResult { user: session.user.clone(), cancel: cancel.clone() };
        self.running.lock().insert(handle.clone(), result);
        Running { statements: Arc::clone(self), handle, cancel, _busy: session.busy() }
    }

    /// Cancels the query of a ticket, whether it runs already or not. Returns whether it was found.
    pub(crate) fn cancel(&self, handle: &[u8], user: &str) -> bool {
        let Ok(handle) = std::str::from_utf8(handle) else { return false };
        let mut pending = self.pending.lock();
        if pending.get(handle, Instant::now()).is_some_and(|query| query.session.user == user) {
            let cancelled = pending.remove(handle);
            drop(pending);
            drop(cancelled);
            return true;
        }
        drop(pending);
        match self.running.lock().get(handle) {
            Some(result) if result.user == user => {
                result.cancel.cancel();
                true
            }
            _ => false,
        }
    }

    /// Forgets what was not used for its time.
    pub(crate) fn expire(&self, now: Instant) {
        let prepared = self.prepared.lock().expire(now, |_| Some(PREPARED_IDLE));
        let pending = self.pending.lock().expire(now, |_| Some(TICKET_LIFE));
        drop((prepared, pending));
        metrics::prepared_statements(self.prepared.lock().len());
    }
}

/// A new handle.
pub(crate) fn new_handle() -> String {
    Uuid::new_v4().simple().to_string()
}
