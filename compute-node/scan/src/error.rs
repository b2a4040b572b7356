//! Why a scan failed.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tarn_proto::{ErrorKind, NodeId, TabletId};
use vortex::error::VortexError;

use crate::segment::ReadError;

/// A failed scan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A storage node, or the tablet's storage volume, refused, failed or is away, and no other replica could be read
    /// instead.
    #[error("cannot read {tablet} of `{table}`")]
    Store {
        /// `database.table`.
        table: String,
        /// The tablet.
        tablet: TabletId,
        /// The storage node that failed first.
        node: Option<NodeId>,
        /// What was said.
        #[source]
        source: Box<ReadError>,
    },
    /// A rowset of a manifest is gone: compaction or a clone replaced it after the manifest was cached. The manifest has
    /// been forgotten, so that the query succeeds when it is run again.
    #[error("{tablet} was compacted or repaired while it was read; run the query again")]
    Superseded {
        /// The tablet.
        tablet: TabletId,
        /// What was said.
        #[source]
        source: Box<ReadError>,
    },
    /// The storage node that owned the tablet, which is on a storage volume, is away or does not own it any more. Another one
    /// takes over.
    #[error("the owner of {tablet} on its storage volume is away or changes")]
    Owner {
        /// The tablet.
        tablet: TabletId,
        /// What was said.
        #[source]
        source: Box<Self>,
    },
    /// A rowset was written without a column that the query wants: the column was dropped while the query ran.
    #[error("column `{column}` was dropped while {tablet} was read; run the query again")]
    Dropped {
        /// The column.
        column: String,
        /// The tablet.
        tablet: TabletId,
    },
    /// A segment file that cannot be decoded.
    #[error("cannot read segment {segment} of {tablet}, rowset {rowset}")]
    Segment {
        /// The tablet.
        tablet: TabletId,
        /// The rowset in the tablet.
        rowset: tarn_proto::RowsetId,
        /// The segment in the rowset.
        segment: u32,
        /// The decoder's complaint.
        #[source]
        source: VortexError,
    },
    /// A manifest that contradicts itself or lacks a tablet.
    #[error("manifest of {tablet}: {reason}")]
    Manifest {
        /// The tablet.
        tablet: TabletId,
        /// What is wrong.
        reason: String,
    },
    /// The disk cache cannot be opened.
    #[error("cannot open the disk cache in `{directory}`")]
    DiskCache {
        /// Its directory.
        directory: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Superseded { .. } | Self::Owner { .. } | Self::Dropped { .. } => ErrorKind::Unavailable,
            Self::Segment { .. } | Self::Manifest { .. } => ErrorKind::Internal,
            Self::DiskCache { .. } => ErrorKind::Exhausted,
        }
    }

    /// The failure to ask the owner of a tablet for its manifest, if the tablet is on a storage volume.
    pub(crate) fn of_owner(self) -> Self {
        match self {
            Self::Superseded { tablet, .. } => Self::Owner { tablet, source: Box::new(self) },
            Self::Store { tablet, node: Some(_), ref source, .. } if source.kind() == ErrorKind::Unavailable => {
                Self::Owner { tablet, source: Box::new(self) }
            }
            other => other,
        }
    }

    /// How the query may succeed when it is run again.
    pub fn again(&self) -> Option<Again> {
        match self {
            Self::Superseded { .. } | Self::Dropped { .. } => Some(Again::Refreshed),
            Self::Owner { .. } => Some(Again::Owned),
            // What is away or damaged on one node may be whole on another.
            Self::Store { node: Some(node), source, .. }
                if matches!(source.kind(), ErrorKind::Unavailable | ErrorKind::Internal) =>
            {
                Some(Again::Without(*node))
            }
            Self::Store { .. } | Self::Segment { .. } | Self::Manifest { .. } | Self::DiskCache { .. } => None,
        }
    }
}

/// How a query that failed may succeed when it is run again, if none of its rows have gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Over the tables as they are then.
    Refreshed,
    /// As soon as its tablets on storage volumes have owners: over the tables as they are then.
    Owned,
    /// Without a storage node, where other replicas can be read.
    Without(NodeId),
}

/// Begins the context of an error of the engine that a scan's error became. Errors lose their type when they cross nodes,
/// and some operators wrap them; their context stays, and tells kind, what may help, and message.
const FAILED: &str = "tablet scan failed (";
const REFRESHED: &str = "again";
const OWNED: &str = "again when it is owned";
const WITHOUT: &str = "again without n";

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        let again = match error.again() {
            None => String::new(),
            Some(Again::Refreshed) => format!("; {REFRESHED}"),
            Some(Again::Owned) => format!("; {OWNED}"),
            Some(Again::Without(node)) => format!("; {WITHOUT}{}", node.get()),
        };
        let context = format!("{FAILED}{}{again}): {}", error.kind(), tarn_proto::error::chain(&error));
        Self::External(Box::new(error)).context(context)
    }
}

