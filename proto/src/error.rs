//! What a caller must do about an error.

use std::fmt;

use tonic::Code;

/// The prescriptive classification of every error that leaves a component. Each component maps its own error enum to a
/// kind with one total `match`; protocols map kinds to their codes with one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: change it. Names an object that does not exist, violates syntax, types or constraints.
    Invalid,
    /// A named object does not exist.
    NotFound,
    /// The object, or the label, exists already.
    AlreadyExists,
    /// The caller has not shown who it is, or may not do this.
    Denied,
    /// A node or the leader is away: the same request may succeed when repeated.
    Unavailable,
    /// Memory, disk or a queue is full: reduce the work or add resources.
    Exhausted,
    /// The caller, an operator or a deadline ended it.
    Cancelled,
    /// A defect, or damaged data: report it.
    Internal,
}

impl ErrorKind {
    /// The kind that [`fmt::Display`] writes so.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Invalid,
            Self::NotFound,
            Self::AlreadyExists,
            Self::Denied,
            Self::Unavailable,
            Self::Exhausted,
            Self::Cancelled,
            Self::Internal,
        ];
        all.into_iter().find(|kind| kind.to_string() == name)
    }

    /// Whether repeating the same request can help.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// The gRPC (and Flight) status code.
    pub const fn grpc_code(self) -> Code {
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Denied => Code::Unauthenticated,
            Self::Unavailable => Code::Unavailable,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Cancelled => Code::Cancelled,
            Self::Internal => Code::Internal,
        }
    }

    /// The HTTP status.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::AlreadyExists => 409,
            Self::Denied => 401,
            Self::Unavailable => 503,
            Self::Exhausted => 429,
            Self::Cancelled => 408,
            Self::Internal => 500,
        }
    }

    /// The kind that a gRPC status stands for.
    pub const fn from_grpc_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented => Self::Invalid,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied,
            Code::Unavailable | Code::Aborted => Self::Unavailable,
            Code::ResourceExhausted => Self::Exhausted,
            Code::Cancelled | Code::DeadlineExceeded => Self::Cancelled,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        })
    }
}

/// Renders an error with its chain of sources, `outer: inner: innermost`, leaving out a source whose text the outer
/// message repeats already.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let message = source.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = source.source();
    }
    text
}
