//! The store of one `FILES(..)`: credentials, retries, and errors without secrets.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::error::FilesError;
use super::location::Root;
use super::options::{FilesOptions, Format, S3Options};

/// Repeats of one request: with the waits below, about ten seconds.
const MAX_RETRIES: usize = 6;
/// No repeat begins later than this after the first attempt.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request with its body, which is at most some row groups.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Where a bucket is when nothing says so.
const DEFAULT_REGION: &str = "us-east-1";
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
        let mut secrets: Vec<String> = options.s3.secrets().map(str::to_owned).collect();
        // A secret may hold another: take the longest first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut access = Self { store: Arc::new(LocalFileSystem::new()), root, format: options.format, secrets };
        if let Root::S3 { bucket } = &access.root {
            let store = s3(bucket, &options.s3)
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

fn s3(bucket: &str, options: &S3Options) -> AmazonS3Builder {
    let builder = if options.instance_profile {
        // The node's own identity: environment, web identity, container or instance profile.
        AmazonS3Builder::from_env()
    } else {
        AmazonS3Builder::new()
    };
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 2.0 },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    };
    let client = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
    let endpoint = options.endpoint.as_ref().map(|endpoint| match endpoint.contains("://") {
        true => endpoint.trim_end_matches('/').to_owned(),
        false => format!("{}://{}", if options.ssl { "https" } else { "http" }, endpoint.trim_end_matches('/')),
    });
    // Stores other than AWS seldom have a name for each bucket, so there the path is the default.
    let amazon = endpoint.as_ref().is_none_or(|endpoint| endpoint.contains("amazonaws.com"));
    let path_style = options.path_style.unwrap_or(!amazon);
    let mut builder = builder
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_client_options(client)
        .with_virtual_hosted_style_request(!path_style)
        .with_region(options.region.as_deref().unwrap_or(DEFAULT_REGION));
    if let Some(endpoint) = endpoint {
        let endpoint = match endpoint.split_once("://") {
            Some((scheme, host)) if !path_style => format!("{scheme}://{bucket}.{host}"),
            _ => endpoint,
        };
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    match (&options.access_key, &options.secret_key) {
        (Some(key), Some(secret)) => {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
            if let Some(token) = &options.session_token {
                builder = builder.with_token(token);
            }
        }
        _ if options.instance_profile => {}
        _ => builder = builder.with_skip_signature(true),
    }
    builder
}
