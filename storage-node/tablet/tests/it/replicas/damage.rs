//! The scrubber finds damage in every kind of file, and another replica's files take the place of what is damaged.

use std::time::Instant;

use tarn_proto::storage::{IndexFileKey, IndexKey};
use tarn_proto::wire::Manifest;
use tarn_proto::{ColumnId, Index, IndexKind, Version};
use tarn_tablet::{Error, IndexWork, Stop};

use super::*;
use crate::fixture::{file_of, files, flip, folder, manifest, publish, verify};
use crate::primary::{self, table};

/// Two replicas with one load each has the files of.
async fn replicas() -> ([tempfile::TempDir; 2], [Arc<Engine>; 2]) {
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let engines = [open(data[0].path()), open(data[1].path())];
    for engine in &engines {
        engine.create_tablets(&table(false), &[TABLET]).unwrap();
    }
    let rows = (0..50).map(|key| (key, Some(key))).collect();
    primary::load(&engines[0], &table(false), 2, &[rows, vec![(1, None)]]).await.unwrap();
    catch_up(&engines[1], &table(false), 2, &Local::new(&engines[0])).await.unwrap();
    (data, engines)
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_any_file_is_found_reported_and_repaired() {
    let (data, [good, bad]) = replicas().await;
    let names = files(data[1].path(), TABLET);
    assert_eq!(names.len(), 6, "{names:?}");
    let sum = good.checksum(TABLET, Version(2)).unwrap();
    for name in names {
        let path = folder(data[1].path(), TABLET).join(&name);
        let length = std::fs::metadata(&path).unwrap().len();
        for at in [0, length / 2, length - 1] {
            flip(&path, at);
            let found = bad.scrub(TABLET, &Pace::unlimited(), &Stop::default()).unwrap();
            assert_eq!(found.damaged, 1, "byte {at} of {name}");
            assert_eq!(bad.reports()[0].damaged_rowsets, 1);
            assert_eq!(bad.caught_up(&wanted(&table(false), 2)), None);
            catch_up(&bad, &table(false), 2, &Local::new(&good)).await.unwrap();
            assert_eq!(bad.reports()[0].damaged_rowsets, 0);
            assert_eq!(bad.scrub(TABLET, &Pace::unlimited(), &Stop::default()).unwrap().damaged, 0);
            assert_eq!(bad.checksum(TABLET, Version(2)).unwrap(), sum);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_replica_goes_on_publishing_and_says_so() {
    let (data, [good, bad]) = replicas().await;
    flip(&folder(data[1].path(), TABLET).join("2_0.vortex"), 9);
    let error = bad.checksum(TABLET, Version(2)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(bad.reports()[0].damaged_rowsets, 1);
    for engine in [&good, &bad] {
        primary::write(engine, &table(false), 3, &[vec![(7, Some(70))]]).await.unwrap();
    }
    publish(&good, 3, TABLET, 3).unwrap();
    let request = tarn_proto::storage::PublishTablet { tablet: TABLET, version: Version(3), has_rowset: true };
    let told = bad.publish(tarn_proto::TxnId(3), &[request]).unwrap();
    assert!(told[0].damaged && told[0].reason.contains("2_0.vortex"), "{told:?}");
    assert_eq!(version_of(&bad), Some(3));
    catch_up(&bad, &table(false), 3, &Local::new(&good)).await.unwrap();
    assert_eq!(good.checksum(TABLET, Version(3)).unwrap(), bad.checksum(TABLET, Version(3)).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_by_a_manifest_from_before_a_clone_gets_no_bytes_of_other_files() {
    let schema = TableSchema {
        indexes: vec![Index { name: "i".into(), column: ColumnId(2), kind: IndexKind::Bloom, comment: String::new() }],
        ..table(false)
    };
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [good, bad] = [open(data[0].path()), open(data[1].path())];
    // One rowset's id, as each replica has a file of its own.
    for (engine, value) in [(&good, 1), (&bad, 2)] {
        engine.create_tablets(&schema, &[TABLET]).unwrap();
        let rows = (0..50).map(|key| (key, Some(value))).collect();
        primary::load(engine, &schema, 2, &[rows]).await.unwrap();
    }
    let (old, new) = (manifest(&bad, TABLET, 2).unwrap(), manifest(&good, TABLET, 2).unwrap());
    assert_eq!(old.rowsets[0].id, new.rowsets[0].id);
    flip(&folder(data[1].path(), TABLET).join("2_0.vortex"), 9);
    bad.scrub(TABLET, &Pace::unlimited(), &Stop::default()).unwrap();
    catch_up(&bad, &schema, 2, &Local::new(&good)).await.unwrap();
    assert_eq!(bad.make_indexes(&mut IndexWork::default(), Instant::now(), &Stop::default()), 1);

    assert_eq!(verify(&bad, &manifest(&bad, TABLET, 2).unwrap()).unwrap(), 50);
    let stale = verify(&bad, &old).unwrap_err();
    assert!(matches!(stale, Error::OtherFile { .. }), "{stale}");
    assert_eq!((stale.kind(), bad.reports()[0].damaged_rowsets), (ErrorKind::NotFound, 0));
    let read = |manifest: &Manifest| {
        let (rowset, segment) = (&manifest.rowsets[0], &manifest.rowsets[0].segments[0]);
        let index = IndexKey { column: ColumnId(2), kind: IndexKind::Bloom };
        let index = IndexFileKey { index, checksum: segment.indexes[0].checksum };
        bad.read_index(file_of(TABLET, rowset, segment), index, std::slice::from_ref(&(0..4)))
    };
    assert!(matches!(read(&old), Err(Error::OtherFile { .. })));
    assert_eq!(read(&new).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_damage_and_comes_back() {
    let (data, [good, bad]) = replicas().await;
    std::fs::remove_file(folder(data[1].path(), TABLET).join("2_1.keys")).unwrap();
    assert_eq!(bad.scrub(TABLET, &Pace::unlimited(), &Stop::default()).unwrap().damaged, 1);
    catch_up(&bad, &table(false), 2, &Local::new(&good)).await.unwrap();
    assert_eq!(files(data[1].path(), TABLET), files(data[0].path(), TABLET));
}
