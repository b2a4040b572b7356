//! Many publishes at once, in little memory: all of them end, and none takes more than there is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tarn_proto::storage::{LoadSpec, PartialUpdate, UpdateMode};
use tarn_proto::{ColumnId, TableSchema};

use super::*;
use crate::numbers_table::numbers_table;
use crate::{Options, Stop};

const TABLETS: u64 = 4;
const ROWS: i64 = 3000;
const UPDATES: u64 = 6;
/// Less than one update wants.
const MEMORY: u64 = 32 << 10;
const LONG: Duration = Duration::from_secs(120);

fn schema() -> TableSchema {
    numbers_table(TableModel::PrimaryKey, &["c1", "c2", "c3"], 1)
}

/// The second column of all rows, or in the first load all.
fn spec(txn: u64) -> LoadSpec {
    if txn == 2 {
        return LoadSpec::rows(schema());
    }
    let columns = vec![ColumnId(1), ColumnId(2)];
    let update = PartialUpdate { columns, mode: UpdateMode::Row, condition: None, only_existing: false };
    LoadSpec::update(schema(), update)
}

fn rows(txn: u64) -> RecordBatch {
    let column = |value: fn(i64, i64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| value(row, txn as i64))))
    };
    let columns = vec![column(|row, _| row), column(|row, txn| row * txn), column(|row, _| -row)];
    RecordBatch::try_new(schema().to_arrow(), columns).unwrap()
}

/// Publishes a transaction in all tablets, as the leader does: again, until each has taken it in its turn.
fn publish(engine: &Engine, txn: u64) {
    let deadline = Instant::now() + LONG;
    let request = |tablet| PublishTablet { tablet: TabletId(tablet), version: Version(txn), has_rowset: true };
    let requests: Vec<PublishTablet> = (0..TABLETS).map(request).collect();
    while !engine.publish(TxnId(txn), &requests).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "transaction {txn} is not published");
        thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_of_updates_end_while_others_wait_for_their_memory_and_their_tablets() {
    let data = tempfile::tempdir().unwrap();
    let engine =
        Engine::open(Options { publish_memory_bytes: MEMORY, segment_bytes: 16 << 10, ..Options::new(data.path()) });
    let engine = engine.unwrap();
    let tablets: Vec<TabletId> = (0..TABLETS).map(TabletId).collect();
    engine.create_tablets(&schema(), &tablets).unwrap();
    for txn in 2..UPDATES + 3 {
        let mut writer = engine.begin(TxnId(txn), "only", &spec(txn)).await.unwrap();
        for tablet in &tablets {
            writer.write(*tablet, rows(txn)).await.unwrap();
        }
        writer.finish().await.unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // They take commit locks, too.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for tablet in &tablets {
                    engine.compact(*tablet, &Stop::default()).unwrap();
                }
            }
        });
        // Each twice: also one that is asked for again comes to an end.
        let publishes: Vec<_> = (2..UPDATES + 3)
            .rev()
            .chain(2..UPDATES + 3)
            .map(|txn| {
                scope.spawn({
                    let engine = &engine;
                    move || publish(engine, txn)
                })
            })
            .collect();
        let ended: Vec<_> = publishes.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(|ended| ended.is_ok()));
    });
    // Each wanted more than there is.
    assert_eq!(engine.publish_memory.peak(), MEMORY);
    let last = UPDATES + 2;
    for tablet in &tablets {
        let tablet = engine.tablet(*tablet).unwrap();
        let (_, found) = engine.rows_at(&tablet, Version(last), &Stop::default()).unwrap();
        let found: Vec<RecordBatch> = found.collect::<Result<_>>().unwrap();
        let expected = rows(last);
        assert_eq!(arrow::compute::concat_batches(&found[0].schema(), &found).unwrap().columns(), expected.columns());
    }
}
