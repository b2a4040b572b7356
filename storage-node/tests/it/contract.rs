//! Transactions: publish, abort, attempts, drops. The same in process and over gRPC.

use std::collections::BTreeMap;

use tarn_proto::storage::{CatchUp, FileKey, LoadSpec, Peer, PublishTablet, SegmentKey, TabletStore};
use tarn_proto::{ErrorKind, NodeId, RowsetId, TabletId, Term, TxnId, Version};

use crate::node::Node;
use crate::read_back::{arrivals, manifest};
use crate::rows::{Random, batch, plain_table};

const TABLET: TabletId = TabletId(7);

pub fn publish_of(tablet: TabletId, version: u64, has_rowset: bool) -> PublishTablet {
    PublishTablet { tablet, version: Version(version), has_rowset }
}

/// Why a tablet did not take a transaction.
pub async fn unpublished(store: &dyn TabletStore, txn: u64, tablet: PublishTablet) -> Option<String> {
    let told = store.publish(TxnId(txn), &[tablet]).await.unwrap();
    assert!(told.iter().all(|told| told.tablet == tablet.tablet && !told.damaged), "{told:?}");
    told.into_iter().next().map(|told| told.reason)
}

/// Writes rows numbered `numbers` and finishes.
pub async fn write(
    store: &dyn TabletStore,
    txn: u64,
    attempt: &str,
    tablets: &[TabletId],
    numbers: std::ops::Range<i64>,
) {
    let mut writer = store.write(TxnId(txn), attempt, &LoadSpec::rows(plain_table())).await.unwrap();
    let mut random = Random(txn);
    for tablet in tablets {
        let rows = batch(&plain_table(), numbers.start, (numbers.end - numbers.start) as usize, &mut random);
        writer.write(*tablet, rows).await.unwrap();
    }
    assert_eq!(writer.finish(&BTreeMap::new()).await.unwrap().len(), tablets.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_is_idempotent_and_refuses_gaps() {
    for (way, store) in Node::start().await.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        write(&*store, 50, "a", &[tablet], 0..10).await;
        write(&*store, 51, "a", &[tablet], 10..20).await;

        let early = unpublished(&*store, 51, publish_of(tablet, 3, true)).await.unwrap();
        assert!(early.contains("v3 is not next"), "{early}");
        assert_eq!(manifest(&*store, tablet, 2).await.unwrap_err().kind, ErrorKind::Unavailable);

        for _ in 0..2 {
            store.publish(TxnId(50), &[publish_of(tablet, 2, true)]).await.unwrap();
            store.publish(TxnId(51), &[publish_of(tablet, 3, true)]).await.unwrap();
            store.publish(TxnId(52), &[publish_of(tablet, 4, false)]).await.unwrap();
        }
        let taken = store.publish(TxnId(53), &[publish_of(tablet, 4, true)]).await.unwrap_err();
        assert_eq!(taken.kind, ErrorKind::Internal, "{taken}");
        let missing = unpublished(&*store, 53, publish_of(tablet, 5, true)).await.unwrap();
        assert!(missing.contains("no rowset of transaction txn53"), "{missing}");

        assert_eq!(arrivals(&*store, &plain_table(), tablet, 1).await, Vec::<i64>::new());
        assert_eq!(arrivals(&*store, &plain_table(), tablet, 2).await, (0..10).collect::<Vec<_>>());
        assert_eq!(arrivals(&*store, &plain_table(), tablet, 4).await, (0..20).collect::<Vec<_>>());
        let report = store.tablets().await.unwrap().into_iter().find(|r| r.tablet_id == tablet.get()).unwrap();
        assert_eq!((report.version, report.rows, report.rowsets), (4, 20, 2));
        assert_eq!(report.read_only_reason, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tablets_that_cannot_take_a_transaction_are_told_and_the_others_take_it() {
    let node = Node::start().await;
    for (way, store) in node.stores() {
        let base = 100 * way.len() as u64;
        let tablets = [TabletId(base), TabletId(base + 1), TabletId(base + 2)];
        store.create_tablets(&plain_table(), &tablets).await.unwrap();
        write(&*store, base, "a", &tablets[..2], 0..5).await;
        let all = [publish_of(tablets[0], 2, true), publish_of(tablets[1], 2, true), publish_of(tablets[2], 2, true)];
        let told = store.publish(TxnId(base), &all).await.unwrap();
        assert_eq!(told.iter().map(|t| (t.tablet, t.damaged)).collect::<Vec<_>>(), [(tablets[2], false)], "{told:?}");
        assert_eq!(manifest(&*store, tablets[0], 2).await.unwrap().version, 2);
        assert_eq!(manifest(&*store, tablets[2], 2).await.unwrap_err().kind, ErrorKind::Unavailable);
        let written = [all[0], all[1], publish_of(tablets[2], 2, false)];
        assert!(store.publish(TxnId(base), &written).await.unwrap().is_empty());
        for tablet in tablets {
            assert_eq!(manifest(&*store, tablet, 2).await.unwrap().version, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_forgets_rows_and_files_and_never_what_is_published() {
    let node = Node::start().await;
    for (way, store) in node.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        write(&*store, 60, "a", &[tablet], 0..10).await;
        store.publish(TxnId(60), &[publish_of(tablet, 2, true)]).await.unwrap();
        write(&*store, 61, "a", &[tablet], 10..20).await;
        let files = || std::fs::read_dir(node.tablet_folder(tablet.get())).unwrap().count();
        assert_eq!(files(), 4);
        for txn in [60, 61, 61] {
            store.abort(TxnId(txn)).await.unwrap();
        }
        assert_eq!(files(), 2);
        let gone = unpublished(&*store, 61, publish_of(tablet, 3, true)).await.unwrap();
        assert!(gone.contains("no rowset"), "{gone}");
        assert_eq!(arrivals(&*store, &plain_table(), tablet, 2).await, (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_neither_published_nor_aborted_is_listed() {
    for (way, store) in Node::start().await.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        for txn in 60..63 {
            write(&*store, txn, "a", &[tablet], 0..10).await;
        }
        assert_eq!(store.pending().await.unwrap(), [TxnId(60), TxnId(61), TxnId(62)], "{way}");
        store.publish(TxnId(60), &[publish_of(tablet, 2, true)]).await.unwrap();
        store.abort(TxnId(61)).await.unwrap();
        assert_eq!(store.pending().await.unwrap(), [TxnId(62)], "{way}");
        store.abort(TxnId(62)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_stops_who_still_writes() {
    let node = Node::start().await;
    for (way, store) in node.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        let mut writer = store.write(TxnId(62), "a", &LoadSpec::rows(plain_table())).await.unwrap();
        writer.write(tablet, batch(&plain_table(), 0, 5, &mut Random(1))).await.unwrap();
        // An abort that overtakes the rows on their way would find nothing to stop.
        let beats = node.registry.beats.lock().len();
        crate::writers::wait_until(|| async {
            node.registry.beats.lock()[beats..].iter().any(|b| b.load.is_some_and(|load| load.running == 1))
        })
        .await;
        store.abort(TxnId(62)).await.unwrap();
        let refused = writer.finish(&BTreeMap::new()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Cancelled, "{way}: {refused}");
        let gone = unpublished(&*store, 62, publish_of(tablet, 2, true)).await.unwrap();
        assert!(gone.contains("no rowset"), "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_replaces_the_first() {
    for (way, store) in Node::start().await.stores() {
        let tablets = [TabletId(way.len() as u64), TabletId(100 + way.len() as u64)];
        store.create_tablets(&plain_table(), &tablets).await.unwrap();
        write(&*store, 70, "first", &tablets, 0..10).await;
        write(&*store, 70, "second", &tablets[..1], 100..105).await;
        let lost = unpublished(&*store, 70, publish_of(tablets[1], 2, true)).await.unwrap();
        assert!(lost.contains("no rowset"), "{lost}");
        store.publish(TxnId(70), &[publish_of(tablets[0], 2, true), publish_of(tablets[1], 2, false)]).await.unwrap();
        assert_eq!(arrivals(&*store, &plain_table(), tablets[0], 2).await, (100..105).collect::<Vec<_>>());
        assert_eq!(arrivals(&*store, &plain_table(), tablets[1], 2).await, Vec::<i64>::new());

        let mut again = store.write(TxnId(70), "third", &LoadSpec::rows(plain_table())).await.unwrap();
        again.write(tablets[0], batch(&plain_table(), 0, 5, &mut Random(1))).await.unwrap();
        let published = again.finish(&BTreeMap::new()).await.unwrap_err();
        assert_eq!(published.kind, ErrorKind::AlreadyExists, "{published}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_tablets_and_their_files_are_gone() {
    let node = Node::start().await;
    for (_, store) in node.stores() {
        store.create_tablets(&plain_table(), &[TABLET, TabletId(8)]).await.unwrap();
        write(&*store, 80, "a", &[TABLET], 0..10).await;
        store.drop_tablets(&[TABLET, TabletId(8), TabletId(9)]).await.unwrap();
        assert_eq!(manifest(&*store, TABLET, 1).await.unwrap_err().kind, ErrorKind::NotFound);
        let publish = unpublished(&*store, 80, publish_of(TABLET, 2, true)).await.unwrap();
        assert!(publish.contains("t7 is not on this node"), "{publish}");
        assert!(store.tablets().await.unwrap().is_empty());
        crate::writers::wait_until(|| async { !node.tablet_folder(TABLET.get()).exists() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_no_more_drops_nothing_that_is_back_since() {
    let mut node = Node::start().await;
    for (number, way) in [(0, "in process"), (1, "gRPC")] {
        let tablet = TabletId(way.len() as u64);
        let led = |node: &Node, term| node.stores()[number].1.led_in(Term(number as u64 * 100 + term)).unwrap();
        led(&node, 3).create_tablets(&plain_table(), &[tablet]).await.unwrap();
        led(&node, 3).drop_tablets(&[tablet]).await.unwrap();
        led(&node, 3).create_tablets(&plain_table(), &[tablet]).await.unwrap();
        // A newer leader fills a replica, one that cannot be filled yet.
        let sources = vec![Peer { node: NodeId(77), address: "127.0.0.1:1".to_owned() }];
        let (schema, version) = (plain_table(), Version(9));
        led(&node, 5).catch_up(&[CatchUp { tablet, schema, version, sources, repair: false }]).await.unwrap();
        for _ in 0..2 {
            let refused = led(&node, 4).drop_tablets(&[tablet]).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Invalid);
            assert!(refused.message.contains("leads no more"), "{refused}");
            assert!(node.local().tablets().await.unwrap().iter().any(|report| report.tablet_id == tablet.get()));
            node = node.restart().await;
        }
        led(&node, 5).drop_tablets(&[tablet]).await.unwrap();
        assert!(node.local().tablets().await.unwrap().iter().all(|report| report.tablet_id != tablet.get()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_a_reason() {
    for (way, store) in Node::start().await.stores() {
        let tablet = TabletId(way.len() as u64);
        store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
        write(&*store, 90, "a", &[tablet], 0..10).await;
        assert_eq!(unpublished(&*store, 90, publish_of(tablet, 2, true)).await, None);

        let mut writer = store.write(TxnId(91), "a", &LoadSpec::rows(plain_table())).await.unwrap();
        let rows = batch(&plain_table(), 0, 5, &mut Random(1)).project(&[0, 1]).unwrap();
        let refused = match writer.write(tablet, rows).await {
            Err(error) => error,
            Ok(()) => writer.finish(&BTreeMap::new()).await.unwrap_err(),
        };
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
        assert!(refused.message.contains("3 columns"), "{refused}");

        let mut writer = store.write(TxnId(92), "a", &LoadSpec::rows(plain_table())).await.unwrap();
        let rows = batch(&plain_table(), 0, 5, &mut Random(1));
        let refused = match writer.write(TabletId(999), rows).await {
            Err(error) => error,
            Ok(()) => writer.finish(&BTreeMap::new()).await.unwrap_err(),
        };
        assert_eq!(refused.kind, ErrorKind::NotFound, "{refused}");

        let key = SegmentKey { tablet, rowset: RowsetId(90), segment: 0 };
        let checksum = manifest(&*store, tablet, 2).await.unwrap().rowsets[0].segments[0].checksum;
        let key = FileKey { segment: key, checksum };
        let beyond = store.read_ranges(key, std::slice::from_ref(&(0..1 << 40))).await.unwrap_err();
        assert_eq!(beyond.kind, ErrorKind::Invalid, "{beyond}");
        let missing = FileKey { segment: SegmentKey { segment: 1, ..key.segment }, ..key };
        let stale = FileKey { checksum: !checksum, ..key };
        for gone in [missing, stale] {
            let refused = store.read_ranges(gone, std::slice::from_ref(&(0..1))).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::NotFound, "{refused}");
        }
    }
}
