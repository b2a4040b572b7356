//! One source of settings, with the name it goes by in messages.

use std::path::Path;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use serde::Serialize;

use super::Error;

/// The environment's name in messages.
pub const ENVIRONMENT: &str = "the environment";
const FLAGS: &str = "the command line";
/// What every variable's name starts with.
const PREFIX: &str = "TARN_";
/// Variables with the prefix that are no settings of a server: those of the clients and of the set-up scripts.
const NOT_SETTINGS: &[&str] =
    &["TARN_URL", "TARN_USER", "TARN_PASSWORD", "TARN_TLS_CA", "TARN_COORDINATOR", "TARN_VENV"];

/// A source of settings.
#[derive(Clone)]
pub struct Layer {
    name: String,
    values: Dict,
}

impl Layer {
    /// A TOML file.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Unreadable { file: path.to_owned(), source })?;
        let values: Dict = Toml::from_str(&text)
            .map_err(|e| Error::Wrong(format!("{}: {e}", path.display()).trim_end().to_owned()))?;
        Ok(Self { name: path.display().to_string(), values })
    }

    /// Environment variables. Values stay texts, except lists and tables (`["a", "b"]`, `{a = 1}`).
    pub fn environment(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut values = Dict::new();
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            if !NOT_SETTINGS.contains(&name.as_str()) && !is_service_link(&name, &value) {
                insert(&mut values, key.to_lowercase().split("__"), value_of(&value));
            }
        }
        Self { name: ENVIRONMENT.to_owned(), values }
    }

    /// Flags, as clap parsed them.
    pub fn flags(flags: &impl Serialize) -> Result<Self, Error> {
        let values = Serialized::defaults(flags).data().map_err(Error::wrong)?.into_values().next().unwrap_or_default();
        Ok(Self { name: FLAGS.to_owned(), values })
    }

    /// `--set key=value` flags.
    pub fn settings(settings: &[(String, String)]) -> Self {
        let mut values = Dict::new();
        for (key, value) in settings {
            insert(&mut values, key.split('.'), value_of(value));
        }
        Self { name: FLAGS.to_owned(), values }
    }

    /// The layer with only those top-level keys that `keep` wants.
    pub fn keep(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut kept = self.clone();
        kept.values.retain(|key, _| keep(key));
        kept
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Kubernetes sets such variables in every pod for a service called `tarn`.
fn is_service_link(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
}

fn value_of(text: &str) -> Value {
    if text.starts_with('[') || text.starts_with('{') {
        // Infallible: what does not parse is a text.
        text.parse().unwrap_or_else(|_| Value::from(text))
    } else {
        Value::from(text)
    }
}

fn insert<'a>(into: &mut Dict, path: impl Iterator<Item = &'a str>, value: Value) {
    let path: Vec<&str> = path.collect();
    insert_at(into, &path, value);
}

fn insert_at(into: &mut Dict, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            into.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let mut inner = match into.remove(*key) {
                Some(Value::Dict(_, inner)) => inner,
                _ => Dict::new(),
            };
            insert_at(&mut inner, rest, value);
            into.insert((*key).to_owned(), Value::from(inner));
        }
    }
}
