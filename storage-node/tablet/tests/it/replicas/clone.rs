//! Clones, while both replicas go on.

use std::time::{Duration, Instant};

use tarn_proto::{TxnId, Version};
use tarn_tablet::{Error, Stop};

use super::*;
use crate::fixture::{close, flip, folder, manifest, publish};
use crate::primary::{self, Operation, table};

/// An engine with `loads` loads of the same twenty keys.
async fn loaded(loads: u64) -> (tempfile::TempDir, Arc<Engine>) {
    let data = tempfile::tempdir().unwrap();
    let engine = open(data.path());
    engine.create_tablets(&table(false), &[TABLET]).unwrap();
    for version in 2..2 + loads {
        primary::load(&engine, &table(false), version, &[keys(version)]).await.unwrap();
    }
    (data, engine)
}

fn keys(version: u64) -> Vec<Operation> {
    (0..20).map(|key| (key, (key % 7 != version as i64 % 7).then_some(version as i64))).collect()
}

fn compact_and_collect(engine: &Arc<Engine>) {
    while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {}
    engine.remove_superseded(Instant::now()).unwrap();
    engine.remove_superseded(Instant::now() + Duration::from_secs(1)).unwrap();
}

fn assert_equal(one: &Arc<Engine>, two: &Arc<Engine>, version: u64) {
    let version = Version(version);
    assert_eq!(one.checksum(TABLET, version).unwrap(), two.checksum(TABLET, version).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_compacted_away_meanwhile_is_fetched_as_it_is_now() {
    let (_one, source) = loaded(6).await;
    let data = tempfile::tempdir().unwrap();
    let replica = open(data.path());
    let other = source.clone();
    let local = Local::new(&source).then(2, move || compact_and_collect(&other));
    assert_eq!(catch_up(&replica, &table(false), 7, &local).await.unwrap(), 7);
    assert_equal(&source, &replica, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_overtakes_a_clone_is_kept() {
    let (_one, source) = loaded(6).await;
    let (data, replica) = loaded(6).await;
    // It does not have the damaged rowset any more, so that the replica is cloned.
    compact_and_collect(&source);
    primary::write(&source, &table(false), 8, &[keys(8)]).await.unwrap();
    let record = source.sealed(TABLET, TxnId(8)).unwrap();
    replica.replicate(TxnId(8), TABLET, &record, &table(false), &Local::new(&source)).await.unwrap();
    flip(&folder(data.path(), TABLET).join("2_0.vortex"), 40);
    assert_eq!(replica.scrub(TABLET, &Pace::unlimited(), &Stop::default()).unwrap().damaged, 1);
    let (one, two) = (source.clone(), replica.clone());
    let local = Local::new(&source).then(2, move || {
        publish(&two, 8, TABLET, 8).unwrap();
        publish(&one, 8, TABLET, 8).unwrap();
    });
    assert_eq!(catch_up(&replica, &table(false), 7, &local).await.unwrap(), 8);
    assert_eq!(replica.reports()[0].damaged_rowsets, 0);
    assert_equal(&source, &replica, 8);
    assert!(replica.pending().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_loads_are_fetched_one_by_one_and_all_versions_are_kept() {
    let (_one, source) = loaded(6).await;
    let (_two, replica) = loaded(2).await;
    while source.compact(TABLET, &Stop::default()).unwrap().is_some() {}
    assert_eq!(catch_up(&replica, &table(false), 7, &Local::new(&source)).await.unwrap(), 7);
    for version in 1..=7 {
        assert_equal(&source, &replica, version);
    }
    assert_eq!(manifest(&replica, TABLET, 7).unwrap().rowsets.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_fetches_only_what_is_not_there() {
    let (_one, source) = loaded(0).await;
    // So many bytes that a compaction leaves it alone.
    // Neither the values nor their differences are alike.
    let mixed = |key: i64| {
        let x = key.wrapping_mul(0x5851_f42d_4c95_7f2d);
        (x ^ (x >> 29)).wrapping_mul(0x14cf_bb3b_7f4a_7c15)
    };
    let many = (0..50_000).map(|key: i64| (key, Some(mixed(key)))).collect();
    primary::load(&source, &table(false), 2, &[many]).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let replica = open(data.path());
    catch_up(&replica, &table(false), 2, &Local::new(&source)).await.unwrap();
    for version in 3..7 {
        primary::load(&source, &table(false), version, &[keys(version)]).await.unwrap();
    }
    compact_and_collect(&source);
    assert_eq!(manifest(&source, TABLET, 6).unwrap().rowsets.len(), 2, "the large one and what became of the others");
    // Sidecar, keys and rows of the latter.
    let local = Local::new(&source).failing_after(3);
    assert_eq!(catch_up(&replica, &table(false), 6, &local).await.unwrap(), 6);
    assert_equal(&source, &replica, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_behind_itself_is_refused_by_name() {
    let (_one, source) = loaded(2).await;
    let data = tempfile::tempdir().unwrap();
    let replica = open(data.path());
    let error = catch_up(&replica, &table(false), 9, &Local::new(&source)).await.unwrap_err();
    assert!(matches!(&error, Error::Behind { reason, .. } if reason.contains("v3")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_that_comes_back_has_a_directory_of_its_own() {
    let (_one, source) = loaded(2).await;
    let (data, replica) = loaded(2).await;
    let garbage = replica.drop_tablets(&[TABLET]).unwrap();
    catch_up(&replica, &table(false), 3, &Local::new(&source)).await.unwrap();
    garbage.remove();
    assert_equal(&source, &replica, 3);
    close(replica);
    let replica = open(data.path());
    assert_equal(&source, &replica, 3);
    assert_eq!(std::fs::read_dir(data.path().join("tablets")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_go_on_after_a_clone_with_the_index_of_its_rows() {
    let (_one, source) = loaded(5).await;
    compact_and_collect(&source);
    let (_two, replica) = loaded(1).await;
    catch_up(&replica, &table(false), 6, &Local::new(&source)).await.unwrap();
    for version in 7..12 {
        for engine in [&source, &replica] {
            primary::load(engine, &table(false), version, &[keys(version)]).await.unwrap();
        }
        assert_equal(&source, &replica, version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_a_clone_overtakes_gives_up() {
    let (_one, source) = loaded(8).await;
    let (_two, replica) = loaded(4).await;
    compact_and_collect(&source);
    let running = {
        let replica = replica.clone();
        tokio::task::spawn_blocking(move || while let Ok(Some(_)) = replica.compact(TABLET, &Stop::default()) {})
    };
    catch_up(&replica, &table(false), 9, &Local::new(&source)).await.unwrap();
    running.await.unwrap();
    assert_equal(&source, &replica, 9);
    compact_and_collect(&replica);
    assert_equal(&source, &replica, 9);
}
