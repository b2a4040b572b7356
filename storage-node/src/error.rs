//! Why a storage node cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tarn_proto::ErrorKind;
use tarn_proto::membership::OtherCluster;

/// A failed start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory or what is in it.
    #[error("cannot open the tablets in {}", data.display())]
    Engine {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        #[source]
        source: tarn_tablet::Error,
    },
    /// The port.
    #[error("cannot listen on {address}: is it taken by another process?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others would not know where this node is.
    #[error("{0} is no address that other nodes can reach: set `advertise`")]
    Advertise(SocketAddr),
    /// Nobody to register with.
    #[error("`coordinators` is empty: name at least one coordinator (host:port)")]
    NoCoordinators,
    /// The data directory is of another cluster.
    #[error("the data in {} are of another cluster", data.display())]
    OtherCluster {
        /// The data directory.
        data: PathBuf,
        /// Which.
        #[source]
        source: OtherCluster,
    },
    /// A file that keeps the node's id, its cluster's or its leader's term.
    #[error("cannot keep what the node knows of its cluster in {}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Work on the blocking pool panicked or was dropped at shutdown.
    #[error("cannot finish the start: the process is stopping or has a defect, see its log")]
    Background,
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine { source, .. } => source.kind(),
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Advertise(_) | Self::NoCoordinators | Self::OtherCluster { .. } => ErrorKind::Invalid,
            Self::Kept { .. } | Self::Background => ErrorKind::Internal,
        }
    }
}
