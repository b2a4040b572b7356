//! Storage volumes, and who owns the tablets on them.
//!
//! A tablet on a volume has one replica, its owner, and an epoch that counts its owners. The catalog only says who shall
//! own it: the owner claims it in the volume under its epoch, and whoever owned it before finds out there.

use std::collections::BTreeMap;
use std::sync::Arc;

use tarn_proto::volume::{Location, S3Options, Volume};
use tarn_proto::{PartitionId, TableId, TabletId, Version, VolumeId};

use super::{Outcome, check_name};
use crate::command::{OwnerMove, Response, VolumeChange, VolumeSpec};
use crate::{
    Catalog, Error, Partition, Partitioning, Relation, Replica, ReplicaState, Role, StorageVolume, Table, VolumeKind,
};

/// The property of a table that names its volume.
pub const STORAGE_VOLUME: &str = "storage_volume";
/// In place of a volume's name: the nodes' own disks.
pub const NO_VOLUME: &str = "none";

impl Catalog {
    /// The storage volume with this name.
    pub fn volume_by_name(&self, name: &str) -> Result<&Arc<StorageVolume>, Error> {
        let named = self.volumes.values().find(|volume| !volume.dropped && volume.name == name);
        named.ok_or_else(|| Error::UnknownVolume(name.to_owned()))
    }

    /// The storage volume of a table, as nodes reach it.
    pub fn volume_of(&self, table: &Table) -> Option<Volume> {
        self.volume(table.volume?)
    }

    /// A storage volume, as nodes reach it.
    pub fn volume(&self, id: VolumeId) -> Option<Volume> {
        Some(self.volumes.get(&id)?.volume(self.cluster_id.as_deref().unwrap_or_default()))
    }

    pub(super) fn create_volume(&mut self, spec: &VolumeSpec, if_not_exists: bool) -> Outcome {
        check_name("storage volume", &spec.name)?;
        if spec.name.eq_ignore_ascii_case(NO_VOLUME) {
            return Err(Error::Invalid(format!("`{NO_VOLUME}` stands for no storage volume: choose another name")));
        }
        if self.volume_by_name(&spec.name).is_ok() {
            return match if_not_exists {
                true => Ok(Response::Done),
                false => Err(Error::VolumeExists(spec.name.clone())),
            };
        }
        let id = VolumeId(self.next_id());
        let volume = StorageVolume {
            id,
            name: spec.name.clone(),
            kind: spec.kind,
            location: spec.location.clone(),
            properties: spec.properties.clone(),
            enabled: spec.enabled,
            comment: spec.comment.clone(),
            dropped: false,
        };
        check_definition(&volume)?;
        self.volumes.insert(id, Arc::new(volume));
        Ok(Response::Done)
    }

    pub(super) fn alter_volume(&mut self, name: &str, change: &VolumeChange) -> Outcome {
        let mut volume = StorageVolume::clone(self.volume_by_name(name)?);
        volume.properties.extend(change.properties.clone());
        volume.properties.retain(|_, value| !value.is_empty());
        volume.enabled = change.enabled.unwrap_or(volume.enabled);
        if let Some(comment) = &change.comment {
            volume.comment.clone_from(comment);
        }
        check_definition(&volume)?;
        if !volume.enabled && self.default_volume == Some(volume.id) {
            return Err(Error::Invalid(format!(
                "storage volume `{name}` is the default: SET another AS DEFAULT STORAGE VOLUME, or `{NO_VOLUME}`, first"
            )));
        }
        self.volumes.insert(volume.id, Arc::new(volume));
        Ok(Response::Done)
    }

    pub(super) fn drop_volume(&mut self, name: &str, if_exists: bool) -> Outcome {
        let volume = match self.volume_by_name(name) {
            Ok(volume) => volume.clone(),
            Err(_) if if_exists => return Ok(Response::Done),
            Err(error) => return Err(error),
        };
        if self.default_volume == Some(volume.id) {
            return Err(Error::Invalid(format!(
                "storage volume `{name}` is the default: SET another AS DEFAULT STORAGE VOLUME, or `{NO_VOLUME}`, first"
            )));
        }
        let users: Vec<String> = self.tables_on(volume.id).map(|table| table.name.clone()).collect();
        if !users.is_empty() {
            let tables = users.join("`, `");
            return Err(Error::VolumeUsed { volume: name.to_owned(), tables });
        }
        self.volumes.insert(volume.id, Arc::new(StorageVolume { dropped: true, ..StorageVolume::clone(&volume) }));
        self.forget_unused_volumes();
        Ok(Response::Done)
    }

    pub(super) fn set_default_volume(&mut self, name: Option<&str>) -> Outcome {
        self.default_volume = match name {
            None => None,
            Some(name) => {
                let volume = self.volume_by_name(name)?;
                check_enabled(volume)?;
                Some(volume.id)
            }
        };
        Ok(Response::Done)
    }

    /// The volume that a new table's properties ask for.
    pub(super) fn volume_for(&self, properties: &BTreeMap<String, String>) -> Result<Option<VolumeId>, Error> {
        match properties.get(STORAGE_VOLUME) {
            None => Ok(None),
            Some(name) if name.is_empty() || name.eq_ignore_ascii_case(NO_VOLUME) => Ok(None),
            Some(name) => {
                let volume = self.volume_by_name(name)?;
                check_enabled(volume)?;
                Ok(Some(volume.id))
            }
        }
    }

