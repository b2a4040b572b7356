//! Why a query cannot be planned or run.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use tarn_proto::{ErrorKind, TabletId};
use tarn_scan::files::FilesError;
use tarn_sql::ParseError;

/// A query that cannot be planned, or that failed while it ran.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text of a query or a view.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// An unqualified name and no current database.
    #[error("no database is selected to look for `{table}` in: write `database.{table}` or USE a database first")]
    NoDatabase {
        /// The name as written.
        table: String,
    },
    /// A name of a catalog that does not exist.
    #[error("unknown catalog `{0}`: SHOW CATALOGS lists them")]
    UnknownCatalog(String),
    /// A name of a database that does not exist.
    #[error("unknown database `{0}`: SHOW DATABASES lists them")]
    UnknownDatabase(String),
    /// A name of a table or view that does not exist.
    #[error("unknown table `{0}`: SHOW TABLES lists the database's")]
    UnknownTable(String),
    /// A view whose query cannot be planned any more, or that contains itself.
    #[error("view `{view}`: {source}")]
    View {
        /// `database.view`.
        view: String,
        /// What is wrong with its query.
        #[source]
        source: Box<Error>,
    },
    /// A view that reads itself, through others.
    #[error("it reads itself through more than {0} views")]
    ViewDepth(usize),
    /// More or fewer parameters than given.
    #[error("the statement has {expected} parameters, {given} were given")]
    Parameters {
        /// Parameters in the statement.
        expected: usize,
        /// Values given.
        given: usize,
    },
    /// A tablet without a replica that could be read.
    #[error(
        "{tablet} of `{table}` has no replica on a registered storage node that holds all of its rows: SHOW TABLETS FROM \
         {table} tells where they are"
    )]
    NoStorageNode {
        /// The tablet.
        tablet: TabletId,
        /// `database.table`.
        table: String,
    },
    /// Files that cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The engine's own error, told whole: its sources say the same in other words.
    #[error("{}", describe(.0))]
    Engine(DataFusionError),
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(error)
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownDatabase(_) | Self::UnknownTable(_) | Self::UnknownCatalog(_) => ErrorKind::NotFound,
            Self::Parse(_) | Self::NoDatabase { .. } | Self::ViewDepth(_) | Self::Parameters { .. } => {
                ErrorKind::Invalid
            }
            Self::NoStorageNode { .. } => ErrorKind::Unavailable,
            Self::View { source, .. } => source.kind(),
            Self::Files(error) => error.kind(),
            Self::Engine(error) => kind(error),
        }
    }
}

/// The kind of an engine's error. What a scan or another component reported keeps its own kind.
pub fn kind(error: &DataFusionError) -> ErrorKind {
    match error.find_root() {
        DataFusionError::External(cause) => {
            if let Some(error) = cause.downcast_ref::<Error>() {
                error.kind()
            } else if let Some(error) = cause.downcast_ref::<tarn_scan::Error>() {
                error.kind()
            } else if let Some(error) = cause.downcast_ref::<tarn_scan::files::FilesError>() {
                error.kind()
            } else {
                ErrorKind::Internal
            }
        }
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Exhausted,
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::ArrowError(..) => ErrorKind::Invalid,
        DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// The engine's message without the names of its layers, and with the place in the text where it is known.
fn describe(error: &DataFusionError) -> String {
    let root = error.find_root();
    let message = match root {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let mut names: Vec<String> = valid_fields.iter().map(|f| f.name.clone()).collect();
                names.dedup();
                let listed = names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
                let more = if names.len() > 20 { ", .." } else { "" };
                format!("unknown column `{}`: columns are {listed}{more}", field.quoted_flat_name().replace('"', ""))
            }
            other => other.to_string(),
        },
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::ResourcesExhausted(text)
        | DataFusionError::Configuration(text) => text.clone(),
        DataFusionError::NotImplemented(text) => not_implemented(text),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(text) | ArrowError::ComputeError(text) | ArrowError::ParseError(text) => text.clone(),
            other => other.to_string(),
        },
        DataFusionError::External(cause) => tarn_proto::error::chain(cause.as_ref()),
        other => other.strip_backtrace(),
    };
    let place = place(error).map(|(line, column)| format!(" at line {line}, column {column}")).unwrap_or_default();
    // Some libraries write where they were into the message.
    let message = message.split("\nBacktrace:").next().unwrap_or_default();
    format!("{}{place}", message.trim_end())
}

/// Without the syntax tree that the engine prints for what it does not know.
fn not_implemented(text: &str) -> String {
    match text.strip_prefix("Unsupported ast node ") {
        Some(node) => {
            let node = node.trim_start_matches("in sqltorel: ");
            let end = node.find([' ', '{', '(']).unwrap_or(node.len());
            format!("{} is not available yet", &node[..end])
        }
        None => text.to_owned(),
    }
}

fn place(error: &DataFusionError) -> Option<(u64, u64)> {
    match error {
        DataFusionError::Diagnostic(diagnostic, _) => {
            let span = diagnostic.span?;
            Some((span.start.line, span.start.column))
        }
        DataFusionError::Context(_, inner) => place(inner),
        DataFusionError::Shared(inner) => place(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(place),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tablet_without_a_storage_node_is_unavailable() {
        let error = Error::NoStorageNode { tablet: TabletId(7), table: "d.t".to_owned() };
        let engine = DataFusionError::External(Box::new(error));
        assert_eq!(kind(&engine), ErrorKind::Unavailable);
        assert!(Error::from(engine).to_string().starts_with("t7 of `d.t` has no replica"));
    }
}
