//! Tablets whose segments are in a storage volume: the storage node is asked for manifests only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datafusion::prelude::SessionConfig;
use object_store::memory::InMemory;
use tarn_proto::volume::{Volume, VolumeStore};
use tarn_proto::{ErrorKind, VolumeId};
use tarn_scan::Failure;

use crate::fixture::{Fixture, answer, assert_same};

const ALL: &str = "select * from things";

/// The fixture with its segments in a volume.
async fn in_a_volume() -> (Fixture, Arc<VolumeStore>) {
    let mut fixture = Fixture::new().await;
    let volume = Volume {
        id: VolumeId(9),
        name: "v".to_owned(),
        location: "file:///nowhere".to_owned(),
        properties: BTreeMap::new(),
    };
    let store = Arc::new(VolumeStore::over(Arc::new(InMemory::new()), "memory://", Duration::from_millis(1)));
    for (key, checksum, bytes) in fixture.store.files() {
        store.put(&store.segment(key.tablet, key.rowset, key.segment, checksum), bytes).await.unwrap();
    }
    for tablet in [1, 2] {
        fixture.store.change_manifest(tablet, |manifest| manifest.volume_id = volume.id.get());
    }
    fixture.context.volumes().insert(&volume, store.clone());
    fixture.spec.volume = Some(Arc::new(volume));
    (fixture, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_read_from_the_volume_and_cached() {
    let (fixture, store) = in_a_volume().await;
    let session = fixture.session(SessionConfig::new());
    assert_same(&session, "select * from {t}").await;
    assert_same(&session, "select id, kind from {t} where n > 10").await;
    assert_eq!(fixture.store.bytes_read.load(Ordering::Relaxed), 0, "its storage node is not asked for rows");
    // What was read stays, whatever becomes of the volume.
    for (key, checksum, _) in fixture.store.files() {
        let object = store.segment(key.tablet, key.rowset, key.segment, checksum);
        store.delete(&[object]).await.unwrap();
    }
    assert_same(&session, "select * from {t}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_was_compacted_away() {
    let (fixture, store) = in_a_volume().await;
    let (key, checksum, _) = fixture.store.files().remove(0);
    store.delete(&[store.segment(key.tablet, key.rowset, key.segment, checksum)]).await.unwrap();
    let error = fixture.session(SessionConfig::new()).sql(ALL).await.unwrap().collect().await.unwrap_err();
    let failure = Failure::of(&error).unwrap();
    assert!(failure.kind == ErrorKind::Unavailable && failure.message.contains("was compacted"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_the_plan_does_not_know_is_read_by_its_owner() {
    let (mut fixture, _) = in_a_volume().await;
    fixture.spec.volume = None;
    let rows = answer(&fixture.session(SessionConfig::new()), ALL).await.unwrap().len();
    assert!(rows > 0 && fixture.store.bytes_read.load(Ordering::Relaxed) > 0);
}
