//! Storage volumes, owners of tablets on them, and tables that move between them.

use std::collections::BTreeMap;

use tarn_catalog::command::{OwnerMove, TableSpec, VolumeChange, VolumeSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::*;

fn create_volume(name: &str, kind: VolumeKind, location: &str) -> Operation {
    let volume = VolumeSpec {
        name: name.to_owned(),
        kind,
        location: location.to_owned(),
        properties: BTreeMap::new(),
        enabled: true,
        comment: String::new(),
    };
    Operation::CreateVolume { volume, if_not_exists: false }
}

fn drop_volume(name: &str) -> Operation {
    Operation::DropVolume { name: name.to_owned(), if_exists: false }
}

/// A cluster with the volumes `v` and `w`.
fn world() -> (Tested, DatabaseId) {
    let (mut tested, database) = Tested::new();
    tested.run(Operation::InitializeCluster { cluster_id: "cluster".to_owned() });
    for name in ["v", "w"] {
        let location = format!("file:///{name}");
        assert_eq!(tested.run(create_volume(name, VolumeKind::Local, &location)), Response::Done);
    }
    (tested, database)
}

fn on(volume: &str, mut spec: TableSpec) -> TableSpec {
    spec.properties.insert(STORAGE_VOLUME.to_owned(), volume.to_owned());
    spec.replication = 3;
    spec
}

fn tablets(tested: &Tested, table: TableId) -> Vec<(TabletId, Vec<NodeId>, u64)> {
    let table = tested.catalog.table_by_id(table).unwrap();
    table.tablets().map(|(_, _, tablet)| (tablet.id, tablet.nodes().collect(), tablet.epoch)).collect()
}

fn load(tested: &mut Tested, database: DatabaseId, label: &str, table: TableId, partition: &str) {
    let txn = tested.begin(database, label, table);
    let tablet = tested.partition(table, partition).tablets[0].id;
    tested.commit(txn, vec![write(tablet)]);
    assert_eq!(tested.run(Operation::MakeVisible { txn, changed: Vec::new() }), Response::Done);
}

fn versions(tested: &Tested, table: TableId) -> BTreeMap<PartitionId, Version> {
    let table = tested.catalog.table_by_id(table).unwrap();
    table.partitions.values().map(|partition| (partition.id, partition.committed_version)).collect()
}

#[test]
fn a_table_on_a_volume_has_one_owner_a_tablet_and_its_clusters_own_place_there() {
    let (mut tested, database) = world();
    let table = tested.create(database, on("v", whole("t")));
    let volume = tested.catalog.volume_by_name("v").unwrap().id;
    let made = tested.catalog.table_by_id(table).unwrap();
    assert_eq!((made.volume, made.replication), (Some(volume), 1));
    assert!(tablets(&tested, table).iter().all(|(_, nodes, _)| nodes.len() == 1));
    assert_eq!(tested.catalog.volume_of(made).unwrap().location, "file:///v/cluster");
    let disks = tested.create(database, on(NO_VOLUME, whole("disks")));
    let disks = tested.catalog.table_by_id(disks).unwrap();
    assert_eq!((disks.volume, disks.replication), (None, 3));
    assert_eq!(tested.refuse(create(database, on("x", whole("u")))), Error::UnknownVolume("x".to_owned()));
}

#[test]
fn definitions_that_cannot_be_used_are_refused() {
    let (mut tested, _) = world();
    assert_eq!(tested.refuse(create_volume("v", VolumeKind::Local, "file:///v")), Error::VolumeExists("v".to_owned()));
    for (kind, location) in [
        (VolumeKind::S3, "file:///x"),
        (VolumeKind::Local, "s3://b/x"),
        (VolumeKind::S3, "x"),
        (VolumeKind::Local, "file:///"),
    ] {
        assert!(matches!(tested.refuse(create_volume("x", kind, location)), Error::Invalid(_)), "{kind} {location}");
    }
    let change = |name: &str, value: &str| VolumeChange {
        properties: [(name.to_owned(), value.to_owned())].into(),
        ..VolumeChange::default()
    };
    let refused = tested.refuse(Operation::AlterVolume { name: "v".to_owned(), change: change("aws.s3.region", "r") });
    assert!(refused.to_string().contains("aws.s3.region"), "{refused}");
}

#[test]
fn a_volume_is_dropped_when_nothing_uses_it_and_known_until_its_objects_are_gone() {
    let (mut tested, database) = world();
    let table = tested.create(database, on("v", whole("t")));
    let ids: Vec<TabletId> = tablets(&tested, table).into_iter().map(|(id, ..)| id).collect();
    let volume = tested.catalog.volume_by_name("v").unwrap().id;
    let tables = "t".to_owned();
    assert_eq!(tested.refuse(drop_volume("v")), Error::VolumeUsed { volume: "v".to_owned(), tables });
    tested.run(Operation::TruncateTable { table, partitions: Vec::new(), placement: placement() });
    let truncated: Vec<TabletId> = tablets(&tested, table).into_iter().map(|(id, ..)| id).collect();
    tested.run(drop_table(database, "t"));
    let dropped: Vec<TabletId> = tested.catalog.dropped_on_volumes.keys().copied().collect();
    assert_eq!(dropped, ids.iter().chain(&truncated).copied().collect::<Vec<_>>());
    tested.run(drop_volume("v"));
    assert_eq!(tested.refuse(drop_volume("v")), Error::UnknownVolume("v".to_owned()));
    assert!(tested.catalog.volume(volume).is_some(), "its objects are to be removed");
    // The name is free at once.
    tested.run(create_volume("v", VolumeKind::Local, "file:///other"));
    tested.run(Operation::ForgetPurged { tablets: dropped });
    assert!(tested.catalog.volume(volume).is_none());
    assert_eq!(tested.catalog.volume_by_name("v").unwrap().location, "file:///other");
}

#[test]
fn the_default_volume_is_enabled_and_stays() {
    let (mut tested, _) = world();
    let name = Some("v".to_owned());
    tested.run(Operation::SetDefaultVolume { name: name.clone() });
    assert!(matches!(tested.refuse(drop_volume("v")), Error::Invalid(_)));
    let change = VolumeChange { enabled: Some(false), ..VolumeChange::default() };
    let disable = Operation::AlterVolume { name: "v".to_owned(), change };
    assert!(matches!(tested.refuse(disable.clone()), Error::Invalid(_)));
    tested.run(Operation::SetDefaultVolume { name: None });
    tested.run(disable);
    assert!(matches!(tested.refuse(Operation::SetDefaultVolume { name }), Error::Invalid(_)));
}

#[test]
fn a_load_that_was_acknowledged_is_committed_whoever_owns_its_tablet_by_then() {
    let (mut tested, database) = world();
    let table = tested.create(database, on("v", whole("t")));
    let (tablet, nodes, epoch) = tablets(&tested, table).remove(0);
    let txn = tested.begin(database, "l", table);
    let to = placement().nodes().find(|node| *node != nodes[0]).unwrap();
    tested.run(Operation::MoveOwners { moves: vec![OwnerMove { tablet, epoch, to }] });
    assert_eq!(tablets(&tested, table)[0], (tablet, vec![to], epoch + 1));
    let written = TabletWrite { holders: nodes, ..write(tablet) };
    tested.commit(txn, vec![written]);
    assert_eq!(tested.run(Operation::MakeVisible { txn, changed: Vec::new() }), Response::Done);
}

#[test]
fn tablets_on_disks_have_no_owners_to_be_moved() {
    let (mut tested, database) = world();
    let table = tested.create(database, whole("t"));
    let (tablet, nodes, epoch) = tablets(&tested, table).remove(0);
    let moves = vec![OwnerMove { tablet, epoch, to: nodes[0] }];
    assert!(matches!(tested.refuse(Operation::MoveOwners { moves }), Error::Invalid(_)));
}

#[test]
fn a_table_takes_the_partitions_of_its_copy_unless_it_was_loaded_meanwhile() {
    let (mut tested, database) = world();
    let partitions = || vec![days("p1", 0, 1), days("p2", 1, 2)];
    let table = tested.create(database, by_day("t", partitions()));
    load(&mut tested, database, "one", table, "p1");
    let copy = tested.create(database, on("v", by_day("copy", partitions())));
    let seen = versions(&tested, table);
    load(&mut tested, database, "copied", copy, "p1");
    let take = |versions| Operation::TakePartitions { table, from: copy, versions };
    load(&mut tested, database, "meanwhile", table, "p2");
    assert_eq!(tested.refuse(take(seen)), Error::CopiedMeanwhile("t".to_owned()));
    let seen = versions(&tested, table);
    let (old, new) = (tablets(&tested, table), tablets(&tested, copy));
    assert_eq!(tested.run(take(seen)), Response::Done);
    assert_eq!(tablets(&tested, table), new);
    let moved = tested.catalog.table_by_id(table).unwrap();
    assert_eq!((moved.name.as_str(), moved.volume.is_some()), ("t", true));
    assert!(tested.catalog.table_by_id(copy).is_none() && tested.catalog.relation(database, "copy").is_none());
    assert!(old.iter().all(|(id, ..)| tested.catalog.dropped_tablets.contains_key(id)));
    assert!(tested.catalog.dropped_on_volumes.is_empty(), "it was on no volume before");
    load(&mut tested, database, "after", table, "p1");
}

#[test]
fn temporary_partitions_that_keep_a_table_where_it_is_are_named() {
    let (mut tested, database) = world();
    let table = tested.create(database, by_day("t", vec![days("p1", 0, 1)]));
    let copy = tested.create(database, on("v", by_day("copy", vec![days("p1", 0, 1)])));
    let partitions = vec![days("ta", 5, 6), days("tb", 6, 7)];
    tested.run(Operation::AddTemporaryPartitions { table, partitions, placement: placement() });
    let versions = versions(&tested, table);
    let refused = tested.refuse(Operation::TakePartitions { table, from: copy, versions });
    assert!(refused.to_string().contains("DROP TEMPORARY PARTITIONS (ta, tb)"), "{refused}");
    assert!(!refused.kind().is_retryable());
}

#[test]
fn a_table_on_a_volume_is_for_no_location() {
    let (mut tested, database) = world();
    let mut spec = on("v", whole("t"));
    spec.properties.insert(LOCATION.to_owned(), "rack:r1".to_owned());
    let create =
        Operation::CreateTable { database, table: Box::new(spec), if_not_exists: false, placement: placement() };
    assert!(tested.refuse(create).to_string().contains("storage volume"));
}

#[test]
fn a_table_that_is_not_partitioned_keeps_its_partitions_name_and_leaves_its_volume() {
    let (mut tested, database) = world();
    let table = tested.create(database, on("v", whole("t")));
    let copy = tested.create(database, on("w", whole("copy")));
    let old = tablets(&tested, table);
    let seen = versions(&tested, table);
    tested.run(Operation::TakePartitions { table, from: copy, versions: seen });
    assert_eq!(tested.partition(table, "t").tablets.len(), 2);
    assert!(old.iter().all(|(id, ..)| tested.catalog.dropped_on_volumes.contains_key(id)));
    assert_eq!(tested.run(drop_volume("v")), Response::Done);
}
