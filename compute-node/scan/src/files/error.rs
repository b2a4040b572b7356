//! Why `FILES(..)` failed.

use datafusion::error::DataFusionError;
use tarn_proto::ErrorKind;

use super::options::Format;

/// A failed `FILES(..)`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FilesError {
    /// A property that does not exist.
    #[error("unknown property \"{name}\" of FILES; did you mean \"{nearest}\"?")]
    UnknownProperty {
        /// As written.
        name: String,
        /// The property whose name is nearest.
        nearest: &'static str,
    },
    /// A property that must be there.
    #[error("FILES needs the property \"{name}\": {remedy}")]
    MissingProperty {
        /// The property.
        name: &'static str,
        /// An example.
        remedy: &'static str,
    },
    /// A property with a value that it cannot have.
    #[error("property \"{name}\" of FILES: {reason}")]
    Property {
        /// The property.
        name: String,
        /// What is wrong, and what would be right. Never holds a credential.
        reason: String,
    },
    /// A path that cannot be read as one.
    #[error("path \"{path}\" of FILES: {reason}")]
    Path {
        /// As written.
        path: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Nothing is there.
    #[error("no file matches \"{path}\"; check the path, and that this node can see it")]
    NoMatch {
        /// As written.
        path: String,
    },
    /// The store refused.
    #[error(
        "access to \"{path}\" was denied: {reason}; check \"aws.s3.access_key\", \"aws.s3.secret_key\" and the bucket's policy"
    )]
    Denied {
        /// The file or the pattern.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// The store failed, after retries.
    #[error("cannot read \"{path}\": {reason}")]
    Store {
        /// The file or the pattern.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// A file that is not what its format says.
    #[error("\"{path}\" is not a readable {format} file: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// The format of the call.
        format: Format,
        /// The reader's complaint.
        reason: String,
    },
    /// A column with a type that no table column can have.
    #[error("\"{path}\", column `{column}`: a column of type {found} cannot be read; leave the file out or rewrite it")]
    Type {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// The type in the file.
        found: String,
    },
    /// Two files whose columns cannot be united.
    #[error("\"{path}\", column `{column}`: {found} here, {expected} in the files before it; read them in two calls")]
    Union {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// The type in this file.
        found: String,
        /// The type so far.
        expected: String,
    },
    /// A row that does not have the table's form.
    #[error("\"{path}\", row {row}: {reason}")]
    Row {
        /// The file.
        path: String,
        /// Rows of a file are numbered from 1; skipped header lines do not count.
        row: u64,
        /// What is wrong.
        reason: String,
    },
    /// A value that is not of its column's type.
    #[error("\"{path}\", row {row}, column `{column}`: {value} is not a {expected}; {remedy}")]
    Value {
        /// The file.
        path: String,
        /// Rows of a file are numbered from 1; skipped header lines do not count.
        row: u64,
        /// The column.
        column: String,
        /// The value, shortened when it is long.
        value: String,
        /// The column's type.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl FilesError {
    /// The error of this kind that caused `error`, if one did.
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoMatch { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Store { .. } => ErrorKind::Unavailable,
            Self::UnknownProperty { .. }
            | Self::MissingProperty { .. }
            | Self::Property { .. }
            | Self::Path { .. }
            | Self::Malformed { .. }
            | Self::Type { .. }
            | Self::Union { .. }
            | Self::Row { .. }
            | Self::Value { .. } => ErrorKind::Invalid,
        }
    }
}

impl From<FilesError> for DataFusionError {
    fn from(error: FilesError) -> Self {
        Self::External(Box::new(error))
    }
}
