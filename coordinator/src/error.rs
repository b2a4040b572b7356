//! Why a coordinator cannot start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tarn_proto::ErrorKind;

/// A failed start, or the end of a running coordinator.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("`initial_voters` names `{0}`, which is not a coordinator id (1 to 1000)")]
    VoterId(String),
    #[error("cannot listen on {address}: is it taken by another process?")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("`tls_cert` and `tls_key` belong together: set both or none")]
    HalfTls,
    #[error("cannot read {}", path.display())]
    Tls { path: PathBuf, source: io::Error },
    #[error("{} and {} are not a certificate and its key", cert.display(), key.display())]
    Certificate { cert: PathBuf, key: PathBuf, source: tonic::transport::Error },
    #[error(transparent)]
    Raft(#[from] tarn_raft::Error),
    /// The query engine cannot start: the cache or the spill directory.
    #[error("the query engine cannot start: {0}")]
    Engine(String),
    #[error("the contract descriptors are damaged")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::VoterId(_) | Self::HalfTls | Self::Tls { .. } | Self::Certificate { .. } => ErrorKind::Invalid,
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Raft(e) => e.kind(),
            Self::Engine(_) | Self::Reflection(_) => ErrorKind::Internal,
        }
    }
}
