//! Connections of this coordinator and the statements they run: what `SHOW PROCESSLIST` tells and `KILL` ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;
use tarn_gateway::engine::ClientInfo;
use tarn_proto::wire::RunningQuery;
use tokio_util::sync::CancellationToken;

use crate::progress;

/// A client's connection, listed while it lives.
#[derive(Debug)]
pub struct Connection {
    /// Unique in the cluster: the coordinator's id above, a number of its own below.
    pub id: u64,
    /// Who connected, from where.
    pub client: ClientInfo,
    /// When.
    pub since: SystemTime,
    /// Its last statement's end, or its own begin.
    idle_since: Mutex<Instant>,
    /// Cancelled when the connection is killed. Statements have children of it.
    killed: CancellationToken,
    registry: Arc<Registry>,
}

/// A running statement, listed while a clone of its handle lives; dropping the last one cancels what still works for it.
#[derive(Debug)]
pub struct Process {
    /// The connection that runs it.
    pub connection: Arc<Connection>,
    /// Unique in the cluster.
    pub query_id: String,
    /// The current database, or empty.
    pub database: String,
    /// Its text.
    pub sql: String,
    /// When it began.
    pub started: Instant,
    state: Mutex<&'static str>,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// What it runs, while it does.
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    cancel: CancellationToken,
}

/// Connections and statements of one coordinator. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    registry: Arc<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    next: AtomicU64,
    connections: Mutex<BTreeMap<u64, Weak<Connection>>>,
    statements: Mutex<BTreeMap<String, Weak<Process>>>,
}

/// Bits of a connection's id below its coordinator's.
const CONNECTION_BITS: u32 = 32;

/// The coordinator that a connection is of.
pub const fn coordinator_of(connection: u64) -> u64 {
    connection >> CONNECTION_BITS
}

impl Processes {
    /// Notes a connection to coordinator `node`.
    pub fn connect(&self, node: u64, client: ClientInfo) -> Arc<Connection> {
        let number = self.registry.next.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Arc::new(Connection {
            id: (node << CONNECTION_BITS) | number,
            client,
            since: SystemTime::now(),
            idle_since: Mutex::new(Instant::now()),
            killed: CancellationToken::new(),
            registry: self.registry.clone(),
        });
        self.registry.connections.lock().insert(connection.id, Arc::downgrade(&connection));
        connection
    }

    /// Notes a statement.
    pub fn begin(&self, connection: &Arc<Connection>, database: &str, sql: &str) -> Arc<Process> {
        let process = Arc::new(Process {
            connection: connection.clone(),
            query_id: uuid::Uuid::now_v7().to_string(),
            database: database.to_owned(),
            sql: sql.to_owned(),
            started: Instant::now(),
            state: Mutex::new("planning"),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            plan: Mutex::default(),
            cancel: connection.killed.child_token(),
        });
        self.registry.statements.lock().insert(process.query_id.clone(), Arc::downgrade(&process));
        process
    }

    /// Running statements, and connections that run none, by connection.
    pub fn list(&self) -> Vec<RunningQuery> {
        let statements = self.statements();
        let connections: Vec<Arc<Connection>> =
            self.registry.connections.lock().values().filter_map(Weak::upgrade).collect();
        let idle = connections
            .iter()
            .filter(|c| !statements.iter().any(|p| p.connection.id == c.id))
            .map(|connection| Self::info(connection, None));
        let mut list: Vec<RunningQuery> =
            statements.iter().map(|p| Self::info(&p.connection, Some(p))).chain(idle).collect();
        list.sort_by(|a, b| (a.connection_id, &a.query_id).cmp(&(b.connection_id, &b.query_id)));
        list
    }

    /// Statements that run now.
    pub fn running(&self) -> usize {
        self.registry.statements.lock().len()
    }

    /// Cancels the statement with this query id, or all of the connection with this id. Returns whether there is one.
    /// `close` ends the connection too.
    pub fn kill(&self, id: &str, close: bool) -> bool {
        // Upgraded in a statement of its own: dropping the last handle takes the lock.
        let process = self.registry.statements.lock().get(id).and_then(Weak::upgrade);
        if let Some(process) = process {
            process.cancel.cancel();
            return true;
        }
        let Ok(id) = id.parse() else { return false };
        let connection = self.registry.connections.lock().get(&id).and_then(Weak::upgrade);
        let Some(connection) = connection else { return false };
        if close {
            connection.killed.cancel();
        } else {
            self.statements().iter().filter(|p| p.connection.id == id).for_each(|p| p.cancel.cancel());
        }
        true
    }

    // The upgraded handles are dropped by the caller, outside the lock: the last one takes it.
    fn statements(&self) -> Vec<Arc<Process>> {
        self.registry.statements.lock().values().filter_map(Weak::upgrade).collect()
    }

