//! How to reach S3: the properties that `FILES(..)` and storage volumes share, and the client that they make.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, RetryConfig};

use super::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a bucket is when nothing says so.
const DEFAULT_REGION: &str = "us-east-1";
/// What stands in messages in place of a credential.
pub(super) const REDACTED: &str = "***";

/// How to reach S3.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Named as the properties.
pub struct S3Options {
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub access_key: Option<String>,
    pub secret_key: Option<String>,
    pub session_token: Option<String>,
    /// Take the node's own identity.
    pub instance_profile: bool,
    /// `None`: for other stores than Amazon's.
    pub path_style: Option<bool>,
    pub ssl: bool,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            instance_profile: false,
            path_style: None,
            ssl: true,
        }
    }
}

/// Whether a property's value must not be shown.
pub fn is_secret(name: &str) -> bool {
    matches!(name, "aws.s3.access_key" | "aws.s3.secret_key" | "aws.s3.session_token")
}

impl S3Options {
    /// Takes a property, if it is one of S3's; names are in lower case. An error is what is wrong with its value.
    pub fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let text = match name {
            "aws.s3.region" => &mut self.region,
            "aws.s3.endpoint" => &mut self.endpoint,
            "aws.s3.access_key" => &mut self.access_key,
            "aws.s3.secret_key" => &mut self.secret_key,
            "aws.s3.session_token" => &mut self.session_token,
            _ => return self.switch(name, value),
        };
        *text = (!value.is_empty()).then(|| value.to_owned());
        Some(Ok(()))
    }

    fn switch(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let on = boolean(value);
        Some(match name {
            "aws.s3.use_instance_profile" | "aws.s3.use_aws_sdk_default_behavior" => {
                on.map(|on| self.instance_profile |= on)
            }
            "aws.s3.enable_path_style_access" => on.map(|on| self.path_style = Some(on)),
            "aws.s3.enable_ssl" => on.map(|on| self.ssl = on),
            _ => return None,
        })
    }

    /// What a storage volume's properties say.
    ///
    /// # Errors
    /// Names the property that does not exist or has a value that it cannot have.
    pub fn parse(properties: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut options = Self::default();
        for (name, value) in properties {
            let wrong = |reason: String| Error::Property { name: name.clone(), reason };
            match options.set(name, value) {
                Some(set) => set.map_err(wrong)?,
                None => return Err(wrong("it does not exist; those of S3 begin with \"aws.s3.\"".to_owned())),
            }
        }
        options.check().map_err(|(name, reason)| Error::Property { name: name.to_owned(), reason })?;
        Ok(options)
    }

    /// Whether the credentials are whole; an error is a property and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.access_key, &self.secret_key) {
            (Some(_), None) => Err(("aws.s3.access_key", "needs \"aws.s3.secret_key\" beside it".to_owned())),
            (None, Some(_)) => Err(("aws.s3.secret_key", "needs \"aws.s3.access_key\" beside it".to_owned())),
            _ => Ok(()),
        }
    }

    /// Values that no message may hold, longest first: one may hold another.
    pub fn secrets(&self) -> Vec<String> {
        let all = [&self.secret_key, &self.session_token, &self.access_key];
        let mut secrets: Vec<String> = all.into_iter().flatten().cloned().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("\"{value}\" is neither \"true\" nor \"false\"")),
    }
}

/// A client of a bucket, whose requests take `timeout` at most, body and all.
pub fn s3(bucket: &str, options: &S3Options, retry: RetryConfig, timeout: Duration) -> AmazonS3Builder {
    let builder = if options.instance_profile {
        // The node's own identity: environment, web identity, container or instance profile.
        AmazonS3Builder::from_env()
    } else {
        AmazonS3Builder::new()
    };
    let client = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(timeout);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<S3Options, Error> {
        S3Options::parse(&[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn what_is_wrong_is_named_with_the_remedy() {
        assert!(parse("aws.s3.region", "eu-west-1").unwrap().ssl);
        for (name, value, part) in [
            ("aws.s3.enable_ssl", "maybe", "neither \"true\" nor \"false\""),
            ("aws.s3.access_key", "AK", "aws.s3.secret_key"),
            ("azure.key", "x", "does not exist"),
        ] {
            let message = parse(name, value).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(name) && message.contains(part), "{message}");
        }
    }
}
