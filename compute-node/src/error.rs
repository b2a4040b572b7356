//! Why a compute node does not start or stop well.

use std::net::SocketAddr;
use std::path::PathBuf;

use datafusion::error::DataFusionError;
use tarn_proto::ErrorKind;

/// A failure of the role itself. Failures of tasks go to the coordinator that sent them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gRPC server cannot listen.
    #[error("cannot listen on {address}; set `listen` to a free address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address that others are to use is none.
    #[error("others cannot reach this node at `{address}`; set `advertise` to its host:port")]
    Advertise {
        /// The address.
        address: String,
    },
    /// The directory for spilled rows cannot be used.
    #[error("cannot use `{}` for spilled rows", directory.display())]
    Spill {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The block cache cannot be opened.
    #[error(transparent)]
    Cache(#[from] tarn_scan::Error),
    /// The runtime for queries cannot be made.
    #[error("cannot set up memory and spilling for queries")]
    Runtime(#[source] DataFusionError),
    /// The gRPC server broke while it ran.
    #[error("the gRPC server at {address} failed")]
    Serve {
        /// Its address.
        address: String,
        /// The cause.
        #[source]
        source: tonic::transport::Error,
    },
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } | Self::Advertise { .. } => ErrorKind::Invalid,
            Self::Spill { .. } => ErrorKind::Exhausted,
            Self::Cache(e) => e.kind(),
            Self::Runtime(_) | Self::Serve { .. } => ErrorKind::Internal,
        }
    }
}
