//! Rowsets of loads on their way to other replicas, and those who abort the load meanwhile.

use tarn_proto::TxnId;
use tarn_tablet::Error;

use super::*;
use crate::fixture::{close, files, flip, folder, publish};
use crate::primary::{self, table};

/// Two engines with the tablet, a load on the first.
async fn written(batch: &[primary::Operation]) -> ([tempfile::TempDir; 2], [Arc<Engine>; 2], Vec<u8>) {
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let engines = [open(data[0].path()), open(data[1].path())];
    for engine in &engines {
        engine.create_tablets(&table(false), &[TABLET]).unwrap();
    }
    primary::write(&engines[0], &table(false), 2, &[batch.to_vec()]).await.unwrap();
    let record = engines[0].sealed(TABLET, TxnId(2)).unwrap();
    (data, engines, record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_pending_as_if_it_had_been_sealed_and_is_made_once() {
    let (data, [one, two], record) = written(&[(1, Some(1)), (2, None)]).await;
    for _ in 0..2 {
        two.replicate(TxnId(2), TABLET, &record, &table(false), &Local::new(&one)).await.unwrap();
        assert_eq!(two.pending(), [TxnId(2)]);
    }
    let (ours, theirs) = (files(data[1].path(), TABLET), files(data[0].path(), TABLET));
    assert_eq!(ours, theirs);
    assert_eq!(ours, ["2_0.keys", "2_0.sidecar", "2_0.vortex"]);
    close(two);
    let two = open(data[1].path());
    assert_eq!(two.pending(), [TxnId(2)]);
    for engine in [&one, &two] {
        publish(engine, 2, TABLET, 2).unwrap();
    }
    let version = tarn_proto::Version(2);
    assert_eq!(one.checksum(TABLET, version).unwrap(), two.checksum(TABLET, version).unwrap());
    // It is published: what comes late changes nothing.
    two.replicate(TxnId(2), TABLET, &record, &table(false), &Local::new(&one)).await.unwrap();
    assert!(two.pending().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_rowset_of_the_same_transaction_is_refused() {
    let (_data, [one, two], record) = written(&[(1, Some(1))]).await;
    primary::write(&two, &table(false), 2, &[vec![(1, Some(9)), (3, Some(3))]]).await.unwrap();
    let refused = two.replicate(TxnId(2), TABLET, &record, &table(false), &Local::new(&one)).await.unwrap_err();
    assert!(matches!(refused, Error::Published { .. }), "{refused}");
    publish(&two, 2, TABLET, 2).unwrap();
    assert_eq!(primary::rows(&two, &table(false), 2).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_ends_copies_that_are_on_their_way_and_refuses_late_ones() {
    let (data, [one, two], record) = written(&[(1, Some(1))]).await;
    let told = Arc::new(Notify::new());
    let source = Local::new(&one).silent_after(1, told.clone());
    let copy = {
        let (two, record) = (two.clone(), record.clone());
        async move { two.replicate(TxnId(2), TABLET, &record, &table(false), &source).await }
    };
    let copy = tarn_proto::task::spawn("test-copy", copy);
    told.notified().await;
    two.abort(TxnId(2)).unwrap();
    let late = two.replicate(TxnId(2), TABLET, &record, &table(false), &Local::new(&one)).await.unwrap_err();
    assert!(matches!(late, Error::Replaced { .. }), "{late}");
    copy.abort();
    assert!(copy.await.unwrap_err().is_cancelled());
    assert!(two.pending().is_empty());
    // Its temporary files go with the thread that writes them.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !files(data[1].path(), TABLET).is_empty() {
        assert!(std::time::Instant::now() < deadline, "{:?} stay", files(data[1].path(), TABLET));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_changed_on_the_way_are_noticed() {
    let (data, [one, two], record) = written(&[(1, Some(1)), (2, Some(2))]).await;
    for name in files(data[0].path(), TABLET) {
        let path = folder(data[0].path(), TABLET).join(&name);
        let length = std::fs::metadata(&path).unwrap().len();
        for at in [0, length / 2, length - 1] {
            flip(&path, at);
            let refused = two.replicate(TxnId(2), TABLET, &record, &table(false), &Local::new(&one)).await;
            assert!(matches!(refused, Err(Error::Copy { .. })), "byte {at} of {name}: {refused:?}");
            flip(&path, at);
        }
    }
    assert!(files(data[1].path(), TABLET).is_empty());
    two.replicate(TxnId(2), TABLET, &record, &table(false), &Local::new(&one)).await.unwrap();
}
