//! Why a statement fails before it is planned, or while it changes the catalog.

use tarn_gateway::engine::EngineError;
use tarn_ingest::catalog::ProposeError;
use tarn_proto::{ErrorKind, TxnId};
use tarn_sql::{ParseError, Position};

/// A statement that cannot be carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    /// Wrong at a place in the text.
    #[error(transparent)]
    Sql(#[from] ParseError),
    /// The catalog has something against what stands at a place in the text.
    #[error("{source}{}", place(*at))]
    Catalog { source: tarn_catalog::Error, at: Position },
    /// The catalog refused a change, or could not be reached.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Wrong as a whole.
    #[error("{0}")]
    Invalid(String),
    #[error("no database is selected: write `database.table`, or choose one with USE")]
    NoDatabase,
    #[error("unknown catalog `{0}`: the only one is `default_catalog`")]
    UnknownCatalog(String),
    /// No variable, statement or connection of this name.
    #[error("{0}")]
    NotFound(String),
    #[error("table `{0}` exists already")]
    TableExists(String),
    #[error("label `{label}` has been used by transaction {txn}, whose table is not in this place: use another label")]
    LabelUsed { label: String, txn: TxnId },
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Cancelled(String),
    #[error("{0}")]
    Unavailable(String),
    /// A defect.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Something wrong at `at`.
    pub fn at(at: Position, message: impl Into<String>) -> Self {
        match at.line {
            // Not from a text.
            0 => Self::Invalid(message.into()),
            _ => Self::Sql(ParseError::new(at, message)),
        }
    }

    /// Something that the dialect has and Tarn does not do yet.
    pub fn not_yet(at: Position, what: &str) -> Self {
        Self::at(at, format!("{what} not available yet"))
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(e) => e.kind(),
            Self::Catalog { source, .. } => source.kind(),
            Self::Propose(e) => e.kind,
            Self::Invalid(_) | Self::NoDatabase => ErrorKind::Invalid,
            Self::UnknownCatalog(_) | Self::NotFound(_) => ErrorKind::NotFound,
            Self::TableExists(_) | Self::LabelUsed { .. } => ErrorKind::AlreadyExists,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Cancelled(_) => ErrorKind::Cancelled,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// ` at line 1, column 2`, or nothing where there is no text.
pub(super) fn place(at: Position) -> String {
    match at.line {
        0 => String::new(),
        line => format!(" at line {line}, column {}", at.column),
    }
}

impl From<tarn_raft::Error> for Error {
    fn from(error: tarn_raft::Error) -> Self {
        Self::Propose(ProposeError { kind: error.kind(), message: tarn_proto::error::chain(&error) })
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}
