//! Writers that go away in the middle.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use tarn_proto::storage::LoadSpec;
use tarn_proto::{ErrorKind, TabletId, TxnId};

use crate::contract::{publish_of, unpublished};
use crate::node::Node;
use crate::read_back::arrivals;
use crate::rows::{Random, batch, plain_table};

/// Polls until `done`, for ten seconds at most.
pub async fn wait_until<F: Future<Output = bool>>(done: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done().await {
        assert!(Instant::now() < deadline, "waited in vain");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_dropped_writer_never_become_a_rowset() {
    let node = Node::start().await;
    for (way, store) in node.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        for txn in 0..20 {
            let txn = 1000 * tablet.get() + txn;
            let mut writer = store.write(TxnId(txn), "dropped", &LoadSpec::rows(plain_table())).await.unwrap();
            for first in 0..txn as i64 % 5 {
                writer.write(tablet, batch(&plain_table(), first, 5, &mut Random(txn))).await.unwrap();
            }
            drop(writer);
        }
        // Whatever the node does for them, it has done once nothing is written and no file is left.
        wait_until(|| async { std::fs::read_dir(node.tablet_folder(tablet.get())).map_or(0, Iterator::count) == 0 })
            .await;
        for txn in 0..20 {
            let txn = TxnId(1000 * tablet.get() + txn);
            assert!(unpublished(&*store, txn.get(), publish_of(tablet, 2, true)).await.is_some(), "{way}: {txn}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_after_a_dropped_one_is_the_one_that_counts() {
    for (way, store) in Node::start().await.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        for txn in 1..20 {
            let mut writer = store.write(TxnId(txn), "dropped", &LoadSpec::rows(plain_table())).await.unwrap();
            writer.write(tablet, batch(&plain_table(), -1, 1, &mut Random(txn))).await.unwrap();
            drop(writer);
            // The start of the dropped attempt may overtake the next one, which then ends and is repeated.
            let rows = batch(&plain_table(), txn as i64, 1, &mut Random(txn));
            loop {
                let mut writer = store.write(TxnId(txn), "whole", &LoadSpec::rows(plain_table())).await.unwrap();
                let written = match writer.write(tablet, rows.clone()).await {
                    Ok(()) => writer.finish(&BTreeMap::new()).await.map(drop),
                    Err(error) => Err(error),
                };
                match written {
                    Ok(()) => break,
                    Err(error) => assert_eq!(error.kind, ErrorKind::Cancelled, "{error}"),
                }
            }
            store.publish(TxnId(txn), &[publish_of(tablet, txn + 1, true)]).await.unwrap();
        }
        assert_eq!(arrivals(&*store, &plain_table(), tablet, 20).await, (1..20).collect::<Vec<_>>());
    }
}
