//! Storage volumes, and which of them a table is on.

mod relocate;

use std::collections::BTreeMap;

pub use relocate::relocate;
use tarn_catalog::command::{TableSpec, VolumeChange, VolumeSpec};
use tarn_catalog::{Catalog, NO_VOLUME, Operation, STORAGE_VOLUME, VolumeKind};
use tarn_sql::{AlterStorageVolume, CreateStorageVolume, Ident, Property};

use super::names::check_name;
use super::properties::switch;
use crate::session::{Error, SessionContext};

/// Whether tables may be made on a volume.
const ENABLED: &str = "enabled";

/// `CREATE STORAGE VOLUME`
pub async fn create(context: &SessionContext, create: &CreateStorageVolume) -> Result<(), Error> {
    let volume = lower(create)?;
    context.propose(Operation::CreateVolume { volume, if_not_exists: create.if_not_exists }).await?;
    Ok(())
}

/// Checks the statement and lowers it. Pure.
fn lower(create: &CreateStorageVolume) -> Result<VolumeSpec, Error> {
    check_name(&create.name, "storage volume")?;
    let kind = match create.kind.name.to_ascii_uppercase().as_str() {
        "S3" => VolumeKind::S3,
        "LOCAL" => VolumeKind::Local,
        other => {
            let message = format!("storage volumes of type {other} are not available: use S3, or LOCAL for a folder");
            return Err(Error::at(create.kind.at, message));
        }
    };
    let [(location, _)] = &create.locations[..] else {
        let at = create.locations.get(1).map_or(create.name.at, |(_, at)| *at);
        return Err(Error::at(at, "a storage volume has one location".to_owned()));
    };
    let (enabled, properties) = properties(&create.properties)?;
    Ok(VolumeSpec {
        name: create.name.name.clone(),
        kind,
        location: location.trim_end_matches('/').to_owned(),
        properties,
        enabled: enabled.unwrap_or(true),
        comment: create.comment.clone().unwrap_or_default(),
    })
}

/// `enabled`, and the others by their names in lower case.
fn properties(declared: &[Property]) -> Result<(Option<bool>, BTreeMap<String, String>), Error> {
    let (mut enabled, mut properties) = (None, BTreeMap::new());
    for property in declared {
        let name = property.name.trim().to_ascii_lowercase();
        if name == ENABLED {
            enabled = Some(switch(property)?);
        } else {
            properties.insert(name, property.value.clone());
        }
    }
    Ok((enabled, properties))
}

/// `ALTER STORAGE VOLUME`
pub async fn alter(context: &SessionContext, alter: &AlterStorageVolume) -> Result<(), Error> {
    if alter.if_exists && context.catalog.volume_by_name(&alter.name.name).is_err() {
        return Ok(());
    }
    existing(&context.catalog, &alter.name)?;
    let (enabled, properties) = properties(&alter.properties)?;
    let change = VolumeChange { comment: alter.comment.clone(), enabled, properties };
    context.propose(Operation::AlterVolume { name: alter.name.name.clone(), change }).await?;
    Ok(())
}

/// `DROP STORAGE VOLUME`
pub async fn drop(context: &SessionContext, if_exists: bool, name: &Ident) -> Result<(), Error> {
    if !if_exists {
        existing(&context.catalog, name)?;
    }
    context.propose(Operation::DropVolume { name: name.name.clone(), if_exists }).await?;
    Ok(())
}

/// `SET name AS DEFAULT STORAGE VOLUME`
pub async fn set_default(context: &SessionContext, name: &Ident) -> Result<(), Error> {
    let name = match name.name.eq_ignore_ascii_case(NO_VOLUME) {
        true => None,
        false => {
            existing(&context.catalog, name)?;
            Some(name.name.clone())
        }
    };
    context.propose(Operation::SetDefaultVolume { name }).await?;
    Ok(())
}

fn existing(catalog: &Catalog, name: &Ident) -> Result<(), Error> {
    match catalog.volume_by_name(&name.name) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Catalog { source, at: name.at }),
    }
}

/// Lets a new table that does not say where it goes be on the default volume. Pure.
pub fn place(catalog: &Catalog, spec: &mut TableSpec) {
    let default = catalog.default_volume.and_then(|id| catalog.volumes.get(&id));
    if let Some(default) = default {
        spec.properties.entry(STORAGE_VOLUME.to_owned()).or_insert_with(|| default.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use tarn_sql::Statement;

    use super::*;

    fn lowered(sql: &str) -> Result<VolumeSpec, String> {
        match tarn_sql::parse_one(sql).unwrap() {
            Statement::CreateStorageVolume(create) => lower(&create).map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_volume_has_a_type_one_location_and_properties() {
        let volume = lowered(
            "create storage volume v type = s3 locations = ('s3://b/p/') comment 'c' \
             properties (\"enabled\" = \"false\", \"AWS.S3.REGION\" = \"r\")",
        );
        let volume = volume.unwrap();
        assert_eq!((volume.kind, volume.location.as_str(), volume.enabled), (VolumeKind::S3, "s3://b/p", false));
        assert_eq!(volume.properties, [("aws.s3.region".to_owned(), "r".to_owned())].into());
        for (sql, part) in [
            ("create storage volume v type = hdfs locations = ('hdfs://h')", "type HDFS are not available"),
            ("create storage volume v type = local locations = ('file:///a', 'file:///b')", "one location"),
            (
                "create storage volume v type = s3 locations = ('s3://b') properties ('enabled' = 'x')",
                "`true` or `false`",
            ),
        ] {
            let refused = lowered(sql).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
