//! A disk that does not take a write stops the tablet, loudly.

use std::os::unix::fs::symlink;

use tarn_proto::{ErrorKind, TabletId};
use tarn_tablet::Error;

use crate::fixture::*;

const OTHER: TabletId = TabletId(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_the_tablet_read_only_with_the_reason() {
    let data = tempfile::tempdir().unwrap();
    let engine = open(data.path());
    engine.create_tablets(&table(), &[TABLET, OTHER]).unwrap();
    write(&engine, 1, "a", &[TABLET, OTHER], 1).await.unwrap();
    publish(&engine, 1, TABLET, 2).unwrap();
    write(&engine, 2, "a", &[TABLET], 1).await.unwrap();

    // The next attempt's first segment goes to a device that is always full.
    let temporary = folder(data.path(), TABLET).join("3_0.3.vortex.tmp");
    symlink("/dev/full", &temporary).unwrap();
    let error = write(&engine, 3, "a", &[TABLET], 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("3_0.3.vortex.tmp"), "{error}");

    let report = engine.reports().remove(0);
    assert!(report.read_only_reason.contains("No space left on device"), "{}", report.read_only_reason);
    assert_eq!(engine.usage().read_only, 1);
    let refused = write(&engine, 4, "a", &[TABLET], 1).await.unwrap_err();
    assert!(matches!(&refused, Error::ReadOnly { tablet, .. } if *tablet == TABLET), "{refused}");
    assert!(refused.to_string().contains("No space left on device"), "{refused}");

    // What was durable before is committed and read; other tablets go on.
    publish(&engine, 2, TABLET, 3).unwrap();
    assert_eq!(verify(&engine, &manifest(&engine, TABLET, 3).unwrap()).unwrap(), 10_000);
    write(&engine, 5, "a", &[OTHER], 1).await.unwrap();

    drop(engine);
    let engine = open(data.path());
    assert_eq!(engine.usage().read_only, 0);
    assert_eq!(files(data.path(), TABLET), ["1_0.sidecar", "1_0.vortex", "2_0.sidecar", "2_0.vortex"]);
    write(&engine, 3, "b", &[TABLET], 1).await.unwrap();
    publish(&engine, 3, TABLET, 4).unwrap();
    assert_eq!(verify(&engine, &manifest(&engine, TABLET, 4).unwrap()).unwrap(), 15_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_is_opened_by_one_engine() {
    let data = tempfile::tempdir().unwrap();
    let _engine = open(data.path());
    let second = tarn_tablet::Engine::open(tarn_tablet::Options::new(data.path()));
    assert!(matches!(second, Err(Error::Meta { action: "open", .. })));
}