    fn info(connection: &Connection, process: Option<&Arc<Process>>) -> RunningQuery {
        let since = process.map_or_else(|| *connection.idle_since.lock(), |p| p.started);
        RunningQuery {
            query_id: process.map(|p| p.query_id.clone()).unwrap_or_default(),
            connection_id: connection.id,
            user: connection.client.user.clone(),
            client: connection.client.address.clone(),
            database: process.map(|p| p.database.clone()).unwrap_or_default(),
            state: process.map(|p| p.state().to_owned()).unwrap_or_default(),
            elapsed_ms: milliseconds(since.elapsed()),
            sql: process.map(|p| p.sql.clone()).unwrap_or_default(),
            coordinator_id: coordinator_of(connection.id),
            connected_unix_ms: milliseconds(connection.since.duration_since(UNIX_EPOCH).unwrap_or_default()),
            rows: process.map(|p| p.rows.load(Ordering::Relaxed)).unwrap_or_default(),
            bytes: process.map(|p| p.bytes.load(Ordering::Relaxed)).unwrap_or_default(),
            progress: process.and_then(|p| p.share()).unwrap_or_default(),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Connection {
    /// Whether it was killed.
    pub fn is_killed(&self) -> bool {
        self.killed.is_cancelled()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.registry.connections.lock().remove(&self.id);
    }
}

impl Process {
    /// What it does now.
    pub fn state(&self) -> &'static str {
        *self.state.lock()
    }

    /// Tells what it does now: `planning`, `running`, `loading`, ...
    pub fn enter(&self, state: &'static str) {
        *self.state.lock() = state;
    }

    /// Tells how far it is by this plan from now on.
    pub fn follow(&self, plan: Arc<dyn ExecutionPlan>) {
        *self.plan.lock() = Some(plan);
    }

    fn share(&self) -> Option<f64> {
        let plan = self.plan.lock().clone();
        plan.and_then(|plan| progress::share(&plan))
    }

    /// Counts rows and bytes worked through.
    pub fn progress(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Cancelled when the statement or its connection is killed, or its last handle is dropped.
    pub const fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.cancel.cancel();
        *self.connection.idle_since.lock() = Instant::now();
        self.connection.registry.statements.lock().remove(&self.query_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientInfo {
        ClientInfo { user: "root".into(), address: "127.0.0.1:9".into(), protocol: "test" }
    }

    #[test]
    fn a_connection_is_listed_while_it_lives_and_its_statements_instead_while_they_run() {
        let processes = Processes::default();
        let connection = processes.connect(3, client());
        assert_eq!(coordinator_of(connection.id), 3);
        assert_eq!(processes.list()[0].query_id, "");
        let one = processes.begin(&connection, "shop", "select 1");
        let two = processes.begin(&connection, "shop", "select 2");
        one.progress(5, 7);
        one.enter("running");
        let list = processes.list();
        assert_eq!(list.len(), 2);
        let first = list.iter().find(|p| p.sql == "select 1").unwrap();
        assert_eq!((first.rows, first.bytes, first.state.as_str()), (5, 7, "running"));
        assert_eq!(
            (first.coordinator_id, first.connection_id, first.client.as_str()),
            (3, connection.id, "127.0.0.1:9")
        );
        assert!(first.connected_unix_ms > 0);
        drop((one, two));
        assert_eq!(processes.list().len(), 1);
        drop(connection);
        assert_eq!(processes.list(), []);
    }

    #[test]
    fn killing_a_query_spares_its_connection_and_killing_a_connection_ends_its_queries() {
        let processes = Processes::default();
        let connection = processes.connect(1, client());
        let one = processes.begin(&connection, "", "select 1");
        let two = processes.begin(&connection, "", "select 2");
        assert!(processes.kill(&one.query_id, false));
        assert!(one.cancelled().is_cancelled() && !two.cancelled().is_cancelled() && !connection.is_killed());
        assert!(processes.kill(&connection.id.to_string(), false));
        assert!(two.cancelled().is_cancelled() && !connection.is_killed());
        let three = processes.begin(&connection, "", "select 3");
        assert!(processes.kill(&connection.id.to_string(), true));
        assert!(three.cancelled().is_cancelled() && connection.is_killed());
        assert!(!processes.kill("77", true));
        assert!(!processes.kill("no id", true));
    }

    #[test]
    fn what_works_for_a_statement_is_cancelled_with_its_last_handle() {
        let processes = Processes::default();
        let connection = processes.connect(1, client());
        let process = processes.begin(&connection, "", "select 1");
        let token = process.cancelled().clone();
        drop(process);
        assert!(token.is_cancelled());
    }
}
