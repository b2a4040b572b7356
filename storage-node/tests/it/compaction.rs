//! Many small loads, with the node's own compaction beside them.

use std::collections::BTreeMap;

use tarn_proto::storage::LoadSpec;
use tarn_proto::{TabletId, TxnId};

use crate::contract::publish_of;
use crate::node::Node;
use crate::read_back::{arrivals, manifest};
use crate::rows::{Random, batch, plain_table};
use crate::writers::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn many_loads_of_one_row_leave_few_rowsets_and_every_row() {
    loads_of_one_row(1_500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: run it when the picks or the schedule change"]
async fn ten_thousand_loads_of_one_row_leave_few_rowsets_and_every_row() {
    loads_of_one_row(10_000).await;
}

async fn loads_of_one_row(loads: u64) {
    let node = Node::with(|config| config.superseded_retention_secs = 1).await;
    let store = node.local();
    let tablet = TabletId(1);
    store.create_tablets(&plain_table(), &[tablet]).await.unwrap();
    for number in 0..loads {
        let txn = TxnId(number + 1);
        let mut writer = store.write(txn, "only", &LoadSpec::rows(plain_table())).await.unwrap();
        writer.write(tablet, batch(&plain_table(), number as i64, 1, &mut Random(number))).await.unwrap();
        writer.finish(&BTreeMap::new()).await.unwrap();
        store.publish(txn, &[publish_of(tablet, number + 2, true)]).await.unwrap();
    }
    // Whatever is left to do is done soon, for nobody loads any more.
    let newest = loads + 1;
    wait_until(|| async { manifest(&*store, tablet, newest).await.unwrap().rowsets.len() <= 40 }).await;
    assert_eq!(store.tablets().await.unwrap()[0].rows, loads);
    let rows = arrivals(&*store, &plain_table(), tablet, newest).await;
    assert_eq!(rows, (0..loads as i64).collect::<Vec<_>>());
    node.node.shutdown().await;
}
