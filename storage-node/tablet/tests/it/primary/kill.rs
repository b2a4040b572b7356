//! A process that is killed while it loads, publishes and compacts leaves versions that read as the loads say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tarn_tablet::Stop;

use super::*;
use crate::kill::{DATA, run_and_kill};

const ROUNDS: u64 = 12;
const KEYS: u64 = 5000;

/// What a transaction does: three segments that share keys, with deletes.
fn batches(txn: u64) -> Vec<Vec<Operation>> {
    let operation = |segment: u64, i: u64| {
        let key = (txn * 7919 + segment * 523 + i * 13) % KEYS;
        (key as i64, (!(txn + i).is_multiple_of(7)).then_some((txn * 10 + segment) as i64))
    };
    (0..3).map(|segment| (0..700).map(|i| operation(segment, i)).collect()).collect()
}

/// Writes and publishes one transaction after the other until it is killed. Run by the test below.
#[test]
#[ignore = "the other half of `a_killed_node_reads_as_its_loads_say`, which runs it in a process of its own"]
fn killed_node() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = open(&data);
        let schema = table(false);
        engine.create_tablets(&schema, &[TABLET]).unwrap();
        let mut version = engine.reports()[0].version;
        println!("ready");
        loop {
            version += 1;
            load(&engine, &schema, version, &batches(version)).await.unwrap();
            println!("published {version}");
            if version.is_multiple_of(3) {
                engine.compact(TABLET, &Stop::default()).unwrap();
            }
        }
    });
}

#[test]
fn a_killed_node_reads_as_its_loads_say() {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = table(false);
    let (mut newest, mut expected, mut applied) = (1, BTreeMap::new(), 1);
    for round in 0..ROUNDS {
        // Spread over the phases of a load, a publish and a compaction.
        newest =
            newest.max(run_and_kill(data.path(), "primary::kill::killed_node", Duration::from_millis(20 + 41 * round)));
        let engine = open(data.path());
        let report = engine.reports().remove(0);
        assert!(report.version >= newest, "{newest} was published, {} is there", report.version);
        newest = report.version;
        while applied < newest {
            applied += 1;
            apply(&mut expected, &batches(applied));
        }
        assert_eq!(report.rows, expected.len() as u64);
        assert_eq!(runtime.block_on(rows(&engine, &schema, newest)).unwrap(), expected);

        // The next load finds every key where it is.
        for pending in engine.pending() {
            engine.abort(pending).unwrap();
        }
        newest += 1;
        runtime.block_on(load(&engine, &schema, newest, &batches(newest))).unwrap();
        applied += 1;
        apply(&mut expected, &batches(newest));
        assert_eq!(runtime.block_on(rows(&engine, &schema, newest)).unwrap(), expected);
    }
    assert!(newest > 2 * ROUNDS, "the node got nowhere");
}
