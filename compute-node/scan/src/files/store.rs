//! The store of one `FILES(..)`: credentials, retries, and errors without secrets.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use tarn_proto::volume::s3;

use super::error::FilesError;
use super::location::Root;
use super::options::{FilesOptions, Format};

/// Repeats of one request: with the waits below, about ten seconds.
const MAX_RETRIES: usize = 6;
/// No repeat begins later than this after the first attempt.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// For one request with its body, which is at most some row groups.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// What stands in messages in place of a credential.
const REDACTED: &str = "***";

/// How one call reaches its files.
pub(super) struct Access {
    pub store: Arc<dyn ObjectStore>,
    pub root: Root,
    pub format: Format,
    secrets: Vec<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Access {
    /// Opens the store at `root`. Nothing is requested of it.
    pub fn open(options: &FilesOptions, root: Root) -> Result<Self, FilesError> {
        let secrets = options.s3.secrets();
        let mut access = Self { store: Arc::new(LocalFileSystem::new()), root, format: options.format, secrets };
        if let Root::S3 { bucket } = &access.root {
            let retry = RetryConfig {
                backoff: BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 2.0 },
                max_retries: MAX_RETRIES,
                retry_timeout: RETRY_TIMEOUT,
            };
            let store = s3(bucket, &options.s3, retry, REQUEST_TIMEOUT)
                .build()
                .map_err(|error| FilesError::Store { path: format!("s3://{bucket}"), reason: access.redact(&error) })?;
            access.store = Arc::new(store);
        }
        Ok(access)
    }

    /// A file's name for messages.
    pub fn display(&self, path: &Path) -> String {
        self.root.display(path)
    }

    /// A message without credentials.
    pub fn redact(&self, message: &dyn fmt::Display) -> String {
        let mut text = message.to_string();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), REDACTED);
        }
        text
    }

    /// What a failed request means; `path` is the file or the pattern.
    pub fn store_error(&self, path: String, error: &object_store::Error) -> FilesError {
        use object_store::Error;
        match error {
            Error::NotFound { .. } => FilesError::NoMatch { path },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                FilesError::Denied { path, reason: self.redact(error) }
            }
            _ => FilesError::Store { path, reason: self.redact(error) },
        }
    }

    /// What an error means that came up while a file was read.
    pub fn read_error(&self, path: &Path, error: &(dyn Error + 'static)) -> FilesError {
        let name = self.display(path);
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(known) = error.downcast_ref::<FilesError>() {
                return known.clone();
            }
            if let Some(store) = error.downcast_ref() {
                return self.store_error(name, store);
            }
            next = error.source();
        }
        FilesError::Malformed { path: name, format: self.format, reason: self.redact(&error) }
    }

    /// Names the file in an error that came up while it was read. What says nothing about the file, such as missing
    /// memory, stays as it is.
    pub fn name_error(&self, path: &Path, error: DataFusionError) -> DataFusionError {
        match error {
            DataFusionError::ObjectStore(_)
            | DataFusionError::ParquetError(_)
            | DataFusionError::ArrowError(..)
            | DataFusionError::IoError(_) => self.read_error(path, &error).into(),
            other => other,
        }
    }
}
