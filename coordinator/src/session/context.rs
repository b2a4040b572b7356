//! Everything one statement sees, pinned when it begins.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::RwLock;
use tarn_catalog::{Catalog, Database, Operation, Relation, Response, Table};
use tarn_gateway::engine::EngineError;
use tarn_gateway::flight::CATALOG;
use tarn_ingest::CatalogClient;
use tarn_planner::Planner;
use tarn_proto::{ErrorKind, NodeId};
use tarn_raft::CatalogRaft;
use tarn_scan::QueryRuntime;
use tarn_sql::ObjectName;

use super::{Error, Variables};
use crate::processes::{Process, Processes};
use crate::{Members, ReplicatedCatalog};

/// What all sessions of a coordinator share.
pub struct Shared {
    /// This coordinator.
    pub node: NodeId,
    /// Consensus, for who leads and who the coordinators are.
    pub raft: CatalogRaft,
    /// Reads and changes the catalog; has the storage nodes' connections.
    pub catalog: ReplicatedCatalog,
    /// Which nodes live.
    pub members: Arc<RwLock<Members>>,
    /// What runs here.
    pub processes: Processes,
    /// Plans and runs queries.
    pub planner: Arc<Planner>,
    /// Where queries run.
    pub threads: Arc<QueryRuntime>,
    /// The start of this process, as its heartbeats tell it. Set once it has registered.
    pub incarnation: OnceLock<String>,
    /// Whether this process has seen all that was acknowledged before it started.
    pub caught_up: AtomicBool,
}

impl Shared {
    /// What the sessions of the coordinator of `raft` share.
    pub fn new(
        raft: CatalogRaft,
        catalog: ReplicatedCatalog,
        members: Arc<RwLock<Members>>,
        planner: Arc<Planner>,
        threads: Arc<QueryRuntime>,
    ) -> Arc<Self> {
        Arc::new(Self {
            node: raft.node_id(),
            raft,
            catalog,
            members,
            processes: Processes::default(),
            planner,
            threads,
            incarnation: OnceLock::new(),
            caught_up: AtomicBool::new(false),
        })
    }

    /// Who owns the loads that run here.
    pub fn load_owner(&self) -> Result<(NodeId, String), Error> {
        let incarnation = self.incarnation.get().ok_or_else(|| {
            Error::Unavailable("this coordinator has not joined the cluster yet: try again in a second".to_owned())
        })?;
        Ok((self.node, incarnation.clone()))
    }
}

/// What a statement sees. Cheap to clone.
#[derive(Clone)]
pub struct SessionContext {
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// The one catalog snapshot that the statement works with.
    pub catalog: Catalog,
    /// The current database.
    pub database: Option<String>,
    /// The session's variables when the statement began.
    pub variables: Arc<Variables>,
    /// The statement in the process list: query id, progress, cancellation.
    pub process: Arc<Process>,
    /// When it must have ended.
    pub deadline: Option<Instant>,
}

impl SessionContext {
    /// Names the statement in logs, `SHOW PROCESSLIST` and `KILL`.
    pub fn query_id(&self) -> &str {
        &self.process.query_id
    }

    /// The same statement over another snapshot: after it has changed the catalog itself.
    #[must_use]
    pub fn with_catalog(&self, catalog: Catalog) -> Self {
        Self { catalog, ..self.clone() }
    }

    /// The same statement over what it has changed, which this coordinator has applied when it is answered.
    #[must_use]
    pub fn refreshed(&self) -> Self {
        self.with_catalog(self.shared.catalog.catalog())
    }

    /// Changes the catalog.
    pub async fn propose(&self, operation: Operation) -> Result<Response, Error> {
        Ok(self.shared.catalog.propose(operation).await?)
    }

    /// Why the statement must end now: it was killed, or is past its deadline. Never returns before.
    pub async fn interrupted(&self) -> EngineError {
        interrupted(self.process.cancelled(), self.deadline).await
    }

    /// The database of a name: its own or the current one.
    pub fn database_of(&self, name: &ObjectName) -> Result<&Arc<Database>, Error> {
        if let Some(catalog) = name.catalog() {
            check_catalog(catalog)?;
        }
        let database = name.database().or(self.database.as_deref()).ok_or(Error::NoDatabase)?;
        self.catalog.database(database).map_err(|source| Error::Catalog { source, at: name.at() })
    }

    /// The table or view of a name.
    pub fn relation(&self, name: &ObjectName) -> Result<&Relation, Error> {
        let database = self.database_of(name)?;
        self.catalog.relation(database.id, name.name()).ok_or_else(|| Error::Catalog {
            source: tarn_catalog::Error::UnknownTable(name.name().to_owned()),
            at: name.at(),
        })
    }

    /// The table of a name; a view is refused.
    pub fn table(&self, name: &ObjectName) -> Result<Arc<Table>, Error> {
        let database = self.database_of(name)?;
        self.catalog.table(database.id, name.name()).map_err(|source| Error::Catalog { source, at: name.at() })
    }
}

/// The database of the planner's tables about tables. It is none of the catalog's.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// Checks that a database can be made the current one.
pub fn check_database(catalog: &Catalog, name: &str) -> Result<(), tarn_catalog::Error> {
    if name == INFORMATION_SCHEMA { Ok(()) } else { catalog.database(name).map(|_| ()) }
}

/// There is one catalog.
pub fn check_catalog(name: &str) -> Result<(), Error> {
    if name == CATALOG { Ok(()) } else { Err(Error::UnknownCatalog(name.to_owned())) }
}

/// Returns when `cancelled` or past `deadline`, with the words for it.
pub(super) async fn interrupted(
    cancelled: &tokio_util::sync::CancellationToken,
    deadline: Option<Instant>,
) -> EngineError {
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let message = tokio::select! {
        biased;
        () = cancelled.cancelled() => "the statement was cancelled",
        () = late => "the statement ran longer than its timeout: raise `query_timeout` (`insert_timeout` for loads)",
    };
    EngineError { kind: ErrorKind::Cancelled, message: message.to_owned() }
}
