//! A process that is killed while it loads, publishes and compacts leaves versions that read as the loads say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tarn_tablet::Stop;

use super::*;

const DATA: &str = "TARN_TABLET_PRIMARY_KILL_TEST_DATA";
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

/// Runs the node for `time` after it is ready and kills it. Returns the newest version it told of.
fn run_and_kill(data: &Path, time: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "primary::kill::killed_node", "--ignored", "--nocapture"])
        .env(DATA, data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, told) = std::sync::mpsc::channel();
    let reader =
        std::thread::spawn(move || lines.map_while(std::result::Result::ok).for_each(|l| drop(sender.send(l))));
    while told.recv_timeout(Duration::from_secs(30)).expect("the node starts") != "ready" {}
    let deadline = Instant::now() + time;
    let mut published = 0;
    let mut note = |line: String| {
        if let Some(version) = line.strip_prefix("published ") {
            published = version.parse().unwrap();
        }
    };
    while let Ok(line) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        note(line);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    told.try_iter().for_each(note);
    published
}

#[test]
fn a_killed_node_reads_as_its_loads_say() {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = table(false);
    let (mut newest, mut expected, mut applied) = (1, BTreeMap::new(), 1);
    for round in 0..ROUNDS {
        // Spread over the phases of a load, a publish and a compaction.
        newest = newest.max(run_and_kill(data.path(), Duration::from_millis(20 + 41 * round)));
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
