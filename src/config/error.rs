//! What is wrong with a setting, where it stands, and what was meant.

use std::fmt;
use std::path::PathBuf;

use figment::error::Kind;

use super::ProcessConfig;

/// The least similarity (1 is equal) of a key that is worth suggesting.
const SIMILAR: f64 = 0.7;

/// Settings that cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or a value is malformed, or a key unknown.
    Wrong(String),
}

impl Error {
    /// Explains the first of figment's errors.
    pub fn wrong(error: figment::Error) -> Self {
        Self::Wrong(error.into_iter().map(|e| explain(&e)).collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, .. } => write!(f, "cannot read configuration file {}", file.display()),
            Self::Wrong(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Wrong(_) => None,
        }
    }
}

fn explain(error: &figment::Error) -> String {
    let place = error.metadata.as_ref().map_or_else(|| "configuration".to_owned(), |m| m.name.to_string());
    let key = if place == super::layer::ENVIRONMENT {
        format!("TARN_{}", error.path.join("__").to_uppercase())
    } else {
        error.path.join(".")
    };
    match &error.kind {
        Kind::UnknownField(name, expected) => {
            let mut known: Vec<&str> = expected.to_vec();
            if error.path.len() <= 1 {
                known.extend(ProcessConfig::KEYS);
            }
            let written = if error.path.is_empty() { name } else { &key };
            format!("unknown key `{written}` in {place}: {}", suggestion(name, known))
        }
        Kind::UnknownVariant(name, expected) => {
            format!("`{key}` in {place} cannot be `{name}`: {}", suggestion(name, expected.to_vec()))
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("`{key}` in {place} must be {expected}, not {actual}")
        }
        Kind::MissingField(name) => format!("`{name}` is missing in the configuration"),
        other if key.is_empty() => format!("{place}: {other}"),
        other => format!("`{key}` in {place}: {other}"),
    }
}

fn suggestion(name: &str, mut known: Vec<&str>) -> String {
    let nearest = known
        .iter()
        .map(|k| (strsim::jaro_winkler(&name.to_lowercase(), k), *k))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, key)) => format!("did you mean `{key}`?"),
        None => {
            known.sort_unstable();
            known.dedup();
            format!("known are {}", known.join(", "))
        }
    }
}