/// A scan's failure, on whichever node the scan ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the caller must do.
    pub kind: ErrorKind,
    /// What happened, once.
    pub message: String,
    /// What may help.
    pub again: Option<Again>,
}

impl Failure {
    /// The scan's failure that made a query fail, if that is what made it fail.
    pub fn of(error: &DataFusionError) -> Option<Self> {
        match error {
            DataFusionError::Context(context, inner) => Self::parse(context).or_else(|| Self::of(inner)),
            DataFusionError::Shared(inner) => Self::of(inner),
            DataFusionError::Diagnostic(_, inner) => Self::of(inner),
            DataFusionError::Collection(errors) => errors.iter().find_map(Self::of),
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                ArrowError::ExternalError(source) => Self::inside(source.as_ref()),
                _ => None,
            },
            DataFusionError::External(source) => Self::inside(source.as_ref()),
            _ => None,
        }
    }

    fn inside(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Self> {
        match source.downcast_ref::<DataFusionError>() {
            Some(error) => Self::of(error),
            // Errors inside others become text when they cross nodes.
            None => Self::parse(source.to_string().split("\ncaused by\n").next()?),
        }
    }

    fn parse(context: &str) -> Option<Self> {
        let (head, message) = context.strip_prefix(FAILED)?.split_once("): ")?;
        let (kind, again) = head.split_once("; ").map_or((head, None), |(kind, again)| (kind, Some(again)));
        let again = again.and_then(|again| match again.strip_prefix(WITHOUT) {
            Some(node) => node.parse().ok().map(|node| Again::Without(NodeId(node))),
            None if again == OWNED => Some(Again::Owned),
            None => (again == REFRESHED).then_some(Again::Refreshed),
        });
        // Some libraries write where they were into the message.
        let message = message.split("\nBacktrace:").next()?.trim_end().to_owned();
        Some(Self { kind: ErrorKind::from_name(kind)?, message, again })
    }
}

#[cfg(test)]
mod tests {
    use tarn_proto::storage::StoreError;

    use super::*;

    fn away() -> DataFusionError {
        let source = StoreError {
            kind: ErrorKind::Unavailable,
            address: "10.0.0.1:9020".to_owned(),
            message: "it does not answer (refused)".to_owned(),
        };
        let (table, node) = ("d.t".to_owned(), Some(NodeId(1002)));
        Error::Store { table, tablet: TabletId(7), node, source: Box::new(source.into()) }.into()
    }

    #[test]
    fn a_failure_keeps_kind_and_message_through_wrappers_and_nodes() {
        let expected = Failure {
            kind: ErrorKind::Unavailable,
            message: "cannot read t7 of `d.t`: storage node 10.0.0.1:9020: it does not answer (refused)".to_owned(),
            again: Some(Again::Without(NodeId(1002))),
        };
        let shared = DataFusionError::Shared(std::sync::Arc::new(away())).context("join");
        // As errors cross nodes: what is inside an external one becomes text.
        let text = DataFusionError::External(away().to_string().into());
        let nested = DataFusionError::External(Box::new(away()));
        let arrow = DataFusionError::from(ArrowError::ExternalError(away().to_string().into()));
        for error in [away(), shared, text, nested, arrow] {
            assert_eq!(Failure::of(&error), Some(expected.clone()), "{error}");
        }
        assert_eq!(Failure::of(&DataFusionError::Execution("division by zero".to_owned())), None);
    }

    #[test]
    fn a_failure_tells_whether_to_run_the_query_again() {
        let dropped = Error::Dropped { column: "c".to_owned(), tablet: TabletId(7) };
        assert_eq!(Failure::of(&dropped.into()).and_then(|failure| failure.again), Some(Again::Refreshed));
        let source =
            StoreError { kind: ErrorKind::NotFound, address: "a:1".to_owned(), message: "it is gone".to_owned() };
        let gone = Error::Superseded { tablet: TabletId(7), source: Box::new(source.into()) }.of_owner();
        let failure = Failure::of(&gone.into()).expect("a failure of a scan");
        assert_eq!((failure.kind, failure.again), (ErrorKind::Unavailable, Some(Again::Owned)));
        assert!(failure.message.contains("owner of t7") && failure.message.contains("it is gone"), "{failure:?}");
        let damaged = Error::Manifest { tablet: TabletId(7), reason: "damaged".to_owned() };
        assert_eq!(Failure::of(&damaged.into()).map(|failure| failure.again), Some(None));
    }
}
