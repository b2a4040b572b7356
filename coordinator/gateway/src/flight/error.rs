//! Why a call is refused, and the Flight status for it. The status message begins with what happened.

use arrow::error::ArrowError;
use tarn_proto::ErrorKind;
use tonic::{Code, Status};

use crate::engine::EngineError;

/// A refused call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The engine's answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("this server wants a user name and a password, and the call has neither")]
    NoCredentials,
    #[error("malformed `{header}` header: {problem}")]
    Header { header: &'static str, problem: &'static str },
    #[error("the session has expired, was closed, or belongs to another coordinator: connect again")]
    SessionExpired,
    #[error("{0} sessions are open, as many as this coordinator allows: close some")]
    TooManySessions(usize),
    #[error("{0} statements are held, as many as this coordinator allows: close prepared statements after use")]
    TooManyStatements(usize),
    #[error("the prepared statement is unknown: it was closed or has expired, prepare it again")]
    UnknownStatement,
    #[error("the ticket is unknown: a ticket is good for one DoGet and for a limited time, execute the query again")]
    UnknownTicket,
    #[error("the statement has {expected} parameters and {bound} are bound")]
    ParameterCount { expected: usize, bound: usize },
    #[error("the bound parameters exceed {0} bytes: load many rows by bulk ingest")]
    ParametersTooLarge(usize),
    #[error("rows before row {row} were applied; row {row}: {source}")]
    Row { row: usize, source: EngineError },
    #[error("the result's columns have changed since the statement was prepared: prepare it again ({0})")]
    ResultChanged(String),
    #[error("malformed request: {0}")]
    Malformed(String),
    #[error("{0}")]
    Unsupported(&'static str),
    #[error("the query was cancelled")]
    Cancelled,
    #[error("cannot encode the answer: {0}")]
    Encode(#[from] ArrowError),
}

/// What is said to `BeginTransaction` and to calls that name a transaction.
pub(crate) const NO_TRANSACTIONS: &str =
    "transactions over several statements are not supported: every statement commits by itself";

impl Error {
    /// What the caller must do.
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(e) | Self::Row { source: e, .. } => e.kind,
            Self::NoCredentials | Self::SessionExpired => ErrorKind::Denied,
            Self::TooManySessions(_) | Self::TooManyStatements(_) | Self::ParametersTooLarge(_) => ErrorKind::Exhausted,
            Self::UnknownStatement | Self::UnknownTicket => ErrorKind::NotFound,
            Self::Header { .. }
            | Self::ParameterCount { .. }
            | Self::ResultChanged(_)
            | Self::Malformed(_)
            | Self::Unsupported(_) => ErrorKind::Invalid,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Encode(_) => ErrorKind::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Unsupported(_) => Code::Unimplemented,
            other => other.kind().grpc_code(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<arrow_flight::error::FlightError> for Error {
    fn from(error: arrow_flight::error::FlightError) -> Self {
        match error {
            arrow_flight::error::FlightError::Arrow(e) => Self::Encode(e),
            // The request stream broke: the client went away.
            arrow_flight::error::FlightError::Tonic(status) => Self::Engine(EngineError {
                kind: ErrorKind::from_grpc_code(status.code()),
                message: status.message().to_owned(),
            }),
            other => Self::Malformed(other.to_string()),
        }
    }
}