    pub(super) fn move_owners(&mut self, moves: &[OwnerMove]) -> Outcome {
        for OwnerMove { tablet, epoch, to } in moves {
            match self.nodes.get(to) {
                Some(node) if node.role == Role::Storage => {}
                Some(node) => return Err(Error::Invalid(format!("{to} is a {}, not a storage node", node.role))),
                None => return Err(Error::UnknownNode(*to)),
            }
            // Dropped, or moved by another command: there is nothing to do.
            let Some(owner) = self.tablets.get(tablet).copied() else { continue };
            let Some(table) = self.table_by_id(owner.table) else { continue };
            if table.volume.is_none() {
                return Err(Error::Invalid(format!("{tablet} of table `{}` is on no storage volume", table.name)));
            }
            let Some(placed) = self.tablet_mut(*tablet) else { continue };
            if placed.epoch == *epoch {
                placed.epoch += 1;
                placed.replicas = vec![Replica { node: *to, state: ReplicaState::Current }];
            }
        }
        Ok(Response::Done)
    }

    pub(super) fn take_partitions(
        &mut self,
        id: TableId,
        from: TableId,
        versions: &BTreeMap<PartitionId, Version>,
    ) -> Outcome {
        let (table, copy) = (self.existing_table(id)?, self.existing_table(from)?);
        let copied: BTreeMap<PartitionId, Version> =
            table.partitions.values().map(|partition| (partition.id, partition.committed_version)).collect();
        let meanwhile = || Err(Error::CopiedMeanwhile(table.name.clone()));
        if copied != *versions || table.schema != copy.schema || table.partitioning != copy.partitioning {
            return meanwhile();
        }
        let waits = |partition: &Arc<Partition>| partition.visible_version != partition.committed_version;
        if table.partitions.values().chain(copy.partitions.values()).any(waits) {
            return meanwhile();
        }
        if table.job.is_some() || table.swapped.is_some() || !table.shadows.is_empty() {
            return meanwhile();
        }
        if !table.temporary.is_empty() {
            return Err(Error::TemporaryNotMoved {
                table: table.name.clone(),
                partitions: table.temporary.values().map(|partition| partition.name.clone()).collect(),
            });
        }
        for partition in table.partitions.values() {
            self.drop_tablets(partition);
        }
        let mut partitions = copy.partitions.clone();
        if table.partitioning == Partitioning::None {
            // The one partition is named as the table.
            for partition in partitions.clone().values() {
                let renamed = Partition { name: table.name.clone(), ..Partition::clone(partition) };
                partitions.insert(renamed.id, Arc::new(renamed));
            }
        }
        for tablet in partitions.values().flat_map(|partition| &partition.tablets) {
            if let Some(owner) = self.tablets.get_mut(&tablet.id) {
                owner.table = id;
            }
        }
        self.relations.remove(&from);
        self.relation_names.remove(&(copy.database, Arc::from(copy.name.as_str())));
        self.increments.remove(&from);
        let changed = self.table_mut(id)?;
        changed.partitions = partitions;
        changed.volume = copy.volume;
        changed.replication = copy.replication;
        changed.properties.clone_from(&copy.properties);
        Ok(Response::Done)
    }

    pub(super) fn forget_purged(&mut self, tablets: &[TabletId]) -> Response {
        for tablet in tablets {
            self.dropped_on_volumes.remove(tablet);
        }
        self.forget_unused_volumes();
        Response::Done
    }

    fn tables_on(&self, volume: VolumeId) -> impl Iterator<Item = &Arc<Table>> {
        self.relations.values().filter_map(move |relation| match relation {
            Relation::Table(table) if table.volume == Some(volume) => Some(table),
            Relation::Table(_) | Relation::View(_) => None,
        })
    }

    /// Forgets dropped volumes that hold nothing any more.
    fn forget_unused_volumes(&mut self) {
        let unused = |volume: &&Arc<StorageVolume>| {
            volume.dropped && !self.dropped_on_volumes.values().any(|id| *id == volume.id)
        };
        let unused: Vec<VolumeId> = self.volumes.values().filter(unused).map(|volume| volume.id).collect();
        for volume in unused {
            self.volumes.remove(&volume);
        }
    }

    /// Notes that the objects of a tablet of `table`, which is dropped, are still in its volume.
    pub(super) fn note_dropped_on_volume(&mut self, table: &Table, tablet: TabletId) {
        if let Some(volume) = table.volume {
            self.dropped_on_volumes.insert(tablet, volume);
        }
    }
}

fn check_enabled(volume: &StorageVolume) -> Result<(), Error> {
    match volume.enabled {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "storage volume `{}` is disabled: ALTER STORAGE VOLUME `{0}` SET (\"enabled\" = \"true\")",
            volume.name
        ))),
    }
}

fn check_definition(volume: &StorageVolume) -> Result<(), Error> {
    let invalid = |error: tarn_proto::volume::Error| Error::Invalid(error.to_string());
    match (Location::parse(&volume.location).map_err(invalid)?, volume.kind) {
        (Location::S3 { .. }, VolumeKind::S3) => S3Options::parse(&volume.properties).map(drop).map_err(invalid),
        (Location::Folder(_), VolumeKind::Local) => match volume.properties.first_key_value() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::Invalid(format!("property \"{name}\": a LOCAL storage volume has none but \"enabled\"")))
            }
        },
        (_, kind) => {
            let wanted = if kind == VolumeKind::S3 { "s3://bucket/prefix" } else { "file:///folder" };
            Err(Error::Invalid(format!("location \"{}\" is none of TYPE = {kind}: write {wanted}", volume.location)))
        }
    }
}
