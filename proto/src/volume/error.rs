//! Why a storage volume cannot be used.

use crate::ErrorKind;

/// A failed request to a storage volume, or a wrong definition of one. Messages hold no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A location that is none.
    #[error("location \"{location}\" of a storage volume: {reason}")]
    Location {
        /// As written.
        location: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A property with a value that it cannot have, or that does not exist.
    #[error("property \"{name}\" of a storage volume: {reason}")]
    Property {
        /// The property.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// No such object.
    #[error("{object} is not there")]
    NotFound {
        /// The object, as a user would write it.
        object: String,
    },
    /// The store refused.
    #[error("access to {object} was denied: {reason}; check the storage volume's credentials and the bucket's policy")]
    Denied {
        /// The object.
        object: String,
        /// What the store said.
        reason: String,
    },
    /// The store failed, after retries.
    #[error(
        "cannot {action} {object}: {reason}; it was tried {attempts} times, look at the object store and the network"
    )]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The object.
        object: String,
        /// What the store said last.
        reason: String,
        /// How often.
        attempts: usize,
    },
    /// A file on the node's own disk that cannot be read to be stored, or written when fetched.
    #[error("cannot copy {object} from or to the local file {file}: {reason}")]
    File {
        /// The object.
        object: String,
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// What the caller must do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Location { .. } | Self::Property { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Failed { .. } => ErrorKind::Unavailable,
            Self::File { .. } => ErrorKind::Internal,
        }
    }

    /// Whether there is no such object.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
