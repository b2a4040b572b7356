//! `SHOW STORAGE VOLUMES`, `DESC STORAGE VOLUME`.

use tarn_catalog::StorageVolume;
use tarn_proto::volume::is_secret;
use tarn_sql::Ident;

use super::pattern::Pattern;
use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const VOLUMES: &[&str] = &["Storage Volume"];
pub const VOLUME: &[&str] = &["Name", "Type", "IsDefault", "Location", "Params", "Enabled", "Comment"];

/// What stands in place of a credential, as in StarRocks.
const MASKED: &str = "******";

pub fn volumes(context: &SessionContext, rows: &mut Rows, like: Option<&str>) {
    let pattern = Pattern::new(like);
    let volumes = context.catalog.volumes.values().filter(|volume| !volume.dropped);
    let mut names: Vec<&String> = volumes.map(|volume| &volume.name).filter(|name| pattern.matches(name)).collect();
    names.sort();
    names.into_iter().for_each(|name| rows.push([name.clone()]));
}

pub fn volume(context: &SessionContext, rows: &mut Rows, name: &Ident) -> Result<(), Error> {
    let volume = context.catalog.volume_by_name(&name.name);
    let volume = volume.map_err(|source| Error::Catalog { source, at: name.at })?;
    let is_default = context.catalog.default_volume == Some(volume.id);
    rows.push([
        volume.name.clone(),
        volume.kind.to_string(),
        is_default.to_string(),
        volume.location.clone(),
        params(volume),
        volume.enabled.to_string(),
        volume.comment.clone(),
    ]);
    Ok(())
}

/// The properties as a JSON object, without credentials.
fn params(volume: &StorageVolume) -> String {
    let shown = |(name, value): (&String, &String)| {
        let value = if is_secret(name) { MASKED.to_owned() } else { value.clone() };
        (name.clone(), serde_json::Value::String(value))
    };
    serde_json::Value::Object(volume.properties.iter().map(shown).collect()).to_string()
}
