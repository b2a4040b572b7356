//! Why a scan failed.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tarn_proto::storage::StoreError;
use tarn_proto::{ErrorKind, TabletId};
use vortex::error::VortexError;

/// A failed scan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A storage node refused, failed or is away.
    #[error("cannot read tablet {tablet} of `{table}`")]
    Store {
        /// `database.table`.
        table: String,
        /// The tablet, or one of those that the node was asked for.
        tablet: TabletId,
        /// What the storage node said.
        #[source]
        source: StoreError,
    },
    /// A rowset of a manifest is gone: compaction replaced it after the manifest was cached. The manifest has been
    /// forgotten, so that the query succeeds when it is run again.
    #[error("{tablet} was compacted while it was read; run the query again")]
    Superseded {
        /// The tablet.
        tablet: TabletId,
        /// What the storage node said.
        #[source]
        source: StoreError,
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
            Self::Store { source, .. } => source.kind,
            Self::Superseded { .. } | Self::Dropped { .. } => ErrorKind::Unavailable,
            Self::Segment { .. } | Self::Manifest { .. } => ErrorKind::Internal,
            Self::DiskCache { .. } => ErrorKind::Exhausted,
        }
    }
}

/// Begins the context of an error of the engine that a scan's error became. Errors lose their type when they cross nodes,
/// and some operators wrap them; their context stays, and tells kind and message.
const FAILED: &str = "tablet scan failed (";

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        let context = format!("{FAILED}{}): {}", error.kind(), tarn_proto::error::chain(&error));
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
        let (kind, message) = context.strip_prefix(FAILED)?.split_once("): ")?;
        // Some libraries write where they were into the message.
        let message = message.split("\nBacktrace:").next()?.trim_end().to_owned();
        Some(Self { kind: ErrorKind::from_name(kind)?, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> DataFusionError {
        let source = StoreError {
            kind: ErrorKind::Unavailable,
            address: "10.0.0.1:9020".to_owned(),
            message: "it does not answer (refused)".to_owned(),
        };
        Error::Store { table: "d.t".to_owned(), tablet: TabletId(7), source }.into()
    }

    #[test]
    fn a_failure_keeps_kind_and_message_through_wrappers_and_nodes() {
        let expected = Failure {
            kind: ErrorKind::Unavailable,
            message: "cannot read tablet t7 of `d.t`: storage node 10.0.0.1:9020: it does not answer (refused)"
                .to_owned(),
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
}
